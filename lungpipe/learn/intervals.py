"""The area under the ROC curve and its interval when one patient brings several nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from lungpipe.errors import DatasetError
from lungpipe.learn.shared_training import variance_factor

Floats = NDArray[np.float64]


def auc_interval(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, *, level: float = 0.95, n_models: int = 1
) -> AucInterval:
    """Estimate the AUC and an interval that allows for several nodules in a patient.

    The variance is the one of Obuchowski (1997), *Nonparametric analysis of clustered ROC curve data*, Biometrics
    53:567-578: the structural components of DeLong et al. (1988), Biometrics 44:837-845, summed within each patient.
    With one nodule a patient it equals DeLong's. The interval is symmetric on the logit scale, so that it stays
    within [0, 1]. With repeated cross-validation the components are averaged over the repeats first, which gives
    the mean AUC and its variance. Scores of cross-validation come from several models that share their training rows; the
    variance then is larger by `lungpipe.learn.shared_training.variance_factor`.

    An AUC of exactly 1 has no logit. With k patients in the smaller class, k pairs of distinct patients can be formed,
    independent and each ordered rightly with probability AUC, so all of them are with probability ``AUC ** k`` at
    most; the lower limit is the AUC at which this equals ``(1 - level) / 2``. An AUC of 0 is its mirror. With fewer
    than two patients in a class the variance is undefined and the interval is all of [0, 1].

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; no NaN.
    groups : array_like, shape (n,)
        Patient of each row.
    level : float
        Confidence level.
    n_models : int
        Folds of one repeat whose models gave the scores; 1 for a test set, or a measure that nothing was trained for.

    Returns
    -------
    AucInterval
        The AUC, its limits and its standard error.

    Raises
    ------
    DatasetError
        If only one class is there, the lengths differ or a score is not finite.
    """
    parts = patient_components(labels, scores, groups)
    critical = float(norm.ppf(0.5 + level / 2))
    return _logit_interval(parts, critical, (1 - level) / 2, variance_factor(n_models))


def simultaneous_interval(
    labels: ArrayLike,
    scores: ArrayLike | Sequence[ArrayLike],
    groups: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
    n_models: int = 1,
) -> SimultaneousIntervals:
    """Give intervals that hold for all configurations at once, and so for the best of them.

    The critical value is the quantile of the largest studentised deviation over the configurations, found with a
    patient-level Gaussian multiplier bootstrap of the AUCs' influence functions (Chernozhukov, Chetverikov and Kato
    (2013), Annals of Statistics 41:2786-2819). It replaces 1.96 in the interval of `auc_interval`, so whichever
    configuration is picked for its AUC on these rows, its interval still has the level promised.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n_configurations, n) or (n_configurations, n_repeats, n)
        NaN where a configuration lacks the row.
    groups : array_like, shape (n,)
        Patient of each row.
    level : float
        Confidence level of the whole family.
    draws : int
        Bootstrap draws.
    seed : int
        Seed of the draws.
    n_models : int
        As in `auc_interval`.

    Returns
    -------
    SimultaneousIntervals
        One interval a configuration, all NaN where its rows are of one class, and the critical value.

    Raises
    ------
    DatasetError
        If the lengths differ, or no configuration has both classes.
    """
    y, patients = binary_labels(labels), np.asarray(groups)
    family: list[PatientComponents | None] = []
    for configuration in scores:  # type: ignore[union-attr]  # a scalar is refused by the length check below
        table = np.atleast_2d(np.asarray(configuration, dtype=float))
        if table.shape[1:] != y.shape:
            raise DatasetError(f"A configuration has scores for {table.shape[-1]} rows, the labels for {len(y)}.")
        here = np.isfinite(table).all(axis=0)
        both = len(np.unique(y[here])) == 2
        family.append(patient_components(y[here], table[:, here], patients[here]) if both else None)
    evaluable = [parts for parts in family if parts is not None]
    if not evaluable:
        raise DatasetError("No configuration has scores for both classes, so no AUC is defined.")
    critical = _largest_deviation(evaluable, np.unique(patients), level, draws, seed)
    tail, factor = (1 - level) / 2 / len(evaluable), variance_factor(n_models)
    nothing = AucInterval(np.nan, np.nan, np.nan, np.nan)
    return SimultaneousIntervals(
        tuple(nothing if parts is None else _logit_interval(parts, critical, tail, factor) for parts in family),
        critical,
    )


def patient_components(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> PatientComponents:
    """Sum DeLong's structural components, less the AUC, within each patient (Obuchowski 1997).

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant.
    groups : array_like, shape (n,)
        Patient of each row.

    Returns
    -------
    PatientComponents
        The AUC and both classes' sums a patient.

    Raises
    ------
    DatasetError
        If only one class is there, the lengths differ or a score is not finite.
    """
    y, table, patients = binary_labels(labels), np.atleast_2d(np.asarray(scores, dtype=float)), np.asarray(groups)
    if table.shape[1:] != y.shape or patients.shape != y.shape:
        raise DatasetError(
            f"An AUC needs a score and a patient for every label: {len(y)} labels, {table.shape[-1]} scores and "
            f"{len(patients)} patients were given."
        )
    if not np.isfinite(table).all():
        raise DatasetError(f"{int((~np.isfinite(table)).sum())} scores are not finite; leave those rows out first.")
    malignant = y == 1
    n_malignant, n_benign = int(malignant.sum()), int((~malignant).sum())
    if not n_malignant or not n_benign:
        raise DatasetError(
            f"An AUC needs both classes: {n_malignant} malignant and {n_benign} benign nodules were given."
        )
    ranks = rankdata(table, axis=1)
    among_malignant, among_benign = rankdata(table[:, malignant], axis=1), rankdata(table[:, ~malignant], axis=1)
    # Share of the other class that each nodule is ordered rightly against, ties counting a half.
    right_malignant = ((ranks[:, malignant] - among_malignant) / n_benign).mean(axis=0)
    right_benign = (1 - (ranks[:, ~malignant] - among_benign) / n_malignant).mean(axis=0)
    auc = float(right_malignant.mean())
    names, index = np.unique(patients, return_inverse=True)
    size = len(names)
    return PatientComponents(
        auc=auc,
        patients=names,
        malignant=np.bincount(index[malignant], right_malignant - auc, size) / n_malignant,
        benign=np.bincount(index[~malignant], right_benign - auc, size) / n_benign,
        patients_malignant=len(np.unique(index[malignant])),
        patients_benign=len(np.unique(index[~malignant])),
    )


def binary_labels(labels: ArrayLike) -> NDArray[np.int64]:
    """Check that labels are 0 and 1.

    Parameters
    ----------
    labels : array_like, shape (n,)

    Returns
    -------
    NDArray of int, shape (n,)

    Raises
    ------
    DatasetError
        If they are anything else.
    """
    values = np.asarray(labels, dtype=float)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise DatasetError("Labels must be one column of 0 (benign) and 1 (malignant).")
    return values.astype(np.int64)


def component_variance(parts: PatientComponents) -> float:
    """Return Obuchowski's variance (1997) of an AUC, or of a difference of two whose components were subtracted.

    Parameters
    ----------
    parts : PatientComponents

    Returns
    -------
    float
        NaN with fewer than two patients in a class.
    """
    if min(parts.patients_malignant, parts.patients_benign) < 2:
        return float("nan")
    both = len(parts.patients)
    return float(
        _corrected(parts.patients_malignant) * (parts.malignant**2).sum()
        + _corrected(parts.patients_benign) * (parts.benign**2).sum()
        + 2 * _corrected(both) * (parts.malignant * parts.benign).sum()
    )


def _corrected(patients: int) -> float:
    return patients / (patients - 1)


def _logit_interval(parts: PatientComponents, critical: float, tail: float, factor: float) -> AucInterval:
    variance = factor * component_variance(parts)
    if np.isnan(variance):
        return AucInterval(parts.auc, 0.0, 1.0, np.nan)
    error = float(np.sqrt(variance))
    if parts.auc in (0.0, 1.0):
        limit = float(tail ** (1 / min(parts.patients_malignant, parts.patients_benign)))
        low, high = (limit, 1.0) if parts.auc else (0.0, 1 - limit)
        return AucInterval(parts.auc, low, high, error)
    centre = np.log(parts.auc / (1 - parts.auc))
    half = critical * error / (parts.auc * (1 - parts.auc))
    low, high = (float(1 / (1 + np.exp(-value))) for value in (centre - half, centre + half))
    return AucInterval(parts.auc, low, high, error)


def _largest_deviation(
    family: Sequence[PatientComponents], patients: NDArray[Any], level: float, draws: int, seed: int
) -> float:
    """Return the quantile of the largest studentised deviation; never below the one for a single configuration."""
    single = float(norm.ppf(0.5 + level / 2))
    influence = np.zeros((len(patients), len(family)))
    for column, parts in enumerate(family):
        influence[np.searchsorted(patients, parts.patients), column] = parts.malignant + parts.benign
    scale = np.sqrt((influence**2).sum(axis=0))
    moving = scale > 1e-12  # an AUC without variance, all scores tied or separated, deviates nowhere
    if not moving.any():
        return single
    multipliers = np.random.default_rng(seed).standard_normal((draws, len(patients)))
    largest = np.abs(multipliers @ (influence[:, moving] / scale[moving])).max(axis=1)
    return max(single, float(np.quantile(largest, level)))


@dataclass(frozen=True, slots=True)
class AucInterval:
    """An AUC with its limits.

    Parameters
    ----------
    auc, low, high : float
        The estimate and its limits, within [0, 1].
    standard_error : float
        Of the AUC itself, not of its logit; NaN if undefined.
    """

    auc: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class SimultaneousIntervals:
    """Intervals that hold together.

    Parameters
    ----------
    intervals : tuple of AucInterval
        One a configuration, in the order given.
    critical_value : float
        What stands in the place of 1.96.
    """

    intervals: tuple[AucInterval, ...]
    critical_value: float

    @property
    def best(self) -> int:
        """Position of the configuration with the highest AUC, the first of several."""
        return int(np.nanargmax([interval.auc for interval in self.intervals]))


@dataclass(frozen=True, slots=True, eq=False)
class PatientComponents:
    """What each patient adds to the AUC's variance.

    Parameters
    ----------
    auc : float
        The AUC.
    patients : NDArray, shape (n_patients,)
        Sorted names.
    malignant, benign : NDArray of float, shape (n_patients,)
        Sums over the patient's nodules of component less AUC, divided by the number of nodules of that class.
    patients_malignant, patients_benign : int
        Patients with at least one nodule of the class.
    """

    auc: float
    patients: NDArray[Any]
    malignant: Floats
    benign: Floats
    patients_malignant: int
    patients_benign: int
