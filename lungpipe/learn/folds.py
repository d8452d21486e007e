"""Cross-validation folds that never split a patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold

from lungpipe.errors import DatasetError

CLASSES = {0: "benign", 1: "malignant"}


def grouped_folds(labels: ArrayLike, groups: ArrayLike, n_folds: int, seed: int, repeats: int = 1) -> list[Fold]:
    """Deal patients into shuffled folds with about the same share of malignant nodules.

    Rows are sorted by patient before dealing, so a patient's fold depends on the cohort and the seed, not on the
    order of the rows.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    groups : array_like, shape (n,)
        Patient of each row; all of a patient's rows share a fold.
    n_folds : int
        Folds a repeat.
    seed : int
        Seed of the shuffle; repeat r takes ``(seed, r)``.
    repeats : int
        How often to deal anew.

    Returns
    -------
    list of Fold
        ``repeats * n_folds`` folds; in each repeat every row is in the test part of exactly one.

    Raises
    ------
    DatasetError
        If labels or groups are unusable, or a class has fewer patients than there are folds.
    """
    y, patients = check_labels(labels, groups)
    if repeats < 1:
        raise DatasetError(f"repeats must be at least 1, not {repeats}.")
    _check_folds(y, patients, n_folds, "outer_folds")
    order = np.lexsort((y, np.unique(patients, return_inverse=True)[1]))
    folds = []
    for repeat in range(repeats):
        state = int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0])
        splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=state)
        for number, (train, test) in enumerate(splitter.split(order, y[order], patients[order])):
            folds.append(Fold(repeat, number, np.sort(order[train]), np.sort(order[test])))
    return folds


def check_cohort(labels: ArrayLike, groups: ArrayLike, n_outer: int, n_inner: int) -> None:
    """Refuse a cohort that cannot be cross-validated, before any work is done.

    Parameters
    ----------
    labels : array_like, shape (n,)
        1 malignant, 0 benign.
    groups : array_like, shape (n,)
        Patient of each row.
    n_outer, n_inner : int
        Outer folds, which measure, and inner folds, which tune.

    Raises
    ------
    DatasetError
        If there are no rows, labels or patients are missing, labels are not 0 and 1, only one class is there, a
        class has fewer patients than outer folds, or too few would be left for the inner folds.
    """
    y, patients = check_labels(labels, groups)
    _check_folds(y, patients, n_outer, "outer_folds")
    if n_inner < 2:
        raise DatasetError(f"inner_folds must be at least 2, not {n_inner}.")
    for value, name in CLASSES.items():
        count = len(np.unique(patients[y == value]))
        left = count - -(-count // n_outer)
        if left < n_inner:
            raise DatasetError(
                f"{count} patients have a {name} nodule; with {n_outer} outer folds {left} of them are left to tune on, "
                f"fewer than inner_folds = {n_inner}. Lower benchmark.inner_folds, or add {name} cases."
            )


def check_labels(labels: ArrayLike, groups: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return labels as 0 and 1 and groups as an array, or say what is wrong with them.

    Parameters
    ----------
    labels : array_like, shape (n,)
        Whatever the label column holds: bool, int or float.
    groups : array_like, shape (n,)
        Patient of each row.

    Returns
    -------
    labels : NDArray of int, shape (n,)
        1 malignant, 0 benign.
    groups : NDArray, shape (n,)
        As given.

    Raises
    ------
    DatasetError
        If lengths differ, anything is missing, a label is neither 0 nor 1, or only one class is there.
    """
    raw, patients = np.asarray(labels, dtype=object), np.asarray(groups)
    if raw.ndim != 1 or raw.shape != patients.shape:
        raise DatasetError(f"Labels and patients must be two columns of one length, not {raw.shape}, {patients.shape}.")
    if not len(raw):
        raise DatasetError("No nodule has a label, so there is nothing to benchmark. Fill the label column.")
    for name, column in (("label", raw), ("patient", patients)):
        if missing := int(pd.isna(column).sum()):
            raise DatasetError(f"{missing} of {len(raw)} nodules have no {name}. Fill the column or leave them out.")
    found = sorted({str(value) for value in raw if value not in (0, 1)})
    if found:
        raise DatasetError(f"Labels must be 0 (benign) or 1 (malignant); found {', '.join(found[:5])}.")
    y = raw.astype(np.int64)
    if len(np.unique(y)) == 1:
        raise DatasetError(
            f"All {len(y)} nodules are {CLASSES[int(y[0])]}: one class only, so nothing can be told apart. Add cases of "
            "the other class, or check benchmark.label."
        )
    return y, patients


def _check_folds(y: NDArray[np.int64], patients: NDArray[Any], n_folds: int, key: str) -> None:
    if n_folds < 2:
        raise DatasetError(f"{key} must be at least 2, not {n_folds}.")
    for value, name in CLASSES.items():
        count = len(np.unique(patients[y == value]))
        if count < n_folds:
            raise DatasetError(
                f"{count} patients have a {name} nodule, fewer than the {n_folds} folds, and a patient is never split. "
                f"Lower benchmark.{key} to at most {count}, or add {name} cases."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One division of the rows.

    Parameters
    ----------
    repeat, number : int
        Which deal of the patients, and which fold of it, both from 0.
    train, test : NDArray of int
        Row positions, ascending.
    validation : NDArray of int, optional
        Those training rows on which everything is chosen; without them inner folds are dealt.
    """

    repeat: int
    number: int
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    validation: NDArray[np.intp] | None = None
