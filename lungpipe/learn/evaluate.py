"""One configuration, segmenter and region and classifier, measured by nested patient-grouped cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from lungpipe.errors import DatasetError
from lungpipe.learn.folds import CLASSES, Fold, check_labels, grouped_folds
from lungpipe.learn.models import STEP, Classifier
from lungpipe.learn.preparation import AS_IS, Preparation

Floats = NDArray[np.float64]
Parameters = dict[str, Any]
NO_OPINION = 0.5
#: Values further from 0 are no measurement: the squares that scaling takes of them would be infinite. Nearer ones are 0.
LARGEST, SMALLEST = 1e100, 1e-100


def evaluate_configuration(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    classifier: Classifier,
    folds: Sequence[Fold],
    inner_folds: int,
    seed: int,
    preparation: Preparation = AS_IS,
    batch: ArrayLike | None = None,
) -> ConfigurationResult:
    """Predict every row from a model that saw neither it nor its patient.

    In each outer fold the hyper-parameters are chosen by cross-validation among the training patients, then the
    pipeline is fitted to all of them and applied to the test patients. Outer and inner folds are dealt over the whole
    cohort, so that they are the same for every configuration, also where one lacks rows.

    The inner AUC is the share of rightly ordered pairs within an inner fold, ties counting a half, over all inner
    folds: models of different folds are never compared on one scale.

    An outer fold whose training rows are of one class, or have no column that varies, is not trained: its rows get
    p = 0.5 and it has no inner AUC, so that it is never chosen. Where the inner folds cannot be dealt, the first
    hyper-parameters of the grid are taken, likewise without an inner AUC.

    Parameters
    ----------
    features : array_like of float, shape (n, p)
        Rows of the cohort. NaN, infinite values and those beyond 1e100 are imputed; a row without any other value is one that
        this configuration lacks, and takes no part.
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    groups : array_like, shape (n,)
        Patient of each row.
    classifier : Classifier
        The plug-in.
    folds : sequence of Fold
        Outer folds over the n rows.
    inner_folds : int
        Folds to tune on; fewer if the training patients of a class are fewer. A fold with rows for validation is tuned on
        those instead.
    seed : int
        Seed of the inner folds and of the classifier.
    preparation : Preparation
        What stands between features and classifier.
    batch : array_like of int, shape (n,), optional
        Scanner, kernel or site of each row, for a preparation that harmonises.

    Returns
    -------
    ConfigurationResult
        Predictions, inner AUCs and chosen hyper-parameters.

    Raises
    ------
    DatasetError
        If the shapes differ or the labels are unusable.
    """
    y, patients = check_labels(labels, groups)
    table, present = _laid_out(features, patients, preparation, batch)
    if not folds:
        raise DatasetError("No folds were given.")
    p = np.full((max(fold.repeat for fold in folds) + 1, len(y)), np.nan)
    tuned: list[FoldRecord] = []
    with threadpool_limits(limits=1):  # tables this small: threads only spin, and sums would depend on their number
        for fold in folds:
            state = _state(seed, fold)
            train, test = fold.train[present[fold.train]], fold.test[present[fold.test]]
            if not _trainable(table[train, preparation.n_lead :], y[train]):
                tuned.append(FoldRecord(np.nan, {}, trained=False))
                p[fold.repeat, test] = NO_OPINION
                continue
            pipeline = preparation.pipeline(classifier, state)
            splits = _splits(y, patients, fold, present, inner_folds, state)
            best, inner_auc = _tune(pipeline, preparation.grid(classifier), table, y, splits)
            tuned.append(FoldRecord(inner_auc, best, trained=True))
            model = _fitted(pipeline, best, table[train], y[train])
            if len(test):
                p[fold.repeat, test] = model.predict_proba(table[test])[:, 1]
    return ConfigurationResult(
        p=p,
        inner_auc=np.array([record.inner_auc for record in tuned]),
        hyper_parameters=tuple(record.hyper_parameters for record in tuned),
        trained=np.array([record.trained for record in tuned]),
    )


def refit(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    classifier: Classifier,
    fold: Fold,
    seed: int,
    hyper_parameters: Parameters,
    preparation: Preparation = AS_IS,
    batch: ArrayLike | None = None,
) -> Refitted:
    """Fit the pipeline of one outer fold as :func:`evaluate_configuration` did, without tuning it again.

    Parameters
    ----------
    features, labels, groups, classifier, seed, preparation, batch
        As in :func:`evaluate_configuration`.
    fold : Fold
        One that was trained.
    hyper_parameters : dict
        Those that the evaluation recorded for the fold.

    Raises
    ------
    DatasetError
        If the shapes differ, the labels are unusable, or the training rows allow no model.
    """
    y, patients = check_labels(labels, groups)
    table, present = _laid_out(features, patients, preparation, batch)
    train, test = fold.train[present[fold.train]], fold.test[present[fold.test]]
    if not _trainable(table[train, preparation.n_lead :], y[train]):
        raise DatasetError(
            f"Fold {fold.number} of repeat {fold.repeat} was not trained, so no model can be fitted again."
        )
    pipeline = preparation.pipeline(classifier, _state(seed, fold))
    with threadpool_limits(limits=1):
        return Refitted(_fitted(pipeline, hyper_parameters, table[train], y[train]), table, train, test)


def _laid_out(
    features: ArrayLike, patients: NDArray[Any], preparation: Preparation, batch: ArrayLike | None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Table that a pipeline takes, what cannot be used missing and patient and batch first, and which rows have any value."""
    n = len(patients)
    table = np.array(features, dtype=float)
    if table.ndim != 2 or len(table) != n:
        raise DatasetError(f"Features must have a row for each of the {n} labels; their shape is {table.shape}.")
    table[~(np.abs(table) <= LARGEST)] = np.nan
    table[np.abs(table) < SMALLEST] = 0.0
    present = ~np.isnan(table).all(axis=1)
    if preparation.harmonise:
        table = np.column_stack([_batches(batch, n), table])
    if preparation.copies is not None:
        table = np.column_stack([pd.factorize(patients)[0], table])
    return table, present


