"""The smallest AUC, and difference of AUCs, that so many nodules would show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable


def hanley_mcneil_variance(auc: float, n_malignant: float, n_benign: float) -> float:
    """Estimate the variance of an AUC from its size and the counts alone.

    Hanley and McNeil (1982), *The meaning and use of the area under a receiver operating characteristic (ROC) curve*,
    Radiology 143:29-36, where scores are taken as exponential, which errs on the large side for most others.

    Parameters
    ----------
    auc : float
        Within [0, 1].
    n_malignant, n_benign : float
        Independent nodules; need not be whole.

    Returns
    -------
    float

    Raises
    ------
    DatasetError
        If the AUC is outside [0, 1] or a class has no nodule.
    """
    need_within("An AUC", auc, 0, 1)
    if min(n_malignant, n_benign) <= 0:
        raise DatasetError(
            f"Both classes are needed: {n_malignant:g} malignant and {n_benign:g} benign nodules were given."
        )
    two_malignant, two_benign = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (n_malignant - 1) * (two_malignant - auc**2) + (n_benign - 1) * (two_benign - auc**2)
    # Counts below 1, after a design effect, would take away more than there is.
    return max(0.0, auc * (1 - auc) + spread) / (n_malignant * n_benign)


def smallest_auc(n_malignant: float, n_benign: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Find the smallest AUC above 0.5 that would be told from 0.5 with the power asked for.

    The AUC a for which a - 0.5 = z(1 - alpha / 2) * sd(0.5) + z(power) * sd(a), sd from `hanley_mcneil_variance`
    (Obuchowski and McClish 1997, *Sample size determination for diagnostic accuracy studies involving binormal ROC curve
    indices*, Statistics in Medicine 16:1529-1542, equation for one test, with the other variance).

    Parameters
    ----------
    n_malignant, n_benign : float
        Independent nodules.
    power, alpha : float
        Chance to find it, and two-sided level of the test.

    Returns
    -------
    float
        NaN if not even an AUC of 1 would do.

    Raises
    ------
    DatasetError
        If a class is empty, or power or alpha are outside (0, 1).
    """
    accept, find = _quantiles(power, alpha)
    null = np.sqrt(hanley_mcneil_variance(0.5, n_malignant, n_benign))

    def lacking(auc: float) -> float:
        return float(auc - 0.5 - accept * null - find * np.sqrt(hanley_mcneil_variance(auc, n_malignant, n_benign)))

    return _root(lacking, 0.5)


def smallest_difference(
    n_malignant: float,
    n_benign: float,
    *,
    auc: float = 0.8,
    auc_correlation: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Find the smallest gain over an AUC that a paired comparison would show with the power asked for.

    The gain d for which d = z(1 - alpha / 2) * sd0 + z(power) * sd1, where sd0 is that of the difference of two AUCs of `auc`
    and sd1 that of `auc` and `auc + d`: V1 + V2 - 2 r sqrt(V1 V2) for correlation r (Hanley and McNeil 1983, Radiology
    148:839-843; Obuchowski and McClish 1997, Statistics in Medicine 16:1529-1542), V from `hanley_mcneil_variance`.

    Parameters
    ----------
    n_malignant, n_benign : float
        Independent nodules, the same for both.
    auc : float
        Of the one to improve on, within [0.5, 1).
    auc_correlation : float
        Of the two estimated AUCs, within [0, 1]; 0 for different nodules.
    power, alpha : float
        Chance to find it, and two-sided level of the test.

    Returns
    -------
    float
        NaN if not even an AUC of 1 would do.

    Raises
    ------
    DatasetError
        If a class is empty or a figure is outside its range.
    """
    accept, find = _quantiles(power, alpha)
    need_within("The AUC to improve on", auc, 0.5, 1 - 1e-9)
    need_within("The correlation of the AUCs", auc_correlation, 0, 1)
    first = hanley_mcneil_variance(auc, n_malignant, n_benign)
    null = np.sqrt(2 * first * (1 - auc_correlation))

    def lacking(other: float) -> float:
        second = hanley_mcneil_variance(other, n_malignant, n_benign)
        apart = first + second - 2 * auc_correlation * np.sqrt(first * second)
        return float(other - auc - accept * null - find * np.sqrt(max(apart, 0.0)))

    return _root(lacking, auc) - auc


def _root(lacking: Callable[[float], float], start: float) -> float:
    """Return where what is lacking turns 0 between start and 1."""
    if lacking(1.0) < 0:
        return float("nan")
    if lacking(start) >= 0:
        return start
    return float(brentq(lacking, start, 1.0, xtol=1e-12))


def _quantiles(power: float, alpha: float) -> tuple[float, float]:
    need_within("Power", power, 0.5, 1 - 1e-9)
    need_within("alpha", alpha, 1e-12, 0.5)
    return float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))


def need_within(what: str, value: float, low: float, high: float) -> None:
    """Refuse a figure outside its range.

    Parameters
    ----------
    what : str
        Its name, to begin the message.
    value, low, high : float

    Raises
    ------
    DatasetError
        If it is outside.
    """
    if not low <= value <= high:
        raise DatasetError(f"{what} must be from {low:g} to {high:g}, not {value:g}.")
