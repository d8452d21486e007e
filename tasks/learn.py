"""Stage 3: evaluate every configuration over Dask, one future a segmenter, region and classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe import plugins
from lungpipe.errors import LungpipeError
from lungpipe.learn.cohort import Cohort, ConfigurationKey, RegionKey, feature_matrices, labelled_cohort
from lungpipe.learn.evaluate import ConfigurationResult, evaluate_configuration
from lungpipe.learn.select import choose_inside
from lungpipe.learn.tables import predictions_table, score_table
from lungpipe.store.tables import read_table, write_table
from tasks.each import Failure, each
from tasks.progress import progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation is made with, besides the tables of the workspace."""

    dataset: str
    label: str
    group: str
    classifiers: tuple[str, ...]
    outer_folds: int
    inner_folds: int
    repeats: int
    seed: int

    def cohort(self, nodules: pd.DataFrame) -> Cohort:
        """Deal the folds over the labelled nodules."""
        return labelled_cohort(
            nodules,
            dataset=self.dataset,
            label=self.label,
            group=self.group,
            outer_folds=self.outer_folds,
            inner_folds=self.inner_folds,
            repeats=self.repeats,
            seed=self.seed,
        )


def evaluate_one(key: ConfigurationKey, evaluation: Evaluation, workspace: Path) -> ConfigurationResult:
    """Evaluate one configuration in a worker, which reads the tables itself."""
    cohort = evaluation.cohort(read_table(workspace / "tables" / "nodules.parquet"))
    features = read_table(workspace / "tables" / "features.parquet")
    here = (
        (features["segmenter"] == key.segmenter)
        & (features["region"] == key.region)
        & (features["radius_mm"] == key.radius_mm)
    )
    matrix = feature_matrices(features[here], cohort)[RegionKey(*key[:3])]
    classifier = plugins.find("classifiers", key.classifier)()
    return evaluate_configuration(
        matrix, cohort.labels, cohort.groups, classifier, cohort.folds, evaluation.inner_folds, evaluation.seed
    )


@task(name="benchmark", cache_policy=NO_CACHE, persist_result=False)
def benchmark(address: str, evaluation: Evaluation, workspace: str) -> None:
    """Evaluate every configuration and write ``predictions.parquet`` and ``scores.parquet``.

    Raises
    ------
    LungpipeError
        If a configuration could not be evaluated at all.
    """
    tables = Path(workspace) / "tables"
    cohort = evaluation.cohort(read_table(tables / "nodules.parquet"))
    found = read_table(tables / "features.parquet")[["segmenter", "region", "radius_mm"]].drop_duplicates()
    keys = [
        ConfigurationKey(str(row.segmenter), str(row.region), float(row.radius_mm), classifier)  # type: ignore[arg-type]
        for row in found.sort_values(["segmenter", "region", "radius_mm"]).itertuples()
        for classifier in evaluation.classifiers
    ]
    results: dict[ConfigurationKey, ConfigurationResult] = {}
    with progress("configurations", len(keys)) as advance:
        for position, outcome in each(address, evaluate_one, keys, evaluation, Path(workspace)):
            if isinstance(outcome, Failure):
                key = keys[position]
                raise LungpipeError(
                    f"{key.classifier} on {key.segmenter}, {key.region} {key.radius_mm:g} mm: {outcome.message}"
                )
            results[keys[position]] = outcome
            advance(1, "")
    ordered = {key: results[key] for key in keys}
    inside = choose_inside(ordered, cohort.folds)
    intensities = str(read_table(tables / "nodules.parquet")["intensities"].iloc[0])
    for name, table in (
        ("predictions", predictions_table(cohort, ordered, inside)),
        ("scores", score_table(cohort, ordered, inside, seed=evaluation.seed)),
    ):
        table.insert(1, "intensities", intensities)
        write_table(table, tables / f"{name}.parquet")
