"""Figures of probabilities and rankings, and the table of all figures with intervals over patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from lungpipe.learn.bootstrap import Floats, Ints, patient_weights
from lungpipe.learn.rows import need_both_classes, need_probabilities, usable_rows
from lungpipe.learn.shared_training import variance_factor
from lungpipe.learn.weighted import CLIP, weighted_figures

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def brier_score(labels: ArrayLike, p: ArrayLike) -> float:
    """Average the squared distance of the prediction from the truth, 0 at best.

    Brier (1950), *Verification of forecasts expressed in terms of probability*, Monthly Weather Review 78:1-3, in the form
    for one class, which is half of his.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.

    Returns
    -------
    float
        Mean over the repeats.

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    return float(np.mean([_brier(y, s) for y, s in _repeats(labels, p)]))


def log_loss(labels: ArrayLike, p: ArrayLike) -> float:
    """Average the negative logarithm of the probability given to the truth (Good 1952, JRSS B 14:107-114), 0 at best.

    Probabilities are clipped to [1e-15, 1 - 1e-15], so a certain and wrong prediction costs 34.5 and not infinity.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.

    Returns
    -------
    float
        Mean over the repeats.

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    return float(np.mean([_log_loss(y, s) for y, s in _repeats(labels, p)]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum precision over the steps of recall, without interpolation; the share of malignant nodules for a useless score.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; NaN where the configuration lacks the row.

    Returns
    -------
    float
        Mean over the repeats.

    Raises
    ------
    DatasetError
        If the rows are of one class or unusable.
    """
    return float(np.mean([average_precision_score(y, s) for y, s in _repeats(labels, scores, probabilities=False)]))


def figure_table(
    labels: ArrayLike,
    p: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    n_models: int = 1,
) -> pd.DataFrame:
    """Give the usual figures with percentile intervals over patients.

    A threshold that is part of a figure is chosen anew in each draw. Draws take the scores as given; those of cross-validation
    come from models that share their training rows, so the limits then are further from the figure by the root of
    `lungpipe.learn.shared_training.variance_factor`, but not beyond what the figure can be.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row.
    level : float
        Confidence level.
    draws, seed : int
        As in `bootstrap_interval`.
    n_models : int
        Folds of one repeat whose models gave the scores, as in `auc_interval`.

    Returns
    -------
    DataFrame
        Columns figure (named as in `weighted_figures`), value, low, high; the thresholds are rows of their own.

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    y, patients, (table,) = usable_rows(labels, groups, p)
    need_both_classes(y)
    need_probabilities(table)
    cohort = weighted_figures(y, table, np.ones((1, len(y)), dtype=np.int64))
    parcels = [weighted_figures(y, table, weights) for weights in patient_weights(y, patients, draws, seed)]
    stretch = float(np.sqrt(variance_factor(n_models)))
    rows = []
    for name, (value, *_) in cohort.items():
        drawn = np.concatenate([parcel[name] for parcel in parcels])
        limits = value + stretch * (np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - value)
        low, high = np.clip(limits, 0.0, np.inf if name == "log_loss" else 1.0)
        rows.append({"figure": name, "value": float(value), "low": float(low), "high": float(high)})
    return pd.DataFrame(rows)


def _repeats(labels: ArrayLike, scores: ArrayLike, *, probabilities: bool = True) -> list[tuple[Ints, Floats]]:
    y, _, (table,) = usable_rows(labels, None, scores)
    need_both_classes(y)
    if probabilities:
        need_probabilities(table)
    return [(y, repeat) for repeat in table]


def _brier(y: Ints, p: Floats) -> float:
    return float(((p - y) ** 2).mean())


def _log_loss(y: Ints, p: Floats) -> float:
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return float(-np.where(y == 1, np.log(clipped), np.log1p(-clipped)).mean())
