"""Empirical Bayes estimates of a batch's location and scale (Johnson, Li and Rabinovic 2007, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Location and scale count as found when a step changes neither by more, in standard deviations and relatively.
TOLERANCE = 1e-12
MOST_STEPS = 10_000


def posterior(standard: Floats, *, mean_only: bool) -> tuple[Floats, Floats]:
    """Posterior means of location and scale of one batch, each feature drawn towards the others.

    Location is normal about its mean over features, with their variance; scale is inverse gamma, its shape and rate from the
    mean and variance over features of the sample variances. Posterior means depend on each other, so they are found by turns.

    Parameters
    ----------
    standard : NDArray of float, shape (n, p)
        Standardised features of the batch's rows; NaN where missing. A feature without values takes the priors' means.
    mean_only : bool
        Take every scale for 1.

    Returns
    -------
    gamma, delta : NDArray of float, shape (p,)
        Location in standard deviations, and variance.
    """
    present = np.isfinite(standard)
    n = present.sum(axis=0).astype(float)
    filled = np.where(present, standard, 0.0)
    mean = filled.sum(axis=0) / np.maximum(n, 1)
    squares = np.where(present, filled - mean, 0.0)
    squares = (squares**2).sum(axis=0)
    prior_mean, prior_variance = _moments(mean[n > 0])
    if mean_only:
        return _location(n, mean, np.ones(len(n)), prior_mean, prior_variance), np.ones(len(n))
    scale_mean, scale_variance = _moments((squares / np.maximum(n - 1, 1))[n > 1])
    measured = np.where(n > 1, squares / np.maximum(n - 1, 1), scale_mean)
    if not scale_variance > 0:  # one feature, or all alike: no prior to draw towards
        delta = np.where(measured > 0, measured, 1.0)
        return _location(n, mean, delta, prior_mean, prior_variance), delta
    shape = 2 + scale_mean**2 / scale_variance
    rate = scale_mean * (shape - 1)
    gamma, delta = mean, measured
    for _ in range(MOST_STEPS):
        before = gamma, delta
        gamma = _location(n, mean, delta, prior_mean, prior_variance)
        delta = (rate + 0.5 * (squares + n * (mean - gamma) ** 2)) / (n / 2 + shape - 1)
        moved = np.abs(gamma - before[0]).max(), (np.abs(delta - before[1]) / delta).max()
        if max(moved) <= TOLERANCE:
            break
    return gamma, delta


def _location(n: Floats, mean: Floats, delta: Floats, prior_mean: float, prior_variance: float) -> Floats:
    if not prior_variance > 0:
        return np.where(n > 0, mean, prior_mean)
    return np.asarray((n * prior_variance * mean + delta * prior_mean) / (n * prior_variance + delta))


def _moments(values: Floats) -> tuple[float, float]:
    """Mean and sample variance; a variance of 0 says that there is no prior to be had."""
    if not len(values):
        return 0.0, 0.0
    return float(values.mean()), float(values.var(ddof=1)) if len(values) > 1 else 0.0
