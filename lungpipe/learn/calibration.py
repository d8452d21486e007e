"""Whether predicted probabilities of malignancy are as high as the shares that turn out malignant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.proportion import clustered_proportion
from lungpipe.learn.rows import need_both_classes, need_probabilities, usable_rows

Floats = NDArray[np.float64]
Bins = Literal["equal_count", "equal_width"]
#: Probabilities of 0 and 1, as of forests and neighbours, have no logit; they are moved this far inside.
CLIP = 1e-6


def calibration_curve(
    labels: ArrayLike,
    p: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    bins: int = 10,
    kind: Bins = "equal_count",
    level: float = 0.95,
) -> pd.DataFrame:
    """Set the share of malignant nodules beside the mean prediction, bin by bin.

    With repeats, a nodule's predictions of all repeats are binned together and count as one nodule in all. Intervals are
    those of `clustered_proportion`: Wilson's, widened where a patient has several nodules in a bin.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    bins : int
        Number of bins; fewer where many predictions are equal.
    kind : {"equal_count", "equal_width"}
        Whether bins are cut at quantiles of the predictions or at equal steps of [0, 1]. A prediction on a cut is in the
        lower bin.
    level : float
        Confidence level of each bin's interval.

    Returns
    -------
    DataFrame
        One row a bin with predictions: from_p, to_p, n (mean over repeats), n_patients, predicted, observed, low, high.

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    y, patients, table = _checked(labels, p, groups)
    cuts = _cuts(table.ravel(), bins, kind)
    place = np.searchsorted(cuts[1:-1], table)
    rows = []
    for number in range(len(cuts) - 1):
        inside = place == number
        share = inside.mean(axis=0)  # of the repeats that put the nodule here
        here = share > 0
        if not here.any():
            continue
        found = clustered_proportion(y[here], patients[here], share[here], level=level)
        rows.append(
            {
                "from_p": float(cuts[number]),
                "to_p": float(cuts[number + 1]),
                "n": found.n,
                "n_patients": len(np.unique(patients[here])),
                "predicted": float(table[inside].mean()),
                "observed": found.value,
                "low": found.low,
                "high": found.high,
            }
        )
    return pd.DataFrame(rows)


def expected_calibration_error(labels: ArrayLike, p: ArrayLike, *, bins: int = 10, kind: Bins = "equal_width") -> float:
    """Average how far the share of malignant nodules is from the mean prediction, over bins weighted by nodules.

    Naeini, Cooper and Hauskrecht (2015), *Obtaining well calibrated probabilities using Bayesian binning*, AAAI
    29:2901-2907, for the probability of the one class malignant. It is never below 0 and rises with fewer nodules a bin, also
    for a perfect model. With repeats, the mean over them.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.
    bins : int
        Number of bins.
    kind : {"equal_width", "equal_count"}
        Equal steps of [0, 1], as usual, or cuts at the quantiles of each repeat's predictions, steadier where these crowd.

    Returns
    -------
    float
        Within [0, 1].

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    y, _, table = _checked(labels, p, None)
    errors = []
    for repeat in table:
        place = np.searchsorted(_cuts(repeat, bins, kind)[1:-1], repeat)
        errors.append(np.abs(np.bincount(place, repeat - y)).sum() / len(y))
    return float(np.mean(errors))


def recalibrate(
    labels: ArrayLike, p: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> Recalibration:
    """Estimate the calibration slope and the calibration in the large.

    Logistic recalibration (Cox 1958, *Two further applications of a model for binary regression*, Biometrika 45:562-565;
    Steyerberg 2019, *Clinical Prediction Models*, 2nd ed., chapter 15). The slope is b of logit P(malignant) = a + b logit(p):
    below 1 predictions are too extreme, as after overfitting. The intercept is a of logit P(malignant) = a + logit(p), b held
    at 1: above 0 predictions are too low on the whole. Predictions are first clipped to [1e-6, 1 - 1e-6].

    Limits are Wald's with the variance of Liang and Zeger (1986), Biometrika 73:13-22, a sum over patients, times
    k / (k - 1) for k patients. With repeats, estimates and patients' influences are averaged over them first.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    level : float
        Confidence level.

    Returns
    -------
    Recalibration
        The slope is NaN where, in some repeat, predictions do not vary or part the classes, so that no finite slope is best.

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable.
    """
    y, patients, table = _checked(labels, p, groups)
    logits = logit(np.clip(table, CLIP, 1 - CLIP))
    index = np.unique(patients, return_inverse=True)[1]
    critical = float(norm.ppf(0.5 + level / 2))
    slope = _limits([_slope(one, y) for one in logits], index, critical)
    intercept = _limits([_newton(np.ones((len(y), 1)), y, one) for one in logits], index, critical)
    return Recalibration(*slope, *intercept)


def _checked(
    labels: ArrayLike, p: ArrayLike, groups: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[Any], Floats]:
    y, patients, (table,) = usable_rows(labels, groups, p)
    need_both_classes(y)
    need_probabilities(table)
    return y, patients, table


def _cuts(p: Floats, bins: int, kind: Bins) -> Floats:
    """Return the bins' limits, first and last included."""
    if bins < 1:
        raise DatasetError(f"bins must be at least 1, not {bins}.")
    if kind == "equal_width":
        return np.linspace(0, 1, bins + 1)
    cuts = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)))
    return cuts if len(cuts) > 1 else np.repeat(cuts, 2)


