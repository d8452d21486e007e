"""Percentile intervals of any figure from drawing patients, with all their nodules, anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lungpipe.errors import DatasetError
from lungpipe.learn.rows import need_both_classes, usable_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Labels (n,), scores (n,) to a figure.
Figure = Callable[[Ints, Floats], float]
#: Labels (n,), scores (n_repeats, n) and how often each row was drawn (n_draws, n), to a figure a draw.
WeightedFigure = Callable[[Ints, Floats, Ints], Floats]
#: Weights held at once.
_AT_ONCE = 2_000_000
#: Draws of one class for every usable one, above which there is nothing to draw from.
_MOST_LOST = 50


def bootstrap_interval(
    figure: WeightedFigure,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> BootstrapInterval:
    """Give the percentile interval of a figure under resampling of patients.

    Patients are drawn with replacement and bring all their nodules (Davison and Hinkley 1997, *Bootstrap Methods and
    their Application*, section 3.8; the percentile interval is Efron's, 1979, Annals of Statistics 7:1-26). Those with
    a malignant nodule and those without are drawn separately, so that each draw has as many of either as the cohort.
    A draw without a benign nodule, possible where patients have both, is drawn anew.

    The scores stay as they are: the interval says what other patients would have done to the figure, not what training
    on them would have.

    Parameters
    ----------
    figure : callable
        Takes labels (n,), scores (n_repeats, n) and weights (n_draws, n), and returns a figure a draw: `weighted_auc`, or
        any function of labels and scores made so by `row_by_row`. Draws for which it is NaN are left out.
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    level : float
        Confidence level.
    draws : int
        Number of draws.
    seed : int
        Seed of the draws.

    Returns
    -------
    BootstrapInterval
        The figure of the cohort itself, its limits, its standard error and the number of draws they rest on.

    Raises
    ------
    DatasetError
        If the rows are of one class or unusable, or draws of both classes cannot be had.
    """
    y, patients, (table,) = usable_rows(labels, groups, scores)
    need_both_classes(y)
    value = float(figure(y, table, np.ones((1, len(y)), dtype=np.int64))[0])
    drawn = np.concatenate([figure(y, table, w) for w in patient_weights(y, patients, draws, seed)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return BootstrapInterval(value, np.nan, np.nan, np.nan, 0)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    error = float(drawn.std(ddof=1)) if len(drawn) > 1 else np.nan
    return BootstrapInterval(value, float(low), float(high), error, len(drawn))


def patient_weights(labels: Ints, patients: NDArray[np.generic], draws: int, seed: int) -> Iterator[Ints]:
    """Draw patients, with and without a malignant nodule apart, and say how often each row comes.

    Parameters
    ----------
    labels : NDArray of int, shape (n,)
        1 malignant, 0 benign.
    patients : NDArray, shape (n,)
        Patient of each row.
    draws : int
        Number of draws.
    seed : int
        Seed.

    Yields
    ------
    NDArray of int, shape (some draws, n)
        Every draw has both classes. The draws do not depend on how they are parcelled.

    Raises
    ------
    DatasetError
        If hardly any draw has both classes.
    """
    if draws < 1:
        raise DatasetError(f"draws must be at least 1, not {draws}.")
    names, index = np.unique(patients, return_inverse=True)
    ill = np.bincount(index, labels, len(names)) > 0
    # Each stratum has its own stream, read draw by draw, so that the size of a parcel changes nothing.
    streams = np.random.default_rng(seed).spawn(2)
    found = made = 0
    while found < draws:
        some = max(1, min(draws - found, _AT_ONCE // len(labels)))
        counts = np.zeros((some, len(names)), dtype=np.int64)
        for rng, stratum in zip(streams, (ill, ~ill), strict=True):
            if size := int(stratum.sum()):
                drawn = rng.integers(0, size, (some, size)) + size * np.arange(some)[:, None]
                counts[:, stratum] = np.bincount(drawn.ravel(), minlength=some * size).reshape(some, size)
        weights = counts[:, index]
        usable = (weights[:, labels == 0].sum(axis=1) > 0) & (weights[:, labels == 1].sum(axis=1) > 0)
        found, made = found + int(usable.sum()), made + some
        if made > _MOST_LOST * (found + 10):
            raise DatasetError(
                f"Of {made} draws of {len(names)} patients only {found} had both classes; benign nodules come from too few "
                "patients for an interval."
            )
        yield weights[usable]


def row_by_row(figure: Figure) -> WeightedFigure:
    """Make a figure of labels and scores into one of draws, mean over the repeats.

    Parameters
    ----------
    figure : callable
        Takes labels (n,) and scores (n,) and returns a number; for instance one of scikit-learn's metrics.

    Returns
    -------
    callable
        For `bootstrap_interval`. It calls `figure` once a draw and repeat.
    """

    def weighted(labels: Ints, scores: Floats, weights: Ints) -> Floats:
        values = np.empty(len(weights))
        for position, weight in enumerate(weights):
            drawn = np.repeat(np.arange(len(labels)), weight)
            values[position] = np.mean([figure(labels[drawn], repeat[drawn]) for repeat in scores])
        return values

    return weighted


def weighted_auc(labels: Ints, scores: Floats, weights: Ints) -> Floats:
    """Give the AUC of every draw at once, mean over the repeats; ties count a half.

    Parameters
    ----------
    labels : NDArray of int, shape (n,)
        1 malignant, 0 benign.
    scores : NDArray of float, shape (n_repeats, n)
        Higher means more likely malignant.
    weights : NDArray of int, shape (n_draws, n)
        How often each row was drawn.

    Returns
    -------
    NDArray of float, shape (n_draws,)
        NaN for a draw of one class.
    """
    weights = np.asarray(weights, dtype=np.float64)
    malignant, benign = weights * labels, weights * (1 - labels)
    pairs = malignant.sum(axis=1) * benign.sum(axis=1)
    right = np.zeros(len(weights))
    for repeat in scores:
        order = np.argsort(repeat, kind="stable")
        first = np.flatnonzero(np.diff(repeat[order], prepend=-np.inf))  # where a new value starts
        ill = np.add.reduceat(malignant[:, order], first, axis=1)
        well = np.add.reduceat(benign[:, order], first, axis=1)
        right += (ill * (np.cumsum(well, axis=1) - well / 2)).sum(axis=1)
    found = np.full(len(weights), np.nan)
    np.divide(right / len(scores), pairs, out=found, where=pairs > 0)
    return found


@dataclass(frozen=True, slots=True)
class BootstrapInterval:
    """A figure with its limits.

    Parameters
    ----------
    value, low, high : float
        The figure of the cohort itself, and its percentile limits.
    standard_error : float
        Standard deviation over the draws.
    draws : int
        Draws for which the figure is a number.
    """

    value: float
    low: float
    high: float
    standard_error: float
    draws: int
