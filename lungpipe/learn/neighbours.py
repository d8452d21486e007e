"""The labelled nodules that a nodule is most like, how far it is from what a model was trained on, and what that has to do with error.

References
----------
.. [1] Sun, Ming, Zhu and Li, Out-of-distribution detection with deep nearest neighbors, ICML 2022: the distance to the
   nearest training rows as a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata, spearmanr

from lungpipe.errors import DatasetError
from lungpipe.learn.bootstrap import patient_weights
from lungpipe.learn.figures import figure_table
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.rows import need_both_classes, usable_rows
from lungpipe.learn.subgroups import SMALLEST

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Neighbours of a nodule.
K = 5
#: Percentile above which a nodule counts as far from the training rows.
FAR = 90.0
#: Rows whose distances are held at once.
_ROWS = 512


def nearest(
    train: Floats, train_groups: NDArray[Any], rows: Floats, groups: NDArray[Any], k: int = K
) -> tuple[Floats, NDArray[np.intp]]:
    """Find the training rows of other patients that are nearest.

    Distance is the root mean square over features of the difference: in standard deviations, where features are scaled.

    Parameters
    ----------
    train : ndarray of float, shape (n, q)
    train_groups : ndarray, shape (n,)
        Patient of each training row.
    rows : ndarray of float, shape (m, q)
        May be the training rows themselves.
    groups : ndarray, shape (m,)
        Patient of each row, none of whose own rows counts.
    k : int

    Returns
    -------
    distances : ndarray of float, shape (m, k)
        Ascending; infinite where other patients have fewer than k rows.
    positions : ndarray of int, shape (m, k)
        Training rows; of equals the earlier.

    Raises
    ------
    DatasetError
        If a table has no column, or the columns differ.
    """
    if train.ndim != 2 or not train.shape[1] or rows.shape[1:] != train.shape[1:]:
        raise DatasetError(
            f"Neighbours need rows of the same features; found tables of {train.shape} and {rows.shape}."
        )
    k_here = min(k, len(train))
    distances, positions = np.full((len(rows), k), np.inf), np.zeros((len(rows), k), dtype=np.intp)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        apart = cdist(rows[part], train) / np.sqrt(train.shape[1])
        apart[groups[part, None] == train_groups[None, :]] = np.inf
        order = np.argsort(apart, axis=1, kind="stable")[:, :k_here]
        positions[part, :k_here] = order
        distances[part, :k_here] = np.take_along_axis(apart, order, axis=1)
    return distances, positions


def mean_distance(distances: Floats) -> Floats:
    """Average each row's finite distances, shape (m,); NaN where it has none."""
    known = np.isfinite(distances)
    total, count = np.where(known, distances, 0.0).sum(axis=1), known.sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def percentiles(scores: Floats, reference: Floats) -> Floats:
    """Say which part of a reference lies below each score, per cent; an equal one counts a half.

    Parameters
    ----------
    scores : ndarray of float, shape (m,)
    reference : ndarray of float, shape (n,)
        NaN are left out.

    Returns
    -------
    ndarray, shape (m,)
        NaN where the score is, or there is no reference.
    """
    known = np.sort(reference[np.isfinite(reference)])
    if not len(known):
        return np.full(len(scores), np.nan)
    rank = (np.searchsorted(known, scores, "left") + np.searchsorted(known, scores, "right")) / 2
    return np.where(np.isfinite(scores), 100 * rank / len(known), np.nan)


def outlyingness(
    train: Floats, train_groups: NDArray[Any], rows: Floats, groups: NDArray[Any], k: int = K
) -> Outlyingness:
    """Score how far rows are from the training rows, and place the scores among those that training rows have themselves.

    The score is the mean distance to the k nearest training rows of other patients [1]_. A training row is scored in the same
    way, its own patient left out, so that rows of the same kind as the training rows have percentiles that are spread evenly.

    Parameters
    ----------
    train, train_groups, rows, groups, k
        As in :func:`nearest`.

    Returns
    -------
    Outlyingness
    """
    distances, positions = nearest(train, train_groups, rows, groups, k)
    own = mean_distance(nearest(train, train_groups, train, train_groups, k)[0])
    score = mean_distance(distances)
    return Outlyingness(score, percentiles(score, own), distances, positions)


