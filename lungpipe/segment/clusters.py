"""Where two classes of HU part: Otsu, k-means, Gaussian mixture and fuzzy c-means on a histogram.

All take the values that occur, ascending, with their counts: what a method finds then depends neither on the order of the
voxels nor on chance, and costs as much as there are grey levels. Libraries' clusterings take samples one by one (the
Gaussian mixture of scikit-learn knows no weights), which is why these are written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_otsu

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Steps of mixing between lung and nodule in a voxel of the rim.
MIXING_STEPS = 9
SHARES = np.linspace(0.0, 1.0, MIXING_STEPS)
#: Smallest standard deviation of a class, HU: a class of one grey level has none.
MIN_SD_HU = 5.0
#: Bins of the histogram that the mixture is fitted to: in a window of 1,400 HU a few HU each, less than noise.
BINS = 256
EM_STEPS, EM_TOLERANCE_HU = 200, 1e-2
#: Where a fit keeps its means, what its entries are measured in where they are compared, and how far it may leap.
MEANS, FIT_SCALE, LONGEST_STRIDE = slice(3, 5), np.array([1.0, 1.0, 1.0, 100.0, 100.0, 1.0, 1.0]), 16.0


def two_classes_otsu(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Threshold of Otsu (1979, doi:10.1109/TSMC.1979.4310076) on 256 bins, as scikit-image computes it from samples.

    Parameters
    ----------
    values : ndarray, shape (m,)
        HU, ascending; two or more.
    counts : ndarray of int, shape (m,)

    Returns
    -------
    float
        HU; brighter is above.
    """
    histogram, edges = np.histogram(values, bins=256, weights=counts)
    return float(threshold_otsu(hist=(histogram, (edges[:-1] + edges[1:]) / 2)))


