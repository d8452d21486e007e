"""The workspaces that a recipe names for external validation: looked up, compared with this cohort, and described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_catalog import load_dataset, shared_patients
from flows.plan import evaluation
from lungpipe.dicom.pseudonymise import load_pseudonymiser
from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table
from tasks.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from data_catalog import DatasetSpec
    from flows.sections import RunConfig
    from lungpipe.cohort import Plan
    from lungpipe.learn.external import External


@dataclass(frozen=True, slots=True)
class Outside:
    """An external workspace, and what is known of it.

    Parameters
    ----------
    external : External
    title : str
        Of its run.
    same_key : bool
        Whether its pseudonyms were made with this cohort's key.
    warnings : tuple of str
        Why a figure on it may be no external validation.
    """

    external: External
    title: str
    same_key: bool
    warnings: tuple[str, ...]


def read_outside(
    config: RunConfig, spec: DatasetSpec, names: Mapping[str, Any], subsets: Iterable[str] = ()
) -> tuple[Outside, ...]:
    """Look up every external workspace of a recipe, before anything is started.

    Parameters
    ----------
    config : RunConfig
    spec : DatasetSpec
        Of this cohort.
    names : mapping
        What features are made with, as ``plugins`` of ``run.json`` has it.
    subsets : iterable of str
        Further data sets in this cohort's tables.

    Raises
    ------
    DatasetError
        If one is no finished workspace, its features were made differently, its labels are of one class, or its name is taken.
    """
    if config.evaluated is None or not config.evaluated.external:
        return ()
    from lungpipe.learn.external import check_settings, read_external

    found = []
    for name, workspace in config.evaluated.external.items():
        if name in {spec.name, *subsets}:
            raise DatasetError(
                f"benchmark.external.{name}: {name!r} is this cohort's own data set; call the other one else"
            )
        external, run = read_external(name, workspace)
        check_settings(name, names, run.get("plugins", {}))
        external.cohort(evaluation(config.benchmark, spec))
        same_key = run.get("pseudonym_key_fingerprint") == load_pseudonymiser()[0].fingerprint
        found.append(Outside(external, str(run.get("title", "")), same_key, _warnings(spec, external, run, same_key)))
    return tuple(found)


def _warnings(spec: DatasetSpec, external: External, run: Mapping[str, Any], same_key: bool) -> tuple[str, ...]:
    other = load_dataset(external.dataset)
    warnings = [shared_patients(spec, other)]
    if not same_key:
        warnings.append(
            "its pseudonyms were made with another key, so patients and series could not be compared; files and images were"
        )
    if run.get("intensities") != spec.intensities:
        warnings.append(f"its intensities are {run.get('intensities')!r}, those of this cohort {spec.intensities!r}")
    return tuple(text for text in warnings if text)


def require_apart(outside: Sequence[Outside], plan: Plan) -> None:
    """Refuse patients, series and files on both sides, before a pixel is read.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.learn.external.check_sides`.
    """
    if not outside:
        return
    from lungpipe.learn.external import check_sides

    own = pd.DataFrame(
        [
            {"patient_id": job.patient_id, "series_uid": job.series_uid, "source_sha256": job.source_sha256}
            for job in plan.jobs
            if any(nodule.malignant is not None for nodule in job.nodules)
        ]
    )
    for one in outside:
        check_sides(one.external.name, own, _labelled(one), same_key=one.same_key)


def require_images_apart(outside: Sequence[Outside], place: Place, dataset: str) -> None:
    """Refuse images that are on both sides under different names, before a model is fitted.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.learn.external.check_sides`.
    """
    if not outside:
        return
    from lungpipe.learn.external import check_sides

    nodules = read_table(place, "tables/nodules.parquet")
    own = nodules[(nodules["dataset"] == dataset) & nodules["malignant"].notna()]
    for one in outside:
        check_sides(one.external.name, own, _labelled(one), same_key=one.same_key)


def _labelled(one: Outside) -> pd.DataFrame:
    from lungpipe.learn.external import labelled

    nodules = read_table(Place.at(one.external.workspace), "tables/nodules.parquet")
    return labelled(nodules, one.external)


def warn(outside: Sequence[Outside]) -> None:
    """Say what speaks against each external workspace."""
    for one in outside:
        for text in one.warnings:
            say(f"WARNING: external validation on {one.external.name}: {text}")


def about_outside(outside: Sequence[Outside]) -> dict[str, Any]:
    """What ``run.json`` says of external workspaces; where they are is not recorded."""
    found = {}
    for one in outside:
        rows = _labelled(one)
        found[one.external.name] = {
            "dataset": one.external.dataset,
            "title": one.title,
            "nodules": int(rows["nodule_id"].nunique()),
            "patients": int(rows["patient_id"].nunique()),
            "same_pseudonym_key": one.same_key,
            "warnings": list(one.warnings),
            "tables_sha256": one.external.digests(),
        }
    return {"external": found} if found else {}
