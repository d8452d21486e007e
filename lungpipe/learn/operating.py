"""Sensitivity and specificity at a threshold, given or found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.learn.bootstrap import Floats, Ints
from lungpipe.learn.rows import need_both_classes, usable_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Shares are compared with their target up to this rounding.
ROUNDING = 1e-12


def at_specificity(labels: ArrayLike, scores: ArrayLike, specificity: float = 0.9) -> OperatingPoint:
    """Find the highest sensitivity whose specificity is at least the one asked for.

    A nodule is called malignant at a score of the threshold or above. The threshold is the lowest score that will do, or
    just above the highest score if none will; nothing is interpolated between scores. It is chosen on the very rows it is
    judged on, so the sensitivity is a little optimistic. With repeats, each has its own threshold, and figures and
    threshold are means over them.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; NaN where the configuration lacks the row.
    specificity : float
        Within [0, 1].

    Returns
    -------
    OperatingPoint

    Raises
    ------
    DatasetError
        If the rows are of one class or unusable, or the target is outside [0, 1].
    """
    return _mean([_at_specificity(y, s, specificity) for y, s in _repeats(labels, scores, specificity)])


def at_sensitivity(labels: ArrayLike, scores: ArrayLike, sensitivity: float = 0.9) -> OperatingPoint:
    """Find the highest specificity whose sensitivity is at least the one asked for.

    The threshold is the highest score that will do; otherwise as `at_specificity`.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; NaN where the configuration lacks the row.
    sensitivity : float
        Within [0, 1].

    Returns
    -------
    OperatingPoint

    Raises
    ------
    DatasetError
        If the rows are of one class or unusable, or the target is outside [0, 1].
    """
    return _mean([_at_sensitivity(y, s, sensitivity) for y, s in _repeats(labels, scores, sensitivity)])


def at_threshold(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> OperatingPoint:
    """Give sensitivity and specificity where scores of the threshold or above are called malignant.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    scores : array_like of float, shape (n,) or (n_repeats, n)
        Higher means more likely malignant; NaN where the configuration lacks the row.
    threshold : float
        Chosen beforehand.

    Returns
    -------
    OperatingPoint
        Means over the repeats.

    Raises
    ------
    DatasetError
        If the rows are of one class or unusable.
    """
    return _mean([_at(y, s, threshold) for y, s in _repeats(labels, scores, 0)])


def _repeats(labels: ArrayLike, scores: ArrayLike, target: float) -> list[tuple[Ints, Floats]]:
    if not 0 <= target <= 1:
        raise DatasetError(f"A sensitivity or specificity is within [0, 1], not {target:g}.")
    y, _, (table,) = usable_rows(labels, None, scores)
    need_both_classes(y)
    return [(y, repeat) for repeat in table]


def _at(y: Ints, s: Floats, threshold: float) -> OperatingPoint:
    called = s >= threshold
    return OperatingPoint(float(threshold), float(called[y == 1].mean()), float((~called[y == 0]).mean()))


def _at_specificity(y: Ints, s: Floats, target: float) -> OperatingPoint:
    benign = np.sort(s[y == 0])
    allowed = int(np.floor((1 - target) * len(benign) + ROUNDING * len(benign)))  # false positives
    if allowed == len(benign):
        return _at(y, s, float(s.min()))
    above = s[s > benign[len(benign) - 1 - allowed]]
    return _at(y, s, float(above.min()) if len(above) else float(np.nextafter(s.max(), np.inf)))


def _at_sensitivity(y: Ints, s: Floats, target: float) -> OperatingPoint:
    malignant = np.sort(s[y == 1])[::-1]
    needed = int(np.ceil(target * len(malignant) - ROUNDING * len(malignant)))
    return _at(y, s, float(malignant[needed - 1]) if needed else float(np.nextafter(s.max(), np.inf)))


def _mean(points: list[OperatingPoint]) -> OperatingPoint:
    threshold, sensitivity, specificity = np.mean(
        [(point.threshold, point.sensitivity, point.specificity) for point in points], axis=0
    )
    return OperatingPoint(float(threshold), float(sensitivity), float(specificity))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold does.

    Parameters
    ----------
    threshold : float
        Scores of it or above are called malignant.
    sensitivity, specificity : float
        Shares of malignant and benign nodules called rightly.
    """

    threshold: float
    sensitivity: float
    specificity: float

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2