def _fitted(pipeline: Pipeline, hyper_parameters: Parameters, train: Floats, y: NDArray[np.int64]) -> Pipeline:
    return clone(pipeline).set_params(**hyper_parameters).fit(train, y)


def _batches(batch: ArrayLike | None, n: int) -> NDArray[np.int64]:
    codes = np.asarray([] if batch is None else batch)
    if codes.shape != (n,):
        raise DatasetError(f"ComBat needs the batch of each of the {n} rows; {len(codes)} were given.")
    return codes.astype(np.int64)


def _state(seed: int, fold: Fold) -> int:
    return int(np.random.SeedSequence((seed, fold.repeat, fold.number)).generate_state(1)[0] >> 1)


def _trainable(table: Floats, y: NDArray[np.int64]) -> bool:
    """Say whether both classes are there and some column takes two values."""
    if len(np.unique(y)) < 2:
        return False
    lowest = np.where(np.isnan(table), np.inf, table).min(axis=0)
    highest = np.where(np.isnan(table), -np.inf, table).max(axis=0)
    # A column filled by its own median varies only if its values do.
    return bool((highest > lowest).any())


def _splits(
    y: NDArray[np.int64],
    patients: NDArray[Any],
    fold: Fold,
    present: NDArray[np.bool_],
    inner_folds: int,
    seed: int,
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to fit on and to tune on: those that the fold has for validation, else inner folds."""
    if fold.validation is None:
        return list(_inner_splits(y, patients, fold.train, present, inner_folds, seed))
    fit = np.setdiff1d(fold.train, fold.validation)
    return [(fit[present[fit]], fold.validation[present[fold.validation]])]


def _inner_splits(
    y: NDArray[np.int64],
    patients: NDArray[Any],
    train: NDArray[np.intp],
    present: NDArray[np.bool_],
    inner_folds: int,
    seed: int,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield inner training and validation rows, dealt over all training patients and then reduced to present rows."""
    inside, whose = y[train], patients[train]
    n_folds = min(inner_folds, *(len(np.unique(whose[inside == value])) for value in CLASSES))
    if n_folds < 2:
        return
    for fold in _dealt(tuple(inside.tolist()), tuple(whose.tolist()), n_folds, seed):
        fit, check = train[fold.train], train[fold.test]
        yield fit[present[fit]], check[present[check]]


@lru_cache(maxsize=64)
def _dealt(labels: tuple[int, ...], groups: tuple[Any, ...], n_folds: int, seed: int) -> tuple[Fold, ...]:
    """Deal inner folds, which every configuration shares, once."""
    return tuple(grouped_folds(labels, groups, n_folds, seed))


def _tune(
    pipeline: Pipeline,
    grid: dict[str, list[Any]],
    table: Floats,
    y: NDArray[np.int64],
    splits: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> tuple[Parameters, float]:
    """Return the hyper-parameters with the highest inner AUC, the first of equals, and that AUC."""
    before = {key: values for key, values in grid.items() if not key.startswith(f"{STEP}__")}
    own = {key: values for key, values in grid.items() if key not in before}
    points: list[Parameters] = [{**a, **b} for a in ParameterGrid(before) for b in ParameterGrid(own)]
    right, pairs = np.zeros(len(points)), 0
    n_lead = sum(
        name in pipeline.named_steps for name in ("harmonise", "stable")
    )  # the first columns then are no features
    for train, check in splits:
        n_pairs = int((y[check] == 1).sum() * (y[check] == 0).sum())
        if not n_pairs or not _trainable(table[train, n_lead:], y[train]):
            continue
        pairs += n_pairs
        with config_context(skip_parameter_validation=True):  # a third of the time; the fit that counts validates
            for position, p in enumerate(_predictions(pipeline, points, table[train], y[train], table[check])):
                right[position] += _right_pairs(p, y[check])
    if not pairs:
        return points[0], float("nan")
    best = int(np.argmax(right))
    return points[best], float(right[best] / pairs)


def _predictions(
    pipeline: Pipeline, points: Sequence[Parameters], train: Floats, y: NDArray[np.int64], check: Floats
) -> Iterator[Floats]:
    """Yield p for each point of the grid, fitting the steps before the classifier only when one of theirs changes."""
    before: Parameters | None = None
    for point in points:
        steps = {key: value for key, value in point.items() if not key.startswith(f"{STEP}__")}
        if steps != before:
            before, preparation = steps, clone(pipeline).set_params(**steps)[:-1]
            ready_train, ready_check = preparation.fit_transform(train, y), preparation.transform(check)
        own = {key.removeprefix(f"{STEP}__"): value for key, value in point.items() if key not in steps}
        model = clone(pipeline[-1]).set_params(**own).fit(ready_train, y)
        yield model.predict_proba(ready_check)[:, 1]


def _right_pairs(p: Floats, y: NDArray[np.int64]) -> float:
    """Count the malignant-benign pairs in the right order, ties a half (Mann-Whitney U)."""
    n_malignant = int((y == 1).sum())
    return float(rankdata(p)[y == 1].sum() - n_malignant * (n_malignant + 1) / 2)


@dataclass(frozen=True, slots=True)
class FoldRecord:
    """What tuning found in one outer fold."""

    inner_auc: float
    hyper_parameters: Parameters
    trained: bool


@dataclass(frozen=True, slots=True, eq=False)
class ConfigurationResult:
    """Predictions of one configuration.

    Parameters
    ----------
    p : NDArray of float, shape (n_repeats, n)
        Probability of malignancy from the fold that tested the row; NaN where the configuration lacks the row.
    inner_auc : NDArray of float, shape (n_folds,)
        Of the chosen hyper-parameters among each outer fold's training patients; NaN if undefined.
    hyper_parameters : tuple of dict, length n_folds
        Chosen in each outer fold.
    trained : NDArray of bool, shape (n_folds,)
        False where the training rows allowed no model and p is 0.5.
    """

    p: Floats
    inner_auc: Floats
    hyper_parameters: tuple[Parameters, ...]
    trained: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Refitted:
    """A model of one outer fold.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted to the training rows.
    table : NDArray of float, shape (n, n_lead + p)
        What it takes; patient and batch come first where a step asks for them.
    train, test : NDArray of int
        Rows of the table, without those that the configuration lacks.
    """

    pipeline: Pipeline
    table: Floats
    train: NDArray[np.intp]
    test: NDArray[np.intp]
