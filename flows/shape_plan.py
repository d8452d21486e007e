"""From a recipe to the plan of a cohort of outlines without images, and whether its run stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data_catalog import load_dataset, shortfall
from data_catalog.lidc.shape_cohort import plan_shapes
from flows.plan import check_benchmark, evaluation
from flows.standing import has_run, if_standing, run_entry
from lungpipe.dicom.pseudonymise import key_path, load_pseudonymiser, table_path
from lungpipe.errors import DatasetError
from lungpipe.lineage.tombstones import withdrawn
from lungpipe.scan.outlines import outline_stages
from lungpipe.segment.verdict import MaskLimits
from tasks.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog import DatasetSpec
    from flows.sections import RunConfig
    from flows.standing import Outcome
    from lungpipe.cohort import Plan
    from lungpipe.scan.outlines import OutlinedScan
    from lungpipe.store.place import Place

#: The smaller data set beside the whole: nodules up to the volume that this share of all nodules of the file reach, whoever
#: outlined them.
SMALL, SMALL_SHARE = "small", 0.75
#: Keys of a recipe that say something of outlines, by section; all keys where there is None.
_USED: dict[str, set[str] | None] = {
    "cohort": {"dataset"},
    "segment": {"quality"},
    "benchmark": None,
    "report": {"title", "beside"},
    "run": None,
}


def check_shapes(config: RunConfig) -> tuple[DatasetSpec, MaskLimits]:
    """Look up what a recipe names, and refuse what has no meaning without images.

    Raises
    ------
    DatasetError, PluginError
        If a plug-in or setting is not there, or a key asks for images.
    """
    spec = load_dataset(config.cohort.dataset)
    for section in sorted(config.model_fields_set):
        given = getattr(config, section)
        used = _USED.get(section, set())
        if given is None or used is None:
            continue
        if useless := sorted(given.model_fields_set - used):
            raise DatasetError(
                f"{section}.{useless[0]}: the data set {spec.name!r} is outlines without images, for which it means nothing; "
                "leave it out"
            )
    if config.benchmark and config.benchmark.clinical:
        raise DatasetError(f"benchmark.clinical: the data set {spec.name!r} has no clinical columns; leave it out")
    if config.benchmark:
        check_benchmark(config.benchmark)
    return spec, MaskLimits(**config.segment.quality.model_dump())


def shape_plan(config: RunConfig, spec: DatasetSpec, place: Place) -> tuple[Plan, list[OutlinedScan]]:
    """Read the outlines, replace identifiers, and refuse what cannot end in the benchmark that is asked for.

    Raises
    ------
    DatasetError
        If the file is not there, or the labels allow no benchmark.
    """
    pseudonym, made = load_pseudonymiser()
    if made:
        say(f"pseudonyms: a key was made in {key_path()}; keep it safe, the same key gives the same pseudonyms")
    plan, scans = plan_shapes(spec.name, pseudonym, withdrawn(place))
    pseudonym.write_table(table_path())
    if less := shortfall(spec, len(plan.series_rows), len(plan.nodules)):
        say(less)
    if not plan.nodules:
        raise DatasetError(f"{spec.name}: no nodule was outlined by enough radiologists")
    if config.evaluated is not None:
        rows = [
            {"patient_id": n.patient_id, "series_uid": n.series_uid, "nodule_id": n.nodule_id, "malignant": n.malignant}
            for n in plan.nodules
        ]
        evaluation(config.evaluated, spec).cohort(pd.DataFrame(rows).astype({"malignant": "Int64"}))
    return plan, scans


def small_limit(spec: DatasetSpec, volumes_mm3: Sequence[float]) -> dict[str, float]:
    """Name and largest volume (mm3) of the smaller data set."""
    return {f"{spec.name}-{SMALL}": float(np.quantile(volumes_mm3, SMALL_SHARE))}


def shape_refs(plan: Plan) -> list[str]:
    """Names of all that the scans of a plan come to."""
    return sorted(entry.ref for job in plan.jobs for entry in outline_stages(job))


def standing_shapes(config: RunConfig, place: Place) -> Outcome | None:
    """What an earlier run of the same recipe came to, if all of it stands; else None.

    Raises
    ------
    DatasetError, PluginError
        If the recipe's inputs allow no run.
    """
    spec, _ = check_shapes(config)
    if not has_run(place):
        return None
    plan, _ = shape_plan(config, spec, place)
    return if_standing(place, run_entry(config, spec, shape_refs(plan), plan), len(plan.jobs))
