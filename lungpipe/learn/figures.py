"""Figures of probabilities and rankings, and the table of all figures with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from lungpipe.learn.bootstrap import Floats, Ints, bootstrap_interval, row_by_row
from lungpipe.learn.operating import at_sensitivity, at_specificity, at_threshold
from lungpipe.learn.rows import need_both_classes, need_probabilities, usable_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Probabilities are moved this far from 0 and 1 before their logarithm is taken.
CLIP = 1e-15


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
) -> pd.DataFrame:
    """Give the usual figures with percentile intervals over patients.

    A threshold that is part of a figure is chosen anew in each draw.

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

    Returns
    -------
    DataFrame
        Columns figure (a name of `FIGURES`), value, low, high; the thresholds are rows of their own.

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    _repeats(labels, p)
    rows = []
    for name, figure in FIGURES.items():
        found = bootstrap_interval(row_by_row(figure), labels, p, groups, level=level, draws=draws, seed=seed)
        rows.append({"figure": name, "value": found.value, "low": found.low, "high": found.high})
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


#: Figures of `figure_table`, each of labels and probabilities without repeats.
FIGURES: dict[str, Callable[[Ints, Floats], float]] = {
    "sensitivity_at_90_specificity": lambda y, p: at_specificity(y, p, 0.9).sensitivity,
    "threshold_at_90_specificity": lambda y, p: at_specificity(y, p, 0.9).threshold,
    "sensitivity_at_95_specificity": lambda y, p: at_specificity(y, p, 0.95).sensitivity,
    "threshold_at_95_specificity": lambda y, p: at_specificity(y, p, 0.95).threshold,
    "specificity_at_90_sensitivity": lambda y, p: at_sensitivity(y, p, 0.9).specificity,
    "threshold_at_90_sensitivity": lambda y, p: at_sensitivity(y, p, 0.9).threshold,
    "specificity_at_95_sensitivity": lambda y, p: at_sensitivity(y, p, 0.95).specificity,
    "threshold_at_95_sensitivity": lambda y, p: at_sensitivity(y, p, 0.95).threshold,
    "balanced_accuracy": lambda y, p: at_threshold(y, p).balanced_accuracy,
    "brier": _brier,
    "log_loss": _log_loss,
    "average_precision": lambda y, p: float(average_precision_score(y, p)),
}
