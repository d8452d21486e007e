"""Whether a configuration does as well for some nodules as for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.intervals import PatientComponents, auc_interval, component_variance, patient_components
from lungpipe.learn.proportion import clustered_proportion
from lungpipe.learn.rows import need_both_classes, usable_rows
from lungpipe.learn.shared_training import variance_factor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Fewer patients than this in either class, and a subgroup has no figures.
SMALLEST = 10
#: Name of the nodules for which the column has no value.
MISSING = "missing"
COUNTS = ("n", "n_patients", "n_malignant")
FIGURES = (
    *("auc", "auc_low", "auc_high", "sensitivity", "sensitivity_low", "sensitivity_high"),
    *("specificity", "specificity_low", "specificity_high", "gap", "gap_low", "gap_high"),
)


def subgroup_table(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    values: ArrayLike | pd.Series[Any],
    *,
    threshold: float = 0.5,
    smallest: int = SMALLEST,
    hide_counts: bool = False,
    level: float = 0.95,
    n_models: int = 1,
) -> pd.DataFrame:
    """Give the figures of every subgroup, and how far its AUC is from that of all other nodules.

    The AUC has the interval of `auc_interval`, sensitivity and specificity that of `clustered_proportion`. The gap is the
    subgroup's AUC less that of the rest. Its variance is the sum of both (Obuchowski 1997, Biometrics 53:567-578), less twice
    the covariance that comes from patients with nodules on either side: the sum over patients of the product of their
    influences on the two AUCs, times k / (k - 1) for k patients. Its limits are Wald's, too close
    where an AUC is 1. No adjustment is made for the number of
    subgroups, so one gap in twenty is expected to exclude 0 by chance.

    A subgroup with fewer patients in either class than `smallest` is masked: it has no figures, since they would be
    worthless and could tell of single patients. Where such a rest is left, there is no gap.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; NaN where the configuration lacks the row.
    groups : array_like, shape (n,)
        Patient of each row.
    values : array_like, shape (n,)
        The column to divide by; a categorical Series keeps its order, other values are sorted. Nodules without a value
        are a subgroup ``"missing"``, the last.
    threshold : float
        Of sensitivity and specificity, the same for all.
    smallest : int
        Fewest patients in either class.
    hide_counts : bool
        Give the counts of masked subgroups as text, ``"<10"`` or ``">=10"``. If a single one is masked, the next smallest has
        its counts hidden too, since they could be had by subtraction from the total.
    level : float
        Confidence level of each interval.
    n_models : int
        Folds of one repeat whose models gave the scores, as in `auc_interval`.

    Returns
    -------
    DataFrame
        One row a subgroup: value, n, n_patients, n_malignant, auc, auc_low, auc_high, sensitivity, sensitivity_low,
        sensitivity_high, specificity, specificity_low, specificity_high, gap, gap_low, gap_high, masked.

    Raises
    ------
    DatasetError
        If the rows are of one class, the lengths differ or a score is infinite.
    """
    column = pd.Series(values).reset_index(drop=True)
    everything = np.atleast_2d(np.asarray(scores, dtype=float))
    if len(column) != len(np.asarray(labels)):
        raise DatasetError(
            f"Every row needs a value: {len(np.asarray(labels))} labels and {len(column)} values were given."
        )
    usable_rows(labels, groups, scores)  # lengths, before rows are chosen by them
    here = ~np.isnan(everything).any(axis=0)
    y, patients, (table,) = usable_rows(np.asarray(labels)[here], np.asarray(groups)[here], everything[:, here])
    need_both_classes(y)
    rows = []
    for value, inside in _subgroups(column[here].reset_index(drop=True)):
        counts = (int(inside.sum()), len(np.unique(patients[inside])), int(y[inside].sum()))
        row: dict[str, Any] = {
            "value": value,
            **dict(zip(COUNTS, counts, strict=True)),
            **dict.fromkeys(FIGURES, np.nan),
        }
        row["masked"] = _few(y[inside], patients[inside], smallest)
        if not row["masked"]:
            row |= _figures(y[inside], table[:, inside], patients[inside], threshold, level, n_models)
            if not _few(y[~inside], patients[~inside], smallest):
                mine = patient_components(y[inside], table[:, inside], patients[inside])
                rest = patient_components(y[~inside], table[:, ~inside], patients[~inside])
                gap = auc_gap(mine, rest, level=level, n_models=n_models)
                row |= dict(zip(("gap", "gap_low", "gap_high"), gap, strict=True))
        rows.append(row)
    found = pd.DataFrame(rows)
    return _hidden(found, smallest) if hide_counts else found


def auc_gap(
    one: PatientComponents, other: PatientComponents, *, level: float = 0.95, n_models: int = 1
) -> tuple[float, float, float]:
    """Give the difference of two AUCs of different nodules, some of which may share a patient.

    Parameters
    ----------
    one, other : PatientComponents
        Of nodules that are in only one of them.
    level : float
        Confidence level.
    n_models : int
        As in `subgroup_table`.

    Returns
    -------
    difference, low, high : float
        First less second; limits within [-1, 1], and these where a class has fewer than two patients.
    """
    shared, mine, its = np.intersect1d(one.patients, other.patients, return_indices=True)
    k = len(one.patients) + len(other.patients) - len(shared)
    first, second = one.malignant[mine] + one.benign[mine], other.malignant[its] + other.benign[its]
    covariance = k / max(k - 1, 1) * float((first * second).sum())
    variance = variance_factor(n_models) * (component_variance(one) + component_variance(other) - 2 * covariance)
    difference = one.auc - other.auc
    if np.isnan(variance):
        return difference, -1.0, 1.0
    half = float(norm.ppf(0.5 + level / 2)) * float(np.sqrt(max(variance, 0.0)))
    return difference, max(-1.0, difference - half), min(1.0, difference + half)


def _subgroups(column: pd.Series[Any]) -> list[tuple[Any, NDArray[np.bool_]]]:
    """List the values and which rows have each."""
    unknown = column.isna().to_numpy(dtype=bool)
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column[~unknown])
        names = [name for name in column.cat.categories if name in present]
    else:
        names = sorted(column[~unknown].unique().tolist(), key=lambda name: (isinstance(name, str), name))
    found = [(name, (column == name).fillna(value=False).to_numpy(dtype=bool)) for name in names]
    return [*found, (MISSING, unknown)] if unknown.any() else found


def _few(y: NDArray[np.int64], patients: NDArray[Any], smallest: int) -> bool:
    return min(len(np.unique(patients[y == label])) for label in (0, 1)) < max(smallest, 1)


def _figures(
    y: NDArray[np.int64], scores: Floats, patients: NDArray[Any], threshold: float, level: float, n_models: int
) -> dict[str, float]:
    interval = auc_interval(y, scores, patients, level=level, n_models=n_models)
    called = (scores >= threshold).mean(axis=0)  # share of the repeats
    found = clustered_proportion(called[y == 1], patients[y == 1], level=level)
    spared = clustered_proportion(1 - called[y == 0], patients[y == 0], level=level)
    values = (interval.auc, interval.low, interval.high, *found[:3], *spared[:3])
    return dict(zip(FIGURES, values, strict=False))


def _hidden(table: pd.DataFrame, smallest: int) -> pd.DataFrame:
    """Say of the counts of masked rows only on which side of the smallest they are."""
    hide = table["masked"].to_numpy(dtype=bool, copy=True)
    if hide.sum() == 1 and len(table) > 1:
        hide[table.index[~hide][int(np.argmin(table.loc[~hide, "n"]))]] = True
    for name in COUNTS:
        told = [f"<{smallest}" if count < smallest else f">={smallest}" for count in table[name]]
        table[name] = np.where(hide, np.array(told, dtype=object), table[name].astype(object))
    return table
