"""Odds ratios with their limits: of a 2 x 2 table, and for one standard deviation more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Fisher's exact test where an expected cell of a 2 x 2 table is smaller.
SMALLEST_EXPECTED = 5.0
#: Added to every cell of a 2 x 2 table with an empty one (Haldane 1956, Anscombe 1956).
CORRECTION = 0.5
_LEVEL = 0.95
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class OddsRatio:
    """An odds ratio with its 95 % limits; NaN where the nodules do not give one.

    Parameters
    ----------
    value, low, high : float
    corrected : bool
        Whether one half was added to each cell, since one was empty.
    """

    value: float
    low: float
    high: float
    corrected: bool = False


def two_by_two(labels: ArrayLike, present: ArrayLike) -> NDArray[np.int64]:
    """Count malignant (first row) and benign nodules with (first column) and without a structure, shape (2, 2)."""
    y, has = np.asarray(labels) == 1, np.asarray(present, dtype=np.bool_)
    return np.array([[(y & has).sum(), (y & ~has).sum()], [(~y & has).sum(), (~y & ~has).sum()]], dtype=np.int64)


def table_odds_ratio(cells: ArrayLike) -> OddsRatio:
    """Odds ratio of a 2 x 2 table with Woolf's limits (1955, doi:10.1111/j.1469-1809.1955.tb01348.x).

    Where a cell is empty, one half is added to each (Haldane 1956, Anscombe 1956), and the result says so. Where nobody, or
    everybody, has the structure, there is no odds ratio.

    Parameters
    ----------
    cells : array_like of int, shape (2, 2)
        As of :func:`two_by_two`.
    """
    table = np.asarray(cells, dtype=np.float64)
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        return OddsRatio(_NAN, _NAN, _NAN)
    corrected = bool((table == 0).any())
    table = table + CORRECTION * corrected
    log = float(np.log(table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])))
    return _limits(log, float(np.sqrt((1 / table).sum())), corrected)


def compare_two_by_two(cells: ArrayLike) -> tuple[str, float, float]:
    """Test a 2 x 2 table: Pearson's chi-square without Yates' correction, Fisher's where an expected cell is below 5.

    Parameters
    ----------
    cells : array_like of int, shape (2, 2)

    Returns
    -------
    test : str
        ``"chi-square"`` or ``"Fisher"``; empty where nobody, or everybody, has the structure.
    chi2 : float
        NaN for Fisher's.
    p : float
    """
    table = np.asarray(cells, dtype=np.int64)
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        return "", _NAN, _NAN
    if stats.contingency.expected_freq(table).min() < SMALLEST_EXPECTED:
        return "Fisher", _NAN, float(stats.fisher_exact(table).pvalue)
    found = stats.chi2_contingency(table, correction=False)
    return "chi-square", float(found.statistic), float(found.pvalue)


def odds_ratio_per_deviation(labels: ArrayLike, values: ArrayLike) -> OddsRatio:
    """Odds ratio of malignancy for one standard deviation more, by logistic regression without penalty.

    Maximum likelihood by Newton's method, limits by Wald. NaN where the values do not vary, or part the classes wholly, so
    that no finite ratio is most likely.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
    values : array_like of float, shape (n,)
    """
    y, x = np.asarray(labels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    nothing = OddsRatio(_NAN, _NAN, _NAN)
    deviation = float(x.std(ddof=1)) if len(x) > 1 else 0.0
    if deviation <= 1e-12 * (1 + float(np.abs(x).max(initial=0.0))) or _parted(y, x):
        return nothing
    design = np.stack([np.ones(len(x)), (x - x.mean()) / deviation], axis=1)
    weights = np.array([np.log(y.mean() / (1 - y.mean())), 0.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -500, 500)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(information, design.T @ (y - p))
        # Halved where a full step would leave the region in which the curvature is known.
        weights = weights + step * min(1.0, 4.0 / float(np.abs(step).max(initial=1e-300)))
        if float(np.abs(step).max()) < 1e-10:
            break
    else:
        return nothing
    return _limits(float(weights[1]), float(np.sqrt(np.linalg.inv(information)[1, 1])), corrected=False)


def _parted(y: NDArray[np.float64], x: NDArray[np.float64]) -> bool:
    """Whether one cut parts the classes."""
    malignant, benign = x[y == 1], x[y == 0]
    return bool(malignant.min() >= benign.max() or malignant.max() <= benign.min())


def _limits(log: float, error: float, corrected: bool) -> OddsRatio:
    half = float(stats.norm.ppf(0.5 + _LEVEL / 2)) * error
    value, low, high = (float(np.exp(min(v, 700.0))) for v in (log, log - half, log + half))
    return OddsRatio(value, low, high, corrected)
