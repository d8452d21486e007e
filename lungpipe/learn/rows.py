"""The rows that statistics are made of: labels, scores of every repeat, and the patient of each nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lungpipe.errors import DatasetError
from lungpipe.learn.intervals import binary_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def usable_rows(labels: ArrayLike, groups: ArrayLike | None, *scores: ArrayLike) -> Rows:
    """Take the rows that every set of scores has, in all repeats.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    *scores : array_like of float, shape (n,) or (n_repeats, n)
        NaN where a configuration lacks the row.

    Returns
    -------
    Rows
        Scores have two dimensions, also without repeats.

    Raises
    ------
    DatasetError
        If labels are not 0 and 1, lengths differ, a patient is missing or a score is infinite.
    """
    y = binary_labels(labels)
    patients = np.arange(len(y)) if groups is None else np.asarray(groups)
    tables = [np.atleast_2d(np.asarray(one, dtype=float)) for one in scores]
    if patients.shape != y.shape or any(table.ndim != 2 or table.shape[1:] != y.shape for table in tables):
        lengths = ", ".join(str(table.shape[-1]) for table in tables)
        raise DatasetError(
            f"Every row needs a label, a patient and a score: {len(y)} labels, {patients.size} patients and {lengths} "
            "scores were given."
        )
    if nameless := int(pd.isna(patients).sum()):
        raise DatasetError(f"{nameless} rows have no patient; intervals need to know whose nodule each is.")
    if infinite := sum(int(np.isinf(table).sum()) for table in tables):
        raise DatasetError(f"{infinite} scores are infinite; give NaN where a configuration lacks the row.")
    here = np.ones(len(y), dtype=bool)
    for table in tables:
        here &= ~np.isnan(table).any(axis=0)
    return Rows(y[here], patients[here], tuple(table[:, here] for table in tables))


def need_both_classes(labels: NDArray[np.int64]) -> None:
    """Refuse rows of one class, or none.

    Parameters
    ----------
    labels : NDArray of int, shape (n,)

    Raises
    ------
    DatasetError
        If a class is missing.
    """
    malignant = int(labels.sum())
    if malignant in (0, len(labels)):
        raise DatasetError(
            f"Both classes are needed: {malignant} malignant and {len(labels) - malignant} benign nodules have scores."
        )


def need_probabilities(scores: NDArray[np.float64]) -> None:
    """Refuse scores outside [0, 1].

    Parameters
    ----------
    scores : NDArray of float

    Raises
    ------
    DatasetError
        If a score cannot be a probability.
    """
    if scores.min() < 0 or scores.max() > 1:
        raise DatasetError(
            f"Scores from {scores.min():g} to {scores.max():g} are no probabilities; this figure needs the predicted "
            "probability of malignancy, within [0, 1]."
        )


class Rows(NamedTuple):
    """Labels, patients, and a table of scores (n_repeats, n) for each set that was given."""

    labels: NDArray[np.int64]
    patients: NDArray[Any]
    scores: tuple[NDArray[np.float64], ...]