def two_classes_kmeans(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Threshold between the two clusters of the least squares; parameters and result as :func:`two_classes_otsu`.

    Clusters of one variable are intervals (Fisher 1958, doi:10.1080/01621459.1958.10501479), so every split is looked at
    and the best is the best there is: no starts, no seed. Half way between the two clusters' means.
    """
    total, weight = np.cumsum(values * counts), np.cumsum(counts).astype(np.float64)
    below, above = total[:-1] / weight[:-1], (total[-1] - total[:-1]) / (weight[-1] - weight[:-1])
    between = weight[:-1] * (weight[-1] - weight[:-1]) * (above - below) ** 2
    best = int(np.argmax(between))
    return float((below[best] + above[best]) / 2)


def two_classes_fcm(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    *,
    fuzzifier: float = 2.0,
    tolerance_hu: float = 1e-3,
    steps: int = 1000,
) -> float:
    """Threshold at which two fuzzy c-means clusters have equal membership.

    Bezdek, *Pattern Recognition with Fuzzy Objective Function Algorithms* (1981): memberships
    ``u_ik = 1 / sum_j (d_ik / d_jk)^(2 / (m - 1))``, centres the means weighted by ``u^m``. Two memberships are equal half
    way between the centres. It starts from the clusters of k-means.

    Parameters
    ----------
    values, counts
        As in :func:`two_classes_otsu`.
    fuzzifier : float
        The exponent m.
    tolerance_hu : float
        Stop when no centre moves by more than this, HU.
    steps : int
        Stop after this many.
    """
    bright = values > two_classes_kmeans(values, counts)
    centres = np.array([np.average(values[part], weights=counts[part]) for part in (~bright, bright)])
    for _ in range(steps):
        distance = np.maximum(np.abs(values[None, :] - centres[:, None]), np.finfo(np.float64).eps)
        inverse = distance ** (-2.0 / (fuzzifier - 1.0))
        weight = (inverse / inverse.sum(axis=0)) ** fuzzifier * counts
        moved = (weight @ values) / weight.sum(axis=1)
        done = np.abs(moved - centres).max() < tolerance_hu
        centres = moved
        if done:
            break
    return float(centres.mean())


def two_classes_gmm(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Threshold at which a voxel is as likely half nodule or more as it is not, by a mixture with partial volumes.

    Two Gaussians alone share the rim out by their widths: the wider one, the nodule's, takes all of it, and masks come
    out half as large again. Here voxels between the two are mixtures of both in any proportion alike (Santago and Gage
    1993, doi:10.1109/42.241885): nine Gaussians whose means and variances lie on the line between the two classes, the
    inner seven of equal weight. Fitted by expectation maximisation from the clusters of k-means, with leaps
    (Varadhan and Roland 2008, doi:10.1111/j.1467-9469.2007.00585.x); a voxel is inside where
    the proportions above one half, with half of the middle one, outweigh the rest.

    Parameters and result as :func:`two_classes_otsu`.
    """
    origin = float(np.average(values, weights=counts))
    powers, weights = _powers(*_binned(values - origin, counts))
    centred = powers[1]
    bright = centred > two_classes_kmeans(centred, weights)
    means = [np.average(centred[part], weights=weights[part]) for part in (~bright, bright)]
    spreads = [
        np.average((centred[part] - mean) ** 2, weights=weights[part])
        for part, mean in zip((~bright, bright), means, strict=True)
    ]
    fit = np.concatenate([np.log([0.45, 0.1, 0.45]), means, np.log(np.maximum(spreads, MIN_SD_HU**2))])
    for _ in range(EM_STEPS // 3):
        once, _ = _em_step(fit, powers, weights)
        twice, sound = _em_step(once, powers, weights)
        first, bend = once - fit, twice - 2 * once + fit
        fit = twice
        if not sound or np.abs(twice - once)[MEANS].max() < EM_TOLERANCE_HU:
            break
        # Varadhan and Roland 2008: leap along the two steps, and take one from where that leads if it is no nonsense
        length = np.linalg.norm(first / FIT_SCALE) / max(float(np.linalg.norm(bend / FIT_SCALE)), 1e-12)
        stride = min(max(1.0, float(length)), LONGEST_STRIDE)
        leap = once - first + 2 * stride * first + stride**2 * bend
        if centred[0] <= leap[MEANS][0] < leap[MEANS][1] <= centred[-1]:
            beyond, sound = _em_step(leap, powers, weights)
            fit = beyond if sound else twice
    every, _ = _powers(values - origin, counts)
    likelihood = _likelihood(every, fit)
    return origin + _boundary(every[1], likelihood / likelihood.sum(axis=0), fit[MEANS])


def _em_step(
    fit: NDArray[np.float64], powers: NDArray[np.float64], weights: NDArray[np.int64]
) -> tuple[NDArray[np.float64], bool]:
    """One step of expectation maximisation, and whether both classes still hold a voxel, the dark one below the other.

    A fit is three logarithms of parts (lung, rim, nodule), two means in HU, two logarithms of variances.
    """
    likelihood = _likelihood(powers, fit)
    moments = (likelihood * (weights / likelihood.sum(axis=0))) @ powers.T  # (k, 3): of order 0, 1 and 2
    sums = np.maximum(moments[:, 0], 1e-9)
    ends = sums[[0, -1]]
    means = moments[[0, -1], 1] / ends
    variances = np.maximum(moments[[0, -1], 2] / ends - means**2, MIN_SD_HU**2)
    parts = np.array([ends[0], sums[1:-1].sum(), ends[1]]) / sums.sum()
    return np.concatenate([np.log(parts), means, np.log(variances)]), bool(ends.min() >= 1 and means[1] > means[0])


def _powers(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values (m,) to the powers 0, 1 and 2 (3, m), with their counts."""
    return np.stack([np.ones_like(values), values, values**2]), counts


def _binned(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A histogram of at most :data:`BINS` bins, each with the mean of the values in it: a fit of fewer terms."""
    if len(values) <= BINS:
        return values, counts
    place = np.minimum(((values - values[0]) * (BINS / (values[-1] - values[0]))).astype(np.int64), BINS - 1)
    total, weighted = np.bincount(place, counts, BINS), np.bincount(place, counts * values, BINS)
    held = total > 0
    return weighted[held] / total[held], total[held].astype(np.int64)


def _likelihood(powers: NDArray[np.float64], fit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Likelihood (k, m) of each share of nodule in a voxel of each value, up to a factor a value.

    ``powers`` (3, m) are those of the values; a fit is as in :func:`_em_step`.
    """
    parts, means, variances = np.exp(fit[:3]), fit[MEANS], np.exp(fit[5:])
    parts = parts / parts.sum()
    centre = means[0] + SHARES * (means[1] - means[0])
    variance = (1 - SHARES) ** 2 * variances[0] + SHARES**2 * variances[1]
    variance[1:-1] = np.maximum(variance[1:-1], ((means[1] - means[0]) / (2 * (MIXING_STEPS - 1))) ** 2)
    variance = np.maximum(variance, MIN_SD_HU**2)
    prior = np.full(MIXING_STEPS, parts[1] / (MIXING_STEPS - 2))
    prior[0], prior[-1] = parts[0], parts[2]
    terms = np.empty((MIXING_STEPS, 3))
    terms[:, 0] = np.log(np.maximum(prior, 1e-12)) - 0.5 * np.log(variance) - 0.5 * centre**2 / variance
    terms[:, 1], terms[:, 2] = centre / variance, -0.5 / variance
    log = terms @ powers
    log -= log.max(axis=0)
    return np.exp(log, out=log)


def _boundary(values: NDArray[np.float64], responsibility: NDArray[np.float64], means: NDArray[np.float64]) -> float:
    """HU between the two means from which a voxel is rather half nodule or more."""
    half = len(responsibility) // 2
    nodule = responsibility[half + 1 :].sum(axis=0) + responsibility[half] / 2
    between = (values >= means[0]) & (values <= means[1])
    inside = between & (nodule > 0.5)
    if not inside.any() or means[1] <= means[0]:
        return float(means.mean())
    first = int(np.argmax(inside))
    return float((values[first - 1] + values[first]) / 2) if first else float(values[0])
