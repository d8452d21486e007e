"""One configuration of a benchmark, from the tables of a workspace to a recorded result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe import plugins
from lungpipe.learn.cohort import (
    Cohort,
    ConfigurationKey,
    RegionKey,
    feature_columns,
    feature_matrices,
    labelled_cohort,
)
from lungpipe.learn.evaluate import ConfigurationResult, evaluate_configuration
from lungpipe.store import ledger
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.store.place import Place

#: Raise it when the same table and settings give other predictions.
VERSION = "1"


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


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """A result, the reference of its record, and whether it stood already."""

    ref: str
    result: ConfigurationResult
    reused: bool


def evaluate_recorded(place: Place, key: ConfigurationKey, evaluation: Evaluation) -> Configuration:
    """Evaluate one configuration, unless its record stands.

    The record's name depends on the features of this segmenter and region alone, on labels, patients and folds, and on the
    classifier: not on the other configurations.
    """
    cohort = evaluation.cohort(read_table(place, "tables/nodules.parquet"))
    features = read_table(place, "tables/features.parquet")
    here = (
        (features["segmenter"] == key.segmenter)
        & (features["region"] == key.region)
        & (features["radius_mm"] == key.radius_mm)
    )
    features = features[here]
    matrix = feature_matrices(features, cohort)[RegionKey(*key[:3])]
    classifier = plugins.find("classifiers", key.classifier)()
    settings = {name: value for name, value in asdict(evaluation).items() if name != "classifiers"}
    entry = ledger.named(
        ledger.COHORT,
        "configuration",
        subject=key._asdict(),
        inputs={"matrix_sha256": _digest(matrix, feature_columns(features), cohort), "n_nodules": len(matrix)},
        settings={**settings, "classifier": asdict(classifier)},
        versions={"learn": VERSION, key.classifier: classifier.version},
    )
    path = f"parts/configuration-{entry.id}/result.json"
    if ledger.stands(place, entry.ref):
        return Configuration(entry.ref, _unpack(place.read(path)), reused=True)
    result = evaluate_configuration(
        matrix, cohort.labels, cohort.groups, classifier, cohort.folds, evaluation.inner_folds, evaluation.seed
    )
    place.write(path, _pack(result))
    ledger.record(place, entry, [path])
    return Configuration(entry.ref, result, reused=False)


def _digest(matrix: np.ndarray[Any, Any], columns: list[str], cohort: Cohort) -> str:
    total = hashlib.sha256(json.dumps([matrix.shape, columns]).encode())
    total.update(np.ascontiguousarray(matrix, dtype="<f8").tobytes())
    total.update(np.ascontiguousarray(cohort.labels, dtype="<i8").tobytes())
    total.update("\n".join(cohort.groups.tolist()).encode())
    for fold in cohort.folds:
        total.update(np.ascontiguousarray(fold.test, dtype="<i8").tobytes())
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
