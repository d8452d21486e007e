"""What a cohort of this size could show at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.learn.detectable import need_within, smallest_auc, smallest_difference
from lungpipe.learn.rows import need_both_classes, usable_rows
from lungpipe.learn.shared_training import variance_factor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def cohort_power(
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    n_features: int,
    auc: float = 0.8,
    auc_correlation: float = 0.5,
    within_patient: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
    n_models: int = 1,
) -> CohortPower:
    """Say what AUC, and what difference of AUCs, this cohort could show.

    Nodules of one patient are alike, so counts are divided by the design effect before they are used; and by the factor that the
    variance of a cross-validated AUC is larger by (`lungpipe.learn.shared_training.variance_factor`).

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    n_features : int
        Columns that a model may choose from.
    auc : float
        That of the better-known of two configurations.
    auc_correlation : float
        Between the estimated AUCs of two configurations on the same nodules; higher correlation shows smaller differences.
    within_patient : float
        Correlation of nodules of one patient, for the design effect.
    power, alpha : float
        Chance to find what is there, and two-sided level of the test.
    n_models : int
        Folds of one repeat of the cross-validation; 1 for a test set.

    Returns
    -------
    CohortPower

    Raises
    ------
    DatasetError
        If the labels are of one class, or a figure is outside its range.
    """
    y = np.asarray(labels)
    y, patients, _ = usable_rows(y, groups, np.zeros(y.shape))
    need_both_classes(y)
    malignant, benign = int(y.sum()), int((y == 0).sum())
    effect = design_effect(np.unique(patients, return_counts=True)[1], within_patient)
    worth = 1 / effect / variance_factor(n_models)
    counts = (malignant * worth, benign * worth)
    return CohortPower(
        n_malignant=malignant,
        n_benign=benign,
        n_patients=len(np.unique(patients)),
        events_per_variable=events_per_variable(malignant, benign, n_features),
        design_effect=effect,
        smallest_auc=smallest_auc(*counts, power=power, alpha=alpha),
        smallest_difference=smallest_difference(
            *counts, auc=auc, auc_correlation=auc_correlation, power=power, alpha=alpha
        ),
    )


def events_per_variable(n_malignant: int, n_benign: int, n_features: int) -> float:
    """Divide the nodules of the rarer class by the number of features.

    Peduzzi et al. (1996), Journal of Clinical Epidemiology 49:1373-1379, found coefficients of a logistic regression
    untrustworthy below 10. Features that were selected from count with those that were selected.

    Parameters
    ----------
    n_malignant, n_benign, n_features : int

    Returns
    -------
    float

    Raises
    ------
    DatasetError
        If there is no feature.
    """
    if n_features < 1:
        raise DatasetError(f"Events per variable need a feature at least, not {n_features}.")
    return min(n_malignant, n_benign) / n_features


def design_effect(sizes: ArrayLike, correlation: float) -> float:
    """Say how many times as many nodules are needed because patients have several.

    Kish (1965), *Survey Sampling*: 1 + (m - 1) * correlation, where for clusters of unequal size m is the sum of squared sizes
    over the sum of sizes.

    Parameters
    ----------
    sizes : array_like of int, shape (n_patients,)
        Nodules of each patient.
    correlation : float
        Between nodules of one patient, within [0, 1].

    Returns
    -------
    float
        At least 1.

    Raises
    ------
    DatasetError
        If the correlation is outside [0, 1].
    """
    need_within("The correlation within patients", correlation, 0, 1)
    nodules = np.asarray(sizes, dtype=float)
    return 1 + (float((nodules**2).sum() / nodules.sum()) - 1) * correlation


@dataclass(frozen=True, slots=True)
class CohortPower:
    """What a cohort could show.

    Parameters
    ----------
    n_malignant, n_benign, n_patients : int
        Its size.
    events_per_variable : float
        Nodules of the rarer class a feature.
    design_effect : float
        By which the counts were divided, for patients with several nodules.
    smallest_auc : float
        Told from 0.5; NaN if none is.
    smallest_difference : float
        Of two AUCs on the same nodules; NaN if none is.
    """

    n_malignant: int
    n_benign: int
    n_patients: int
    events_per_variable: float
    design_effect: float
    smallest_auc: float
    smallest_difference: float
