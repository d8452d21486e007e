"""One configuration of a benchmark, from the tables of a workspace to a recorded result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lungpipe import plugins
from lungpipe.learn.baselines import PLAIN, SIZES, shuffled_labels, size_matrix
from lungpipe.learn.cohort import (
    Cohort,
    ConfigurationKey,
    RegionKey,
    feature_columns,
    feature_matrices,
    labelled_cohort,
)
from lungpipe.learn.design import Design
from lungpipe.learn.evaluate import ConfigurationResult, evaluate_configuration
from lungpipe.learn.preparation import AS_IS, Balance, Preparation, Selection
from lungpipe.store import ledger
from lungpipe.store.schemas import BASELINE, CONTROLS
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    from lungpipe.store.place import Place

#: Raise it when the same table and settings give other predictions.
VERSION = "2"


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
    design: Design = "cross-validation"
    max_correlation: float = 1.0
    selection: Selection = "none"
    n_features: tuple[int, ...] = (10, 20)
    balance: Balance = "weights"
    harmonise: str = ""

    @property
    def preparation(self) -> Preparation:
        """What stands between features and classifier."""
        return Preparation(
            self.max_correlation, self.selection, self.n_features, self.balance, harmonise=bool(self.harmonise)
        )

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
            design=self.design,
        )


class Inputs(NamedTuple):
    """What one configuration is evaluated with: ``matrix`` (n, p), its p ``columns``, a ``Classifier`` and what it needs."""

    cohort: Cohort
    matrix: np.ndarray[Any, Any]
    columns: list[str]
    classifier: Any
    preparation: Preparation
    batch: np.ndarray[Any, Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """A result, the reference of its record, and whether it stood already."""

    ref: str
    result: ConfigurationResult
    reused: bool


def evaluate_recorded(place: Place, key: ConfigurationKey, evaluation: Evaluation) -> Configuration:
    """Evaluate one configuration or baseline, unless its record stands.

    The record's name depends on the features of this segmenter and region alone, on labels, patients and folds, and on the
    classifier: not on the other configurations.
    """
    cohort, matrix, columns, classifier, preparation, batch = inputs_of(place, key, evaluation)
    name = key.classifier
    settings = {word: value for word, value in asdict(evaluation).items() if word != "classifiers"}
    entry = ledger.named(
        ledger.COHORT,
        "configuration",
        subject=_subject(key),
        inputs={"matrix_sha256": _digest(matrix, columns, cohort, batch), "n_nodules": len(matrix)},
        settings={**settings, "classifier": asdict(classifier)},
        versions={"learn": VERSION, name: classifier.version},
    )
    path = f"parts/configuration-{entry.id}/result.json"
    if ledger.stands(place, entry.ref):
        return Configuration(entry.ref, _unpack(place.read(path)), reused=True)
    result = evaluate_configuration(
        matrix,
        cohort.labels,
        cohort.groups,
        classifier,
        cohort.folds,
        evaluation.inner_folds,
        evaluation.seed,
        preparation,
        batch,
    )
    place.write(path, _pack(result))
    ledger.record(place, entry, [path])
    return Configuration(entry.ref, result, reused=False)


def inputs_of(place: Place, key: ConfigurationKey, evaluation: Evaluation) -> Inputs:
    """Read what one configuration or baseline is evaluated with."""
    cohort, matrix, columns = _asked(place, key, evaluation)
    plain = key.segmenter == BASELINE and key.region in SIZES
    classifier = PLAIN if plain else plugins.find("classifiers", key.classifier)()
    preparation = AS_IS if plain else evaluation.preparation
    batch = _batches(place, cohort, evaluation.harmonise) if preparation.harmonise else None
    return Inputs(cohort, matrix, columns, classifier, preparation, batch)


def recorded_result(place: Place, ref: str) -> ConfigurationResult:
    """Read the result of a configuration by the reference of its record."""
    return _unpack(place.read(f"parts/{ref.split('/')[1]}/result.json"))


def _asked(
    place: Place, key: ConfigurationKey, evaluation: Evaluation
) -> tuple[Cohort, np.ndarray[Any, Any], list[str]]:
    """Cohort, matrix and names of its columns for a configuration or baseline."""
    nodules = read_table(place, "tables/nodules.parquet")
    cohort = evaluation.cohort(nodules)
    if key.segmenter == BASELINE and key.region in SIZES:
        return cohort, size_matrix(nodules, cohort, key.region), [SIZES[key.region]]
    features = read_table(place, "tables/features.parquet")
    wanted = RegionKey(*key[:3])
    if key.segmenter == BASELINE:
        cohort = replace(cohort, labels=shuffled_labels(cohort, evaluation.seed))
        rows = features[["segmenter", "region", "radius_mm"]].drop_duplicates()
        rows = rows.sort_values(["radius_mm", "segmenter", "region"])
        rows = rows[~rows["region"].isin(CONTROLS)]
        wanted = RegionKey(
            str(rows["segmenter"].iloc[0]), str(rows["region"].iloc[0]), float(rows["radius_mm"].iloc[0])
        )
    here = (
        (features["segmenter"] == wanted.segmenter)
        & (features["region"] == wanted.region)
        & (features["radius_mm"] == wanted.radius_mm)
    )
    features = features[here]
    return cohort, feature_matrices(features, cohort)[wanted], feature_columns(features)


def _subject(key: ConfigurationKey) -> dict[str, Any]:
    """The key as JSON values; a baseline has no radius."""
    return {name: None if value != value else value for name, value in key._asdict().items()}


def _batches(place: Place, cohort: Cohort, column: str) -> np.ndarray[Any, Any]:
    """Number of each row's batch, in the order in which the rows have them."""
    series = read_table(place, "tables/series.parquet").set_index("series_uid")[column].astype(str)
    names = series.groupby(level=0).first().reindex(cohort.identity["series_uid"])
    return pd.factorize(names.fillna(""))[0]


def _digest(
    matrix: np.ndarray[Any, Any], columns: list[str], cohort: Cohort, batch: np.ndarray[Any, Any] | None
) -> str:
    total = hashlib.sha256(json.dumps([matrix.shape, columns]).encode())
    total.update(np.ascontiguousarray(matrix, dtype="<f8").tobytes())
    total.update(np.ascontiguousarray(cohort.labels, dtype="<i8").tobytes())
    total.update("\n".join(cohort.groups.tolist()).encode())
    for fold in cohort.folds:
        total.update(np.ascontiguousarray(fold.test, dtype="<i8").tobytes())
        for rows in (fold.train, fold.validation):
            total.update(np.ascontiguousarray([] if rows is None else rows, dtype="<i8").tobytes())
    total.update(np.ascontiguousarray([] if batch is None else batch, dtype="<i8").tobytes())
    return total.hexdigest()


def _pack(result: ConfigurationResult) -> bytes:
    values = {f.name: getattr(result, f.name) for f in fields(ConfigurationResult)}
    return json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}).encode()


def _unpack(content: bytes) -> ConfigurationResult:
    values = json.loads(content)
    return ConfigurationResult(
        p=np.array(values["p"], dtype=float),
        inner_auc=np.array(values["inner_auc"], dtype=float),
        hyper_parameters=tuple(values["hyper_parameters"]),
        trained=np.array(values["trained"], dtype=bool),
    )
