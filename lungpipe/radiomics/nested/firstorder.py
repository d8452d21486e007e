"""First-order features of nested regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Features in the order in which they are computed.
NAMES = (
    "10Percentile", "90Percentile", "Energy", "Entropy", "InterquartileRange", "Kurtosis", "Maximum", "MeanAbsoluteDeviation",
    "Mean", "Median", "Minimum", "Range", "RobustMeanAbsoluteDeviation", "RootMeanSquared", "Skewness", "TotalEnergy",
    "Uniformity", "Variance",
)  # fmt: skip

_EPS = float(np.spacing(1.0))
#: Sums run in blocks, whose sums are added: rounding grows with the blocks, not with the voxels.
_BLOCK = 128


@compiled
def first_order(
    values: NDArray[np.float64], mean: float, levels: NDArray[np.int64], shift: float, voxel_mm3: float
) -> NDArray[np.float64]:
    """Compute the features of one region.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Ascending.
    mean : float
        Of the values; summed by the caller in the voxels' own order, on which the last bits of a mean near 0 depend.
    levels : ndarray of int64, shape (n_columns,)
        Voxels of each grey level.
    shift : float
        Added to the values before they are squared for energies.
    voxel_mm3 : float

    Returns
    -------
    ndarray, shape (18,)
        As in :data:`NAMES`.
    """
    n = len(values)
    variance = _sum(values, 2, mean) / n
    squares = _sum(values, 2, -shift)
    low, high = _percentile(values, 10.0), _percentile(values, 90.0)
    first, last = 0, n
    while values[first] < low:
        first += 1
    while values[last - 1] > high:
        last -= 1
    robust = values[first:last]
    robust_mean = _sum(robust, 0, 0.0) / len(robust)
    entropy, uniformity = 0.0, 0.0
    for count in levels:
        if count:
            p = count / n
            entropy -= p * np.log2(p + _EPS)
            uniformity += p * p
    found = np.empty(18)
    found[0], found[1] = low, high
    found[2], found[3] = squares, entropy
    found[4] = _percentile(values, 75.0) - _percentile(values, 25.0)
    found[5] = _sum(values, 4, mean) / n / (variance * variance if variance else 1.0)
    found[6], found[7] = values[-1], _sum(values, 1, mean) / n
    found[8], found[9] = mean, 0.5 * (values[(n - 1) // 2] + values[n // 2])
    found[10], found[11] = values[0], values[-1] - values[0]
    found[12] = _sum(robust, 1, robust_mean) / len(robust)
    found[13] = np.sqrt(squares / n)
    found[14] = _sum(values, 3, mean) / n / (variance**1.5 if variance else 1.0)
    found[15], found[16], found[17] = squares * voxel_mm3, uniformity, variance
    return found


@compiled
def _sum(values: NDArray[np.float64], power: int, centre: float) -> float:
    """Sum of the values (0), or of a power of their distances from a centre (1: without sign)."""
    total = 0.0
    for start in range(0, len(values), _BLOCK):
        part = 0.0
        for k in range(start, min(start + _BLOCK, len(values))):
            away = values[k] - centre
            if power == 0:
                part += away
            elif power == 1:
                part += abs(away)
            elif power == 2:
                part += away * away
            elif power == 3:
                part += away * away * away
            else:
                part += away * away * away * away
        total += part
    return total


@compiled
def _percentile(values: NDArray[np.float64], percent: float) -> float:
    """Percentile of ascending values, linear between neighbours."""
    place = percent / 100.0 * (len(values) - 1)
    below = int(np.floor(place))
    above = min(below + 1, len(values) - 1)
    share, step = place - below, values[above] - values[below]
    return float(values[below] + step * share if share < 0.5 else values[above] - step * (1 - share))
