"""From the results of all configurations to the two tables of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from lungpipe.learn.baselines import SHUFFLED_LABELS, is_baseline, of_parts, shuffled_labels
from lungpipe.learn.external import split_results
from lungpipe.learn.select import choose_inside
from lungpipe.learn.tables import predictions_table, score_table
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.schemas import BASELINE
from lungpipe.store.tables import read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.learn.cohort import Cohort, ConfigurationKey
    from lungpipe.learn.evaluate import ConfigurationResult
    from lungpipe.learn.evaluation import Configuration, Evaluation
    from lungpipe.learn.external import External

#: Raise it when the same results give other tables.
VERSION = "3"
OUTPUTS = ("tables/predictions.parquet", "tables/scores.parquet")


@dataclass(frozen=True, slots=True)
class Scored:
    """Reference of the scores' record, how many artefacts were made and found standing, by kind, and the explanation's record.

    The last is empty where nothing could be explained.
    """

    ref: str
    made: Mapping[str, int]
    reused: Mapping[str, int]
    explanation: str = ""

    @property
    def refs(self) -> tuple[str, ...]:
        """References of all that there is."""
        return tuple(ref for ref in (self.ref, self.explanation) if ref)


def write_scores(
    place: Place,
    evaluation: Evaluation,
    found: Mapping[ConfigurationKey, Configuration],
    tables: tuple[str, ...],
    others: Mapping[Evaluation, Mapping[ConfigurationKey, Configuration]] | None = None,
    external: Sequence[External] = (),
    tested: Mapping[ConfigurationKey, Configuration] | None = None,
) -> Scored:
    """Write ``predictions.parquet`` and ``scores.parquet``, unless they stand.

    Parameters
    ----------
    place : Place
    evaluation : Evaluation
    found : mapping
        Every configuration, in the order of the tables.
    tables : tuple of str
        References of the tables of nodules and features.
    others : mapping, optional
        Evaluations of further data sets of the workspace, with every configuration of theirs; their rows come after.
    external : sequence of External
        Nodules of other workspaces that every configuration was tested on; their rows come last.
    tested : mapping, optional
        Every configuration as :func:`lungpipe.learn.external.evaluate_external` gives it for all of them.
    """
    runs = {evaluation: found, **(others or {})}
    every = [one for results in (*runs.values(), tested or {}) for one in results.values()]
    n_reused = sum(one.reused for one in every)
    made = {"configuration": len(every) - n_reused}
    reused = {"configuration": n_reused}
    entry = ledger.named(
        ledger.COHORT,
        "scores",
        subject={"dataset": evaluation.dataset},
        made_from=[*tables, *(one.ref for one in every)],
        inputs={one.name: one.digests() for one in external},
        settings=evaluation.recorded | ({"others": [one.recorded for one in others]} if others else {}),
        versions={"scores": VERSION},
    )
    if ledger.stands(place, entry.ref):
        return Scored(entry.ref, made, {**reused, "scores": 1})
    nodules = read_table(place, "tables/nodules.parquet")
    written = [
        _tables(one.cohort(nodules), _results(results), one.seed, one.dataset, _intensities(nodules))
        for one, results in runs.items()
    ]
    if external:
        own, cohorts = evaluation.cohort(nodules), [(one, one.cohort(evaluation)) for one in external]
        for one, (cohort, results) in zip(external, split_results(own, cohorts, _results(tested or {})), strict=True):
            its = read_table(Place.at(one.workspace), "tables/nodules.parquet")
            written.append(_tables(cohort, results, evaluation.seed, evaluation.dataset, _intensities(its)))
    for path, parts in zip(OUTPUTS, zip(*written, strict=True), strict=True):
        write_table(pd.concat(parts, ignore_index=True), place, path)
    ledger.replace_older(place, ledger.record(place, entry, OUTPUTS))
    return Scored(entry.ref, {**made, "scores": 1}, reused)


def _intensities(nodules: pd.DataFrame) -> str:
    return str(nodules["intensities"].iloc[0])


def _results(found: Mapping[ConfigurationKey, Configuration]) -> dict[ConfigurationKey, ConfigurationResult]:
    return {key: one.result for key, one in found.items()}


def _tables(
    cohort: Cohort,
    results: Mapping[ConfigurationKey, ConfigurationResult],
    seed: int,
    trained_on: str,
    intensities: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and scores of one data set; labels are dealt anew only where its own nodules teach."""
    fixed = {key: result for key, result in results.items() if not is_baseline(key)}
    inside = choose_inside(fixed, cohort.folds)
    beside = {key: result.p for key, result in results.items() if key.segmenter == BASELINE} | of_parts(results, cohort)
    labels = shuffled_labels(cohort, seed) if cohort.dataset == trained_on else cohort.labels
    dealt = replace(cohort, labels=labels)
    baselines = {key: (dealt if key.region == SHUFFLED_LABELS else cohort, p) for key, p in beside.items()}
    found = (
        predictions_table(cohort, fixed, inside, baselines, trained_on),
        score_table(cohort, fixed, inside, baselines, seed=seed, trained_on=trained_on),
    )
    for table in found:
        table.insert(1, "intensities", intensities)
    return found
