"""External validation: everything is learned and chosen on one workspace, and tested on the nodules of others."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.errors import DatasetError
from lungpipe.learn.asked import asked
from lungpipe.learn.cohort import Cohort, outside_cohort
from lungpipe.learn.evaluation import Configuration, evaluate_asked
from lungpipe.learn.folds import Fold
from lungpipe.learn.table_cache import nodules_of
from lungpipe.store.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.learn.cohort import ConfigurationKey
    from lungpipe.learn.evaluate import ConfigurationResult
    from lungpipe.learn.evaluation import Evaluation

#: Tables of the other workspace that figures depend on.
TABLES = ("tables/nodules.parquet", "tables/features.parquet", "tables/series.parquet")
#: Keys of ``plugins`` in ``run.json`` that must be the same on both sides; the other may have more segmenters and regions.
SETTINGS = ("clip", "exclude_neighbours", "exclude_structures", "extractor", "radiomics", "lung")


@dataclass(frozen=True, slots=True)
class External:
    """Nodules that only test.

    Parameters
    ----------
    name : str
        What the recipe calls them; their ``dataset`` in the tables of predictions and scores.
    workspace : str
        Folder or address of a finished run, also for the workers.
    dataset : str
        Their ``dataset`` in its tables.
    """

    name: str
    workspace: str
    dataset: str

    def cohort(self, evaluation: Evaluation) -> Cohort:
        """Read its labelled nodules; their ``dataset`` is that of its tables.

        Raises
        ------
        DatasetError
            If there is no table of nodules, or its labelled nodules are of one class.
        """
        nodules = nodules_of(Place.at(self.workspace))
        try:
            return outside_cohort(nodules, dataset=self.dataset, label=evaluation.label, group=evaluation.group)
        except DatasetError as error:
            raise DatasetError(f"benchmark.external.{self.name}: {error}") from error

    def digests(self) -> dict[str, str]:
        """SHA-256 of each table that figures depend on."""
        return {name: Place.at(self.workspace).digest(name) for name in TABLES}


def read_external(name: str, workspace: str) -> tuple[External, dict[str, Any]]:
    """Look up a workspace that a recipe names, and its ``run.json``.

    Raises
    ------
    DatasetError
        If it is no finished workspace.
    """
    place = Place.at(workspace)
    try:
        run: dict[str, Any] = json.loads(place.read("run.json"))
        dataset = str(run["recipe"]["cohort"]["dataset"])
        missing = [table for table in TABLES if not place.exists(table)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"benchmark.external.{name} names {place}, which is no finished workspace ({type(error).__name__}); "
            "run the recipe of that cohort first"
        ) from error
    if missing:
        raise DatasetError(f"benchmark.external.{name} names {place}, which lacks {', '.join(missing)}")
    return External(name, workspace, dataset), run


def check_settings(name: str, own: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse features that were made differently: a model would be tested on other quantities than it learned from.

    Parameters
    ----------
    name : str
        Of the other side in the recipe.
    own, other : mapping
        ``plugins`` of ``run.json``.

    Raises
    ------
    DatasetError
        With every key that differs.
    """
    mine, its = _plain(own), _plain(other)
    found = [line for key in SETTINGS for line in _differences(key, mine.get(key), its.get(key))]
    for segmenter, plugin in mine.get("segmenters", {}).items():
        found += _differences(f"segmenters.{segmenter}", plugin, its.get("segmenters", {}).get(segmenter))
    if mine.get("consensus"):  # it is made from all masks
        found += _differences("segmenters", sorted(mine["segmenters"]), sorted(its.get("segmenters", {})))
    for consensus, plugin in mine.get("consensus", {}).items():
        found += _differences(f"consensus.{consensus}", plugin, its.get("consensus", {}).get(consensus))
    for embedder, plugin in mine.get("embedders", {}).items():
        found += _differences(f"embedders.{embedder}", plugin, its.get("embedders", {}).get(embedder))
    lacking = [spec for spec in mine.get("regions", []) if spec not in its.get("regions", [])]
    found += [f"region {spec.get('kind')} {spec.get('radius_mm'):g} mm is not there" for spec in lacking]
    for stage, version in mine.get("versions", {}).items():
        # A workspace without benchmark has no controls; what is compared with them has no row then.
        if stage != "controls" or stage in its.get("versions", {}):
            found += _differences(f"versions.{stage}", version, its.get("versions", {}).get(stage))
    if found:
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        raise DatasetError(
            f"benchmark.external.{name}: its features were made differently, so a model could not be tested on them: "
            f"{'; '.join(found[:8])}{more}. Run that cohort with the [segment], [regions] and [features] of this recipe"
        )


