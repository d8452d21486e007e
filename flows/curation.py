"""The curation flow: an archive in, pseudonymous tables of its series and a page out; no pixels are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow

from flows.config import load_config
from lungpipe.assemble import assemble
from lungpipe.cohort import plan_cohort
from lungpipe.dicom.pseudonymise import load_pseudonymiser, table_path
from lungpipe.errors import DatasetError
from lungpipe.lineage.tombstones import withdrawn
from lungpipe.store.lock import one_run
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table
from tasks.artifacts import run_name, show_results
from tasks.cluster import dask_cluster
from tasks.curate import curate
from tasks.curation import write_curation_page

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.dicom.quality import QualitySettings
    from tasks.curate import Curated


@dataclass(frozen=True, slots=True)
class Indexed:
    """Tables and page of a curated archive."""

    series: pd.DataFrame
    exclusions: pd.DataFrame
    page: str


@flow(name="curation", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def curation(
    recipe: str,
    workspace: str,
    overrides: list[str] | None = None,
    dask: str | None = None,
    workers: int | None = None,
) -> str:
    """Curate the archive of a recipe, as `lungpipe index` does; what an earlier run read is not read again.

    Returns
    -------
    str
        Address of the page.

    Raises
    ------
    DatasetError
        If the recipe is wrong or its archive is not there, another run writes to the workspace, or the workspace is that of a
        cohort, whose tables this would replace.
    """
    config = load_config(Path(recipe), overrides)
    place = Place.at(workspace)
    if place.exists("run.json"):
        raise DatasetError(f"{place} holds the results of a run, whose tables curation would replace; name another one")
    quality = config.quality.settings()
    with (
        one_run(place),
        dask_cluster(dask or config.run.dask, workers or config.run.workers, config.run.memory_per_worker) as address,
    ):
        curated = curate(address, config.cohort.dicom, quality, config.run.scan_timeout_s)
        found = write_curation(place, curated, quality)
    show_results(place, found.page, f"Curation of {len(found.series)} series")
    return found.page


def write_curation(place: Place, curated: Curated, quality: QualitySettings) -> Indexed:
    """Write ``tables/series.parquet``, ``tables/exclusions.parquet`` and ``report/curation.html`` of a curated archive."""
    pseudonym, _ = load_pseudonymiser()
    plan = plan_cohort("generic", "measured", curated.curation, [], [], pseudonym, quality, withdrawn(place))
    pseudonym.write_table(table_path())
    assemble(place, plan, [], ("series", "exclusions"))
    series, exclusions = (read_table(place, f"tables/{name}.parquet") for name in ("series", "exclusions"))
    page, _ = write_curation_page(place, curated, plan, quality, f"Curation of {len(series)} series")
    return Indexed(series, exclusions, page)