def _slope(logits: Floats, y: NDArray[np.int64]) -> tuple[float, Floats]:
    """Return the slope and each row's influence on it."""
    malignant, benign = logits[y == 1], logits[y == 0]
    spread = float(logits.std())
    if spread < 1e-9 or malignant.min() >= benign.max() or malignant.max() <= benign.min():
        return np.nan, np.full(len(y), np.nan)
    design = np.stack([(logits - logits.mean()) / spread, np.ones(len(y))], axis=1)
    slope, influence = _newton(design, y, np.zeros(len(y)))
    return slope / spread, influence / spread


def _newton(design: Floats, y: NDArray[np.int64], offset: Floats) -> tuple[float, Floats]:
    """Fit a logistic regression; return the first coefficient and each row's influence on it."""
    weights = np.zeros(design.shape[1])
    best = _likelihood(design @ weights + offset, y)
    for _ in range(200):
        p = expit(design @ weights + offset)
        information = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(information, design.T @ (y - p))
        while (found := _likelihood(design @ (weights + step) + offset, y)) < best - 1e-9 * abs(best):
            step = step / 2  # the curvature is not the same so far away
        weights, best = weights + step, found
        if float(np.abs(step).max()) < 1e-12 * (1 + float(np.abs(weights).max())):
            break
    p = expit(design @ weights + offset)
    information = design.T @ (design * (p * (1 - p))[:, None])
    influence = np.linalg.solve(information, (design * (y - p)[:, None]).T)
    return float(weights[0]), np.asarray(influence[0])


def _likelihood(linear: Floats, y: NDArray[np.int64]) -> float:
    return float((y * linear - np.logaddexp(0, linear)).sum())


def _limits(
    fits: list[tuple[float, Floats]], index: NDArray[np.intp], critical: float
) -> tuple[float, float, float, float]:
    """Return the mean of the repeats' estimates, its limits and its standard error."""
    value = float(np.mean([fit[0] for fit in fits]))
    sums = np.bincount(index, np.mean([fit[1] for fit in fits], axis=0))
    k = len(sums)
    error = float(np.sqrt(k / (k - 1) * (sums**2).sum())) if k > 1 else np.nan
    return value, value - critical * error, value + critical * error, error


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Calibration slope (1 if perfect) and calibration in the large (0 if perfect).

    Parameters
    ----------
    slope, slope_low, slope_high, slope_error : float
        NaN where no finite slope is best.
    intercept, intercept_low, intercept_high, intercept_error : float
        On the logit scale.
    """

    slope: float
    slope_low: float
    slope_high: float
    slope_error: float
    intercept: float
    intercept_low: float
    intercept_high: float
    intercept_error: float