def _plain(names: Mapping[str, Any]) -> dict[str, Any]:
    """As ``run.json`` has it."""
    found: dict[str, Any] = json.loads(json.dumps(names))
    return found


def _differences(where: str, mine: Any, its: Any) -> list[str]:
    """Say where two JSON values differ, key by key."""
    if isinstance(mine, dict) and isinstance(its, dict):
        return [
            line
            for key in sorted({*mine, *its})
            for line in _differences(f"{where}.{key}", mine.get(key), its.get(key))
        ]
    return [] if mine == its else [f"{where} is {mine!r} here and {its!r} there"]


def check_sides(name: str, own: pd.DataFrame, other: pd.DataFrame, *, same_key: bool) -> None:
    """Refuse a patient, a series or an image that both teaches and tests.

    Parameters
    ----------
    name : str
        Of the other side in the recipe.
    own, other : DataFrame
        Rows of labelled nodules with ``patient_id``, ``series_uid``, ``source_sha256`` and, where known, ``voxels_sha256``;
        empty ones are not compared.
    same_key : bool
        Whether the pseudonyms of both were made with one key; if not, only files and images are compared.

    Raises
    ------
    DatasetError
        With the number of what is on both sides, and the first of them.
    """
    known = {
        "patient_id": "patients",
        "series_uid": "series",
        "source_sha256": "scans (the same files, whatever their names)",
        "voxels_sha256": "images (the same HU, whatever their names)",
    }
    for column, what in known.items():
        if column not in own or column not in other or (not same_key and column in ("patient_id", "series_uid")):
            continue
        both = sorted({*own[column].dropna().astype(str)} & {*other[column].dropna().astype(str)} - {""})
        if both:
            first = own.loc[own[column].astype(str) == both[0], "patient_id"].iloc[0]
            raise DatasetError(
                f"benchmark.external.{name}: {len(both)} {what} are in this cohort and in that one too, the first of patient "
                f"{first}: what was learned would be tested on what it was learned from. Take them out of one cohort; if two "
                "people only happen to have the same number, run one cohort under another pseudonym key"
            )


def labelled(nodules: pd.DataFrame, external: External) -> pd.DataFrame:
    """Rows of an external workspace's nodules that test."""
    return nodules[(nodules["dataset"] == external.dataset) & nodules["malignant"].notna()]


def joined_cohort(own: Cohort, others: Sequence[Cohort]) -> Cohort:
    """Lay cohorts one after another; the one fold trains on the first and tests on the rest."""
    cohorts = [own, *others]
    groups = np.concatenate([np.char.add(f"{k}-" if k else "", one.groups) for k, one in enumerate(cohorts)])
    n, total = len(own.labels), sum(len(one.labels) for one in cohorts)
    identity = pd.concat([one.identity for one in cohorts], ignore_index=True)
    labels = np.concatenate([one.labels for one in cohorts])
    return Cohort(own.dataset, identity, labels, groups, (Fold(0, 0, np.arange(n), np.arange(n, total)),))


def evaluate_external(
    place: Place, key: ConfigurationKey, evaluation: Evaluation, others: Sequence[External]
) -> Configuration:
    """Fit one configuration or baseline to all of the own nodules, tuned by inner folds among them, and apply it.

    The others' labels are part of the record, but of no choice: the one fold has them in its test part alone.

    Parameters
    ----------
    place : Place
        The own workspace, which gets the record.
    key : ConfigurationKey
    evaluation : Evaluation
    others : sequence of External

    Returns
    -------
    Configuration
        Its ``p`` has shape (1, n), first the own nodules (NaN), then those of the others.

    Raises
    ------
    DatasetError
        If a table is missing or lacks a column.
    """
    own = evaluation.cohort(nodules_of(place))
    cohorts = [other.cohort(evaluation) for other in others]
    sides = [(place, own), *((Place.at(o.workspace), c) for o, c in zip(others, cohorts, strict=True))]
    subject = {"tested_on": [other.name for other in others]}
    what = asked(sides, key, evaluation)
    return evaluate_asked(place, key, evaluation, joined_cohort(own, cohorts), what, subject)


def split_results(
    own: Cohort, others: Sequence[tuple[External, Cohort]], found: Mapping[ConfigurationKey, ConfigurationResult]
) -> list[tuple[Cohort, dict[ConfigurationKey, ConfigurationResult]]]:
    """Divide results over joined cohorts into those of each external one, under the recipe's name for it."""
    parts, start = [], len(own.labels)
    for external, cohort in others:
        stop = start + len(cohort.labels)
        results = {key: replace(result, p=result.p[:, start:stop]) for key, result in found.items()}
        parts.append((replace(cohort, dataset=external.name), results))
        start = stop
    return parts
