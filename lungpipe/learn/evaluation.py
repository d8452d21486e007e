"""One configuration of a benchmark, from the tables of a workspace to a recorded result."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lungpipe.learn.asked import Asked, asked
from lungpipe.learn.cohort import Cohort, ConfigurationKey, labelled_cohort
from lungpipe.learn.design import Design
from lungpipe.learn.evaluate import ConfigurationResult, evaluate_configuration
from lungpipe.learn.feature_sets import ALL, BUILT_IN, FeatureSet
from lungpipe.learn.preparation import Balance, Preparation, Selection
from lungpipe.learn.stability import GOOD
from lungpipe.learn.table_cache import nodules_of
from lungpipe.store import ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from lungpipe.store.place import Place

#: Raise it when the same table and settings give other predictions.
VERSION = "2"


#: Settings that a configuration depends on through its matrix alone.
_OWN_INPUTS = {"classifiers", "clinical", "feature_sets", "stability", "min_icc"}


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
    clinical: tuple[str, ...] = ()
    feature_sets: tuple[FeatureSet, ...] = ((ALL, BUILT_IN[ALL]),)
    stability: str = ""
    min_icc: float = GOOD

    @property
    def preparation(self) -> Preparation:
        """What stands between features and classifier."""
        return Preparation(
            self.max_correlation, self.selection, self.n_features, self.balance, harmonise=bool(self.harmonise)
        )

    @property
    def recorded(self) -> dict[str, Any]:
        """All of it as JSON values but the path of the copies, whose content is part of each configuration's record."""
        return {word: value for word, value in asdict(self).items() if word != "stability"}

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
    """The rows of one configuration, with patients and folds, and what is learned from."""

    cohort: Cohort
    what: Asked


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
    cohort, what = inputs_of(place, key, evaluation)
    return evaluate_asked(place, key, evaluation, cohort, what)


def evaluate_asked(
    place: Place,
    key: ConfigurationKey,
    evaluation: Evaluation,
    cohort: Cohort,
    what: Asked,
    subject: Mapping[str, Any] | None = None,
) -> Configuration:
    """Evaluate on a matrix that was read, and record it.

    Parameters
    ----------
    place : Place
        Gets the record.
    key : ConfigurationKey
    evaluation : Evaluation
    cohort : Cohort
        The rows of the matrix, with patients and folds.
    what : Asked
    subject : mapping, optional
        More that the record is about.
    """
    settings = {word: value for word, value in asdict(evaluation).items() if word not in _OWN_INPUTS}
    entry = ledger.named(
        ledger.COHORT,
        "configuration",
        subject={**_subject(key), **(subject or {})},
        inputs={"matrix_sha256": _digest(what, cohort), "n_nodules": len(what.matrix)},
        settings={**settings, "classifier": asdict(what.classifier)},  # type: ignore[call-overload]  # a dataclass
        versions={"learn": VERSION, key.classifier: what.classifier.version},
    )
    path = f"parts/configuration-{entry.id}/result.json"
    if ledger.stands(place, entry.ref):
        return Configuration(entry.ref, _unpack(place.read(path)), reused=True)
    start = time.perf_counter()
    result = evaluate_configuration(
        what.matrix,
        what.labels,
        cohort.groups,
        what.classifier,
        cohort.folds,
        evaluation.inner_folds,
        evaluation.seed,
        what.preparation,
        what.batch,
    )
    place.write(path, _pack(result))
    ledger.record(place, entry, [path], time.perf_counter() - start)
    return Configuration(entry.ref, result, reused=False)


@lru_cache(maxsize=2)
def _dealt(place: Place, sha256: str, evaluation: Evaluation) -> Cohort:
    """Folds over nodules with this content, dealt once by a worker that evaluates many configurations."""
    del sha256
    return evaluation.cohort(nodules_of(place))


def inputs_of(place: Place, key: ConfigurationKey, evaluation: Evaluation) -> Inputs:
    """Read what one configuration or baseline is evaluated with, and deal the folds."""
    cohort = _dealt(place, place.digest("tables/nodules.parquet"), evaluation)
    return Inputs(cohort, asked([(place, cohort)], key, evaluation))


def recorded_result(place: Place, ref: str) -> ConfigurationResult:
    """Read the result of a configuration by the reference of its record."""
    return _unpack(place.read(f"parts/{ref.split('/')[1]}/result.json"))


def _subject(key: ConfigurationKey) -> dict[str, Any]:
    """The key as JSON values; a baseline has no radius."""
    return {name: None if value != value else value for name, value in key._asdict().items()}


def _digest(what: Asked, cohort: Cohort) -> str:
    total = hashlib.sha256(json.dumps([what.matrix.shape, list(what.columns)]).encode())
    total.update(np.ascontiguousarray(what.matrix, dtype="<f8").tobytes())
    total.update(np.ascontiguousarray(what.labels, dtype="<i8").tobytes())
    total.update("\n".join(cohort.groups.tolist()).encode())
    for fold in cohort.folds:
        total.update(np.ascontiguousarray(fold.test, dtype="<i8").tobytes())
        for rows in (fold.train, fold.validation):
            total.update(np.ascontiguousarray([] if rows is None else rows, dtype="<i8").tobytes())
    total.update(np.ascontiguousarray([] if what.batch is None else what.batch, dtype="<i8").tobytes())
    if what.preparation.copies is not None:
        total.update(what.preparation.copies.digest.encode())
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
