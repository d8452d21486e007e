"""Intraclass correlation: how much of a feature's variance lies between nodules, and not between repeats of one nodule.

References
----------
.. [1] Shrout and Fleiss, Intraclass correlations: uses in assessing rater reliability, Psychological Bulletin 86(2), 1979.
.. [2] McGraw and Wong, Forming inferences about some intraclass correlation coefficients, Psychological Methods 1(1), 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import stats

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Kind = Literal["ICC(2,1)", "ICC(3,1)"]
#: Absolute agreement and consistency, both of a single measurement in a two-way layout.
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Fewest targets and raters of a two-way analysis of variance.
LEAST = 2


@dataclass(frozen=True, eq=False, slots=True)
class Icc:
    """Intraclass correlations of one feature, or of many (then every field but ``kind`` is an array over features).

    Parameters
    ----------
    kind : {"ICC(2,1)", "ICC(3,1)"}
    value, low, high : float
        Correlation and the limits of its confidence interval; NaN where undefined.
    n : int
        Targets that counted: those that every rater has a finite value of.
    n_dropped : int
        Targets left out because a value was missing.
    reason : str
        Why there is no value: ``"too_few_targets"``, ``"too_few_raters"``, ``"no_variance"`` (every rater gave all targets
        one value), else empty.
    """

    kind: Kind
    value: Any
    low: Any
    high: Any
    n: Any
    n_dropped: Any
    reason: Any


def icc(values: ArrayLike, kind: Kind = "ICC(2,1)", confidence: float = 0.95) -> Icc:
    """Estimate the intraclass correlation of single measurements with its interval.

    ICC(2,1) takes the raters for a sample of all raters and counts their bias as error (McGraw and Wong's ICC(A,1)). ICC(3,1)
    takes them as fixed and leaves their bias out (ICC(C,1)). With mean squares MSR between n targets, MSC between k raters
    and MSE of the rest [1]_::

        ICC(2,1) = (MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n)
        ICC(3,1) = (MSR - MSE) / (MSR + (k - 1) MSE)

    The intervals are those of [2]_, table 7: exact for ICC(3,1), Satterthwaite's approximation for ICC(2,1).

    Parameters
    ----------
    values : array_like of float, shape (n_targets, n_raters) or (n_features, n_targets, n_raters)
        A target with a value that is not finite is left out, feature by feature.
    kind : {"ICC(2,1)", "ICC(3,1)"}
    confidence : float
        Of the two-sided interval, between 0 and 1.

    Returns
    -------
    Icc
        Of numbers for two axes, of arrays of shape (n_features,) for three.

    Raises
    ------
    DatasetError
        If the shape, the kind or the confidence makes no sense.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in {2, 3}:
        raise DatasetError(
            f"values need the axes (targets, raters) or (features, targets, raters); their shape is {table.shape}"
        )
    if kind not in KINDS:
        raise DatasetError(f"no intraclass correlation {kind!r} here; there are {', '.join(KINDS)}")
    if not 0 < confidence < 1:
        raise DatasetError(f"confidence must lie between 0 and 1, found {confidence}")
    found = _many(table if table.ndim == 3 else table[None], kind, confidence)
    if table.ndim == 3:
        return found
    return Icc(
        kind,
        float(found.value[0]),
        float(found.low[0]),
        float(found.high[0]),
        int(found.n[0]),
        int(found.n_dropped[0]),
        str(found.reason[0]),
    )


class _Squares(NamedTuple):
    """Mean squares between targets, between raters and of the rest, each of shape (n_features,)."""

    msr: NDArray[np.float64]
    msc: NDArray[np.float64]
    mse: NDArray[np.float64]


def _many(table: NDArray[np.float64], kind: Kind, confidence: float) -> Icc:
    n_features, n_targets, k = table.shape
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(table).all(axis=2))
    n = whole.sum(axis=1)
    reason = np.full(n_features, "", dtype=object)
    reason[_unvaried(table, whole)] = "no_variance"
    reason[n < LEAST] = "too_few_targets"
    if k < LEAST:
        reason[:] = "too_few_raters"
    defined = reason == ""
    value, low, high = (np.full(n_features, np.nan) for _ in range(3))
    if defined.any():
        squares = _mean_squares(table[defined], whole[defined])
        estimate = _agreement if kind == "ICC(2,1)" else _consistency
        value[defined], low[defined], high[defined] = estimate(squares, n[defined].astype(float), k, 1 - confidence)
    return Icc(kind, value, low, high, n, n_targets - n, reason)


def _unvaried(table: NDArray[np.float64], whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether no rater tells any two targets of a feature apart, shape (n_features,)."""
    counted = whole[:, :, None]
    lowest = np.where(counted, table, np.inf).min(axis=1, initial=np.inf)
    highest = np.where(counted, table, -np.inf).max(axis=1, initial=-np.inf)
    return np.asarray((highest <= lowest).all(axis=1))


def _mean_squares(table: NDArray[np.float64], whole: NDArray[np.bool_]) -> _Squares:
    k = table.shape[2]
    n = whole.sum(axis=1).astype(float)
    counted = whole[:, :, None]
    filled = np.where(counted, table, 0.0)
    # Features run to 1e10: without their mean the sums of squares keep their digits.
    filled = np.where(counted, filled - (filled.sum(axis=(1, 2)) / (n * k))[:, None, None], 0.0)
    by_target = np.where(whole, filled.mean(axis=2), 0.0)
    by_rater = filled.sum(axis=1) / n[:, None]
    rest = np.where(counted, filled - by_target[:, :, None] - by_rater[:, None, :], 0.0)
    between_targets = k * (by_target**2).sum(axis=1) / (n - 1)
    between_raters = n * (by_rater**2).sum(axis=1) / (k - 1)
    return _Squares(between_targets, between_raters, (rest**2).sum(axis=(1, 2)) / ((n - 1) * (k - 1)))


def _consistency(
    squares: _Squares, n: NDArray[np.float64], k: int, alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    msr, _, mse = squares
    first = stats.f.ppf(1 - alpha / 2, n - 1, (n - 1) * (k - 1))
    second = stats.f.ppf(1 - alpha / 2, (n - 1) * (k - 1), n - 1)
    value, low, high = ((top - mse) / (top + (k - 1) * mse) for top in (msr, msr / first, msr * second))
    return value, low, high


def _agreement(
    squares: _Squares, n: NDArray[np.float64], k: int, alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    msr, msc, mse = squares
    value = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    of_raters, of_rest = k * value * msc, (n * (1 + (k - 1) * value) - k * value) * mse
    below = (n - 1) * of_raters**2 + of_rest**2
    above = (n - 1) * (k - 1) * (of_raters + of_rest) ** 2
    # Raters who agree to the last digit leave no error to have degrees of freedom; any number gives limits of 1.
    freedom = np.divide(above, below, out=(n - 1) * (k - 1), where=below > 0)
    error = k * msc + (k * n - k - n) * mse
    first = stats.f.ppf(1 - alpha / 2, n - 1, freedom)
    second = stats.f.ppf(1 - alpha / 2, freedom, n - 1)
    low = n * (msr - first * mse) / (first * error + n * msr)
    high = n * (second * msr - mse) / (error + n * second * msr)
    return value, low, high
