"""Whether one configuration's AUC is higher than another's on the same nodules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from lungpipe.errors import DatasetError
from lungpipe.learn.intervals import auc_interval, component_variance, patient_components
from lungpipe.learn.rows import need_both_classes, usable_rows
from lungpipe.learn.shared_training import variance_factor

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import ArrayLike, NDArray

#: A standard error below this is rounding.
_NOTHING = 1e-10


def compare_aucs(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    n_models: int = 1,
) -> AucDifference:
    """Compare two AUCs measured on the same nodules, of which a patient may have several.

    The variance of the difference is the one of Obuchowski (1997), *Nonparametric analysis of clustered ROC curve
    data*, Biometrics 53:567-578: the structural components of one AUC less those of the other, summed within each
    patient. With one nodule a patient it is the test of DeLong, DeLong and Clarke-Pearson (1988), Biometrics
    44:837-845. Only rows that both have are compared. With repeats the components are averaged over them first, as in
    `auc_interval`; the two may have different numbers of repeats. Scores of cross-validation come from models that share their
    training rows; the variance then is larger by `lungpipe.learn.shared_training.variance_factor`.

    Where the difference has no variance, the normal distribution says nothing. Then a difference of 0 has z = 0 and
    p = 1; any other has z and p of NaN, not infinity and 0, since a few nodules ordered perfectly are no such proof. Its
    interval goes from the lower limit of one AUC less the upper limit of the other to the reverse, and so is wider than
    promised; it is [0, 0] where both order all nodules alike. With fewer than two patients in a class the standard error,
    z and p are NaN and the interval is [-1, 1].

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    first, second : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    level : float
        Confidence level.
    n_models : int
        Folds of one repeat whose models gave the scores, as in `auc_interval`.

    Returns
    -------
    AucDifference
        First less second.

    Raises
    ------
    DatasetError
        If the rows that both have are of one class, or the input is unusable.
    """
    y, patients, (a, b) = usable_rows(labels, groups, first, second)
    need_both_classes(y)
    one, other = patient_components(y, a, patients), patient_components(y, b, patients)
    difference = one.auc - other.auc
    apart = replace(one, malignant=one.malignant - other.malignant, benign=one.benign - other.benign)
    variance = variance_factor(n_models) * component_variance(apart)
    error = float(np.sqrt(np.maximum(variance, 0)))  # few patients with nodules of both classes can leave it below 0
    found = AucDifference(one.auc, other.auc, difference, error, -1.0, 1.0, np.nan, np.nan, len(y), len(one.patients))
    if np.isnan(error):
        return found
    if error > _NOTHING:
        half = float(norm.ppf(0.5 + level / 2)) * error
        z = difference / error
        p = float(2 * norm.sf(abs(z)))
        return replace(found, low=max(-1.0, difference - half), high=min(1.0, difference + half), z=z, p=p)
    tied = abs(difference) <= _NOTHING
    z, p = (0.0, 1.0) if tied else (np.nan, np.nan)
    if tied and _same_order(a, b):
        return replace(found, low=0.0, high=0.0, z=z, p=p)
    mine, its = (auc_interval(y, scores, patients, level=level, n_models=n_models) for scores in (a, b))
    return replace(found, low=mine.low - its.high, high=mine.high - its.low, z=z, p=p)


def compare_with(
    labels: ArrayLike,
    reference: ArrayLike,
    others: Mapping[Any, ArrayLike],
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    n_models: int = 1,
) -> pd.DataFrame:
    """Compare every configuration with a reference, with p-values adjusted for their number.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    reference : array_like of float, shape (n,) or (n_repeats, n)
        NaN where it lacks the row.
    others : mapping of any name to array_like of float, shape (n,) or (n_repeats, n)
        NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row.
    level : float
        Confidence level of each interval; the intervals are not adjusted.
    n_models : int
        As in `compare_aucs`.

    Returns
    -------
    DataFrame
        One row a configuration, in the order given: configuration, n, n_patients, n_malignant (of the rows it shares
        with the reference), auc, auc_reference, difference (configuration less reference), low, high, standard_error,
        z, p, p_holm. Figures are NaN where the shared rows are of one class.

    Raises
    ------
    DatasetError
        If the input is unusable, or no configuration was given.
    """
    if not others:
        raise DatasetError("No configuration was given to compare with the reference.")
    rows = [_compared(name, labels, scores, reference, groups, level, n_models) for name, scores in others.items()]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    return table


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values so that the chance of any false rejection keeps its level.

    Step-down adjustment of Holm (1979), *A simple sequentially rejective multiple test procedure*, Scandinavian Journal
    of Statistics 6:65-70; it needs no independence.

    Parameters
    ----------
    p : array_like of float, shape (n,)
        NaN where no test was made; it stays NaN and does not count.

    Returns
    -------
    NDArray of float, shape (n,)

    Raises
    ------
    DatasetError
        If a value is outside [0, 1].
    """
    values = np.asarray(p, dtype=float)
    tested = np.flatnonzero(~np.isnan(values))
    if (values[tested] < 0).any() or (values[tested] > 1).any():
        raise DatasetError("p-values must be within [0, 1].")
    order = tested[np.argsort(values[tested], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return adjusted


def _compared(
    name: Hashable,
    labels: ArrayLike,
    scores: ArrayLike,
    reference: ArrayLike,
    groups: ArrayLike | None,
    level: float,
    n_models: int,
) -> dict[str, Any]:
    rows = usable_rows(labels, groups, scores, reference)
    malignant = int(rows.labels.sum())
    row: dict[str, Any] = {"configuration": name, "n": len(rows.labels), "n_patients": len(np.unique(rows.patients))}
    row["n_malignant"] = malignant
    figures = ("auc", "auc_reference", "difference", "low", "high", "standard_error", "z", "p")
    if malignant in (0, len(rows.labels)):
        return row | dict.fromkeys(figures, np.nan)
    mine, its = rows.scores
    found = compare_aucs(rows.labels, mine, its, rows.patients, level=level, n_models=n_models)
    row |= {"auc": found.first, "auc_reference": found.second}
    return row | {figure: getattr(found, figure) for figure in figures[2:]}


def _same_order(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether each repeat of one orders all nodules as the other's does."""
    return bool((rankdata(first, axis=1)[:, None] == rankdata(second, axis=1)[None]).all())


@dataclass(frozen=True, slots=True)
class AucDifference:
    """Two AUCs on the same nodules, and what parts them.

    Parameters
    ----------
    first, second : float
        The AUCs.
    difference, standard_error, low, high : float
        First less second, and its interval within [-1, 1].
    z, p : float
        Two-sided test of no difference.
    n, n_patients : int
        Rows that both have, and their patients.
    """

    first: float
    second: float
    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float
    n: int
    n_patients: int
