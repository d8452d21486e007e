"""Grey-level zones of nested regions: they only grow and join from one region to the next.

The voxels that a region adds are joined to their neighbours of the same level (union-find with path halving), so that each
pair of neighbours is looked at once for all regions of a chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled
from lungpipe.radiomics.nested.sizes import size_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.radiomics.nested.chains import Chain


def zone_features(
    level: NDArray[np.int32], chain: Chain, steps: NDArray[np.int64], number: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the zone features of every region of a chain.

    Parameters
    ----------
    level : ndarray of int32, shape (padded voxels,)
        Column of each voxel's level; -1 outside the chain.
    chain : Chain
    steps : ndarray of int64, shape (n_directions,)
        Flat steps to one of each pair of opposite neighbours.
    number : ndarray of int64, shape (n_regions, n_columns)

    Returns
    -------
    ndarray, shape (n_regions, 16)
    """
    order = np.argsort(chain.own, kind="stable")
    place = np.full(len(chain.rank), -1, dtype=np.int32)
    place[chain.voxel[order]] = np.arange(len(order), dtype=np.int32)
    parent = np.arange(len(order), dtype=np.int32)
    size = np.ones(len(order), dtype=np.int32)
    both = np.concatenate([steps, -steps])
    voxel = chain.voxel[order]
    features, done = np.empty((len(chain.members), 16)), 0
    for region, count in enumerate(chain.counts.tolist()):
        _join(level, voxel, place, both, parent, size, done, count)
        counts, sizes = _table(level, voxel, parent, size, count, number.shape[1])
        features[region] = size_features(counts, number[region : region + 1], sizes)[0]
        done = count
    return features


@compiled
def _join(
    level: NDArray[np.int32],
    voxel: NDArray[np.int64],
    place: NDArray[np.int32],
    steps: NDArray[np.int64],
    parent: NDArray[np.int32],
    size: NDArray[np.int32],
    first: int,
    last: int,
) -> None:
    """Join the voxels from ``first`` on to their neighbours of the same level among those before ``last``."""
    for k in range(first, last):
        here = voxel[k]
        mine = level[here]
        one = k
        for step in steps:
            if level[here + step] != mine:
                continue
            two = place[here + step]
            if two >= k:
                continue
            while parent[two] != two:
                parent[two] = parent[parent[two]]
                two = parent[two]
            if one != two:
                if size[one] < size[two]:
                    one, two = two, one
                parent[two] = one
                size[one] += size[two]


@compiled
def _table(
    level: NDArray[np.int32],
    voxel: NDArray[np.int64],
    parent: NDArray[np.int32],
    size: NDArray[np.int32],
    n: int,
    n_columns: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Zones of the first ``n`` voxels by level and size, shape (1, n_columns, n_sizes), and the sizes that occur."""
    greatest = 0
    for k in range(n):
        if parent[k] == k:
            greatest = max(greatest, size[k])
    at = np.zeros(greatest + 1, dtype=np.int32)
    for k in range(n):
        if parent[k] == k:
            at[size[k]] = 1
    n_sizes = 0
    for s in range(greatest + 1):
        if at[s]:
            at[s] = n_sizes
            n_sizes += 1
    sizes = np.empty(n_sizes, dtype=np.int64)
    counts = np.zeros((1, n_columns, n_sizes))
    for k in range(n):
        if parent[k] == k:
            sizes[at[size[k]]] = size[k]
            counts[0, level[voxel[k]], at[size[k]]] += 1
    return counts, sizes