def relation_to_error(
    percentile: ArrayLike,
    labels: ArrayLike,
    p: ArrayLike,
    patients: ArrayLike,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> ErrorRelation:
    """Say whether nodules far from the training rows are predicted worse.

    Spearman's rho of the percentile and of the absolute error, mean over repeats, with a percentile interval from drawing
    patients anew; and AUC and Brier score of the nodules above and up to the percentile :data:`FAR`.

    Parameters
    ----------
    percentile : array_like of float, shape (n,)
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy.
    patients : array_like, shape (n,)
    draws, seed : int
        Of the bootstrap.
    level : float
        Confidence level.

    Returns
    -------
    ErrorRelation
        Rows without a percentile or prediction are left out. The figures of a side with fewer than
        :data:`lungpipe.learn.subgroups.SMALLEST` patients in a class are NaN.

    Raises
    ------
    DatasetError
        If the lengths differ, or the rows are of one class.
    """
    y, whose, (far, table) = usable_rows(labels, patients, percentile, p)
    need_both_classes(y)
    error, place = np.abs(table - y).mean(axis=0), far[0]
    rho, low, high = np.nan, np.nan, np.nan
    if len(np.unique(place)) > 1 and len(np.unique(error)) > 1:
        rho = float(spearmanr(place, error).statistic)
        drawn = np.concatenate([_rank_correlation(place, error, w) for w in patient_weights(y, whose, draws, seed)])
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(drawn) else (np.nan, np.nan)
    sides = [_side(y[here], table[:, here], whose[here], draws, seed) for here in (place <= FAR, place > FAR)]
    return ErrorRelation(len(y), rho, float(low), float(high), *sides)


def _rank_correlation(one: Floats, other: Floats, weights: NDArray[np.int64]) -> Floats:
    """Spearman's rho of each draw; NaN where a column does not vary."""
    found = np.full(len(weights), np.nan)
    for position, weight in enumerate(weights):
        rows = np.repeat(np.arange(len(one)), weight)
        a, b = (rankdata(column[rows]) for column in (one, other))
        a, b = a - a.mean(), b - b.mean()
        size = np.sqrt((a @ a) * (b @ b))
        if size > 0:
            found[position] = (a @ b) / size
    return found


def _side(y: NDArray[np.int64], p: Floats, patients: NDArray[Any], draws: int, seed: int) -> Side:
    counts = (len(y), len(np.unique(patients)), int(y.sum()))
    if min(len(np.unique(patients[y == value])) for value in (0, 1)) < SMALLEST:
        return Side(*counts, *(np.nan,) * 6)
    auc = auc_interval(y, p, patients)
    table = figure_table(y, p, patients, draws=draws, seed=seed)
    brier = table.loc[table["figure"] == "brier", ["value", "low", "high"]].to_numpy(dtype=np.float64)[0]
    return Side(*counts, auc.auc, auc.low, auc.high, *brier.tolist())


class Outlyingness(NamedTuple):
    """Score and percentile of each row, shape (m,), and its neighbours' distances and positions, shape (m, k)."""

    score: NDArray[np.float64]
    percentile: NDArray[np.float64]
    distances: NDArray[np.float64]
    positions: NDArray[np.intp]


class Side(NamedTuple):
    """Counts and figures of the nodules on one side of a percentile."""

    n: int
    n_patients: int
    n_malignant: int
    auc: float
    auc_low: float
    auc_high: float
    brier: float
    brier_low: float
    brier_high: float


class ErrorRelation(NamedTuple):
    """Nodules, Spearman's rho with limits, and the figures of those near to and far from the training rows."""

    n: int
    rho: float
    low: float
    high: float
    near: Side
    far: Side
