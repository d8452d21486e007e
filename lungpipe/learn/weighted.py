"""All figures of many draws at once, from one sorting of the scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lungpipe.learn.bootstrap import Floats, Ints
from lungpipe.learn.operating import ROUNDING

#: Specificities and sensitivities, in per cent, at which the other is read.
TARGETS = (90, 95)
#: Probabilities are moved this far from 0 and 1 before their logarithm is taken.
CLIP = 1e-15


def weighted_figures(labels: Ints, p: Floats, weights: Ints) -> dict[str, Floats]:
    """Give every figure of every draw, mean over the repeats.

    The same as `at_specificity`, `at_sensitivity`, `at_threshold`, `brier_score`, `log_loss` and `average_precision` of the
    rows drawn, each as often as its weight says.

    Parameters
    ----------
    labels : NDArray of int, shape (n,)
        1 malignant, 0 benign.
    p : NDArray of float, shape (n_repeats, n)
        Predicted probability of malignancy.
    weights : NDArray of int, shape (n_draws, n)
        How often each row was drawn; both classes in every draw.

    Returns
    -------
    dict of str to NDArray of float, shape (n_draws,)
        sensitivity_at_90_specificity, threshold_at_90_specificity and so on for 95 and the reverse, balanced_accuracy (at
        p >= 0.5), brier, log_loss, average_precision.
    """
    found = [_of_repeat(labels, repeat, np.asarray(weights, dtype=np.float64)) for repeat in p]
    return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}


def _of_repeat(y: Ints, p: Floats, weights: Floats) -> dict[str, Floats]:
    curve = _curve(y, p, weights)
    figures: dict[str, Floats] = {}
    for target in TARGETS:
        place = (1 - curve.false >= target / 100 - ROUNDING).sum(axis=1) - 1  # the last that spares enough
        figures[f"sensitivity_at_{target}_specificity"] = _at(curve.true, place)
        figures[f"threshold_at_{target}_specificity"] = _threshold(curve, place)
    for target in TARGETS:
        place = (curve.true < target / 100 - ROUNDING).sum(axis=1)  # the first that finds enough
        figures[f"specificity_at_{target}_sensitivity"] = 1 - _at(curve.false, place)
        figures[f"threshold_at_{target}_sensitivity"] = _threshold(curve, place)
    half = np.full(len(weights), int((curve.scores >= 0.5).sum()) - 1)
    figures["balanced_accuracy"] = (_at(curve.true, half) + 1 - _at(curve.false, half)) / 2
    clipped = np.clip(p, CLIP, 1 - CLIP)
    rows = weights.sum(axis=1)
    figures["brier"] = weights @ (p - y) ** 2 / rows
    figures["log_loss"] = weights @ -np.where(y == 1, np.log(clipped), np.log1p(-clipped)) / rows
    hits, alarms = curve.true * (weights @ y)[:, None], curve.false * (weights @ (1 - y))[:, None]
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits > 0)
    figures["average_precision"] = (np.diff(curve.true, axis=1, prepend=0) * precision).sum(axis=1)
    return figures


def _curve(y: Ints, p: Floats, weights: Floats) -> _Curve:
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.diff(p[order], append=-np.inf))  # where each value ends
    true = np.cumsum(weights[:, order] * y[order], axis=1)[:, last]
    false = np.cumsum(weights[:, order] * (1 - y[order]), axis=1)[:, last]
    counts = np.diff(true + false, axis=1, prepend=0)
    drawn = np.maximum.accumulate(np.where(counts > 0, np.arange(len(last)), -1), axis=1)
    return _Curve(p[order][last], true / true[:, -1:], false / false[:, -1:], drawn)


def _at(shares: Floats, place: NDArray[np.intp]) -> Floats:
    """Return each draw's share at its place; 0 before the first."""
    return np.where(place < 0, 0.0, shares[np.arange(len(shares)), place])


def _threshold(curve: _Curve, place: NDArray[np.intp]) -> Floats:
    """Return the lowest score drawn down to each place, or just above the highest one drawn."""
    rows = np.arange(len(place))
    lowest = np.where(place < 0, -1, curve.drawn[rows, place])
    highest = np.argmax(curve.drawn >= 0, axis=1)
    return np.where(lowest < 0, np.nextafter(curve.scores[highest], np.inf), curve.scores[lowest])


class _Curve(NamedTuple):
    """Distinct scores from the highest, shares called at each, and the last score drawn up to each (-1 for none)."""

    scores: Floats
    true: Floats
    false: Floats
    drawn: NDArray[np.intp]
