"""One temperature that makes a network's probabilities as sure as they are right.

Guo, Pleiss, Sun and Weinberger 2017, On calibration of modern neural networks, arXiv:1706.04599: logits are divided by a
number that is fitted on nodules that the network did not learn from. No voxel changes sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, special

from lungpipe.errors import DatasetError
from lungpipe.learn.calibration import expected_calibration_error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Temperatures that are looked among; beyond them the likelihood has no optimum that would be of use.
COLDEST, HOTTEST = 0.01, 100.0
#: Probabilities are taken this far from 0 and 1, where they have no logit.
CLIP = 1e-6


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature, and what it changes on the voxels that it was fitted on.

    Parameters
    ----------
    value : float
        Above 1 the network was too sure, below 1 not sure enough.
    n : int
        Voxels.
    nll_before, nll_after : float
        Mean negative log-likelihood, nats a voxel.
    ece_before, ece_after : float
        Expected calibration error; see :func:`lungpipe.learn.calibration.expected_calibration_error`.
    """

    value: float
    n: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def fit_temperature(logits: ArrayLike, inside: ArrayLike) -> Temperature:
    """Fit a temperature on held-out voxels.

    Mean negative log-likelihood is convex in one over the temperature, so what is found is the one optimum.

    Parameters
    ----------
    logits : array_like of float, any shape
        Of nodules that the network did not learn from.
    inside : array_like of int or bool, of the same shape
        Whether the voxel is nodule.

    Raises
    ------
    DatasetError
        If the shapes differ, a logit is no finite number, all voxels are of one kind, or the best temperature lies at the end
        of what is looked among: the logits then part the voxels without an error, or say nothing of them.
    """
    z, y = np.asarray(logits, dtype=np.float64).ravel(), np.asarray(inside).ravel()
    if z.shape != y.shape or not np.all(np.isfinite(z)):
        raise DatasetError(
            f"a temperature needs a finite logit for each voxel, found {z.size} logits ({np.count_nonzero(~np.isfinite(z))} "
            f"not finite) and {y.size} labels"
        )
    if not np.isin(y, (0, 1)).all() or len(np.unique(y)) < 2:
        raise DatasetError(
            "a temperature needs voxels inside (1) and outside (0), both; give more nodules or surroundings"
        )
    y = y.astype(np.float64)
    limits = (math.log(1 / HOTTEST), math.log(1 / COLDEST))
    found = optimize.minimize_scalar(
        lambda u: _nll(z * math.exp(u), y), bounds=limits, method="bounded", options={"xatol": 1e-8}
    )
    u = float(found.x)
    if min(u - limits[0], limits[1] - u) < 1e-3:
        raise DatasetError(
            f"no temperature from {COLDEST:g} to {HOTTEST:g} is best: these logits part inside from outside without an error, "
            "or not at all; give more nodules, or look at the network"
        )
    scaled = z * math.exp(u)
    return Temperature(
        math.exp(-u),
        z.size,
        _nll(z, y),
        _nll(scaled, y),
        expected_calibration_error(y.astype(int), special.expit(z)),
        expected_calibration_error(y.astype(int), special.expit(scaled)),
    )


def at_temperature(probability: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities as they are at a temperature: the sigmoid of their logit over it.

    Parameters
    ----------
    probability : array_like of float
        From 0 to 1.
    temperature : float
        Above 0.

    Returns
    -------
    ndarray of float64
        Of the same shape.

    Raises
    ------
    DatasetError
        If the temperature is not above 0.
    """
    if not temperature > 0:
        raise DatasetError(f"a temperature is above 0, found {temperature:g}")
    return np.asarray(special.expit(logits_of(probability) / temperature))


def logits_of(probability: ArrayLike) -> NDArray[np.float64]:
    """Logits of probabilities, for a segmenter that gives only these; they are taken :data:`CLIP` from 0 and 1.

    Parameters
    ----------
    probability : array_like of float
    """
    return np.asarray(special.logit(np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1 - CLIP)))


def _nll(z: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0.0, z) - y * z))
