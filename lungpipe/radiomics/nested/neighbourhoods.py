"""Dependences and neighbourhood differences of nested regions: each voxel's neighbours are read once for all regions.

A voxel's neighbours within a region are those of a rank up to the region's. Its entry in the matrices changes only where its
neighbours are not the same from one region to the next; there the old entry is taken out and the new one made.

References
----------
.. [1] Sun and Wee, Neighboring gray level dependence matrix for texture classification, Comput. Vis. Graph. Image Process.
   23(3), 1983.
.. [2] Amadasun and King, Textural features corresponding to textural properties, IEEE Trans. Syst. Man Cybern. 19(5), 1989.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Features of neighbourhood differences in the order in which they are computed.
NGTDM_NAMES = ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")


@compiled
def neighbourhoods(
    column: NDArray[np.int32],
    level: NDArray[np.int32],
    rank: NDArray[np.uint8],
    voxel: NDArray[np.int64],
    own: NDArray[np.uint8],
    steps: NDArray[np.int64],
    alpha: int,
    n_regions: int,
    n_columns: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count dependent neighbours and sum differences from neighbours.

    Parameters
    ----------
    column, level : ndarray of int32, shape (padded voxels,)
        Column of each voxel's level, and its number in any region of the chain (only differences matter).
    rank, voxel, own
        As in :class:`lungpipe.radiomics.nested.chains.Chain`.
    steps : ndarray of int64, shape (n,)
        Flat steps to all neighbours.
    alpha : int
        Greatest difference of levels of neighbours that depend on each other.
    n_regions, n_columns : int

    Returns
    -------
    dependences : ndarray of int64, shape (n_regions, n_columns, n + 1)
        Voxels by level and number of dependent neighbours.
    differences : ndarray, shape (n_regions, n_columns)
        Sums over voxels of the difference between their level and the mean of their neighbours'; 0 for those without any.
    """
    n = len(steps)
    dependences = np.zeros((n_regions, n_columns, n + 1), dtype=np.int64)
    # Differences are whole numbers over the number of neighbours: kept apart by it, they add up without rounding.
    parts = np.zeros((n_regions, n_columns, n + 1), dtype=np.int64)
    near, total, alike = np.zeros(n_regions, np.int64), np.zeros(n_regions, np.int64), np.zeros(n_regions, np.int64)
    for k in range(len(voxel)):
        here, first = voxel[k], own[k]
        mine, c = level[here], column[here]
        n_near, n_alike, sum_of, last = 0, 0, 0, first
        for step in steps:
            other = rank[here + step]
            if other <= first:
                difference = level[here + step] - mine
                n_near += 1
                sum_of += difference
                if abs(difference) <= alpha:
                    n_alike += 1
            elif other < n_regions:
                difference = level[here + step] - mine
                last = max(last, other)
                near[other] += 1
                total[other] += difference
                if abs(difference) <= alpha:
                    alike[other] += 1
        dependences[first, c, n_alike] += 1
        parts[first, c, n_near] += abs(sum_of)
        for region in range(first + 1, last + 1):
            if near[region]:
                dependences[region, c, n_alike] -= 1
                parts[region, c, n_near] -= abs(sum_of)
                n_near, n_alike, sum_of = n_near + near[region], n_alike + alike[region], sum_of + total[region]
                dependences[region, c, n_alike] += 1
                parts[region, c, n_near] += abs(sum_of)
                near[region], total[region], alike[region] = 0, 0, 0
    differences = np.zeros((n_regions, n_columns))
    for region in range(n_regions):
        for c in range(n_columns):
            for d in range(n + 1):
                if region:
                    dependences[region, c, d] += dependences[region - 1, c, d]
                    parts[region, c, d] += parts[region - 1, c, d]
                if d:
                    differences[region, c] += parts[region, c, d] / d
    return dependences, differences


@compiled
def difference_features(
    voxels: NDArray[np.int64], differences: NDArray[np.float64], number: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the features of neighbourhood differences.

    Parameters
    ----------
    voxels : ndarray of int64, shape (n_regions, n_columns)
        Voxels of each level.
    differences : ndarray, shape (n_regions, n_columns)
    number : ndarray of int64, shape (n_regions, n_columns)

    Returns
    -------
    ndarray, shape (n_regions, 5)
        As in :data:`NGTDM_NAMES`, with PyRadiomics' values where they are undefined: a coarseness of 10^6 where no voxel
        differs from its neighbours, else 0.
    """
    n_regions, n_columns = voxels.shape
    features = np.zeros((n_regions, 5))
    p, s, i = np.zeros(n_columns), np.zeros(n_columns), np.zeros(n_columns)
    for region in range(n_regions):
        n, total = 0, 0
        for c in range(n_columns):
            if voxels[region, c]:
                p[n], s[n], i[n] = voxels[region, c], differences[region, c], number[region, c]
                total += voxels[region, c]
                n += 1
        weighted, summed = 0.0, 0.0
        for a in range(n):
            p[a] /= total
            weighted += p[a] * s[a]
            summed += s[a]
        contrast, apart, complexity, strength = 0.0, 0.0, 0.0, 0.0
        for a in range(n):
            for b in range(a):
                step = i[a] - i[b]
                contrast += 2 * p[a] * p[b] * step * step
                apart += 2 * abs(i[a] * p[a] - i[b] * p[b])
                complexity += 2 * step * (p[a] * s[a] + p[b] * s[b]) / (p[a] + p[b])
                strength += 2 * (p[a] + p[b]) * step * step
        features[region, 0] = 1 / weighted if weighted else 1e6
        features[region, 1] = contrast * summed / total / (n * (n - 1)) if n > 1 else 0.0
        features[region, 2] = weighted / apart if apart else 0.0
        features[region, 3] = complexity / total
        features[region, 4] = strength / summed if summed else 0.0
    return features
