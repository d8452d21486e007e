"""Grey-level run lengths of nested regions: each line is walked once for all regions of a chain.

A run of the largest region is a run of a smaller one as far as the smaller one holds it. So a run is entered in the first
region that holds its voxels, and taken out where a later region makes it longer; sums over the regions give each one's matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run_lengths(
    level: NDArray[np.int32],
    rank: NDArray[np.uint8],
    voxel: NDArray[np.int64],
    own: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    padded_shape: tuple[int, int, int],
    n_regions: int,
    n_columns: int,
) -> NDArray[np.int32]:
    """Count runs by direction, region, level and length.

    Parameters
    ----------
    level : ndarray of int32, shape (padded voxels,)
        Column of each voxel's level; -1 outside the chain.
    rank, voxel, own, padded_shape
        As in :class:`lungpipe.radiomics.nested.chains.Chain`.
    offsets : ndarray of int64, shape (n_directions, 3)
        Steps to neighbours along (z, y, x), no longer than a voxel an axis.
    n_regions, n_columns : int

    Returns
    -------
    ndarray of int32, shape (n_directions, n_regions, n_columns, longest run)
        Run length 1 is at index 0. As in PyRadiomics, a direction in which no line holds two voxels of a region has no runs.
    """
    _, y, x = padded_shape
    steps = offsets @ np.array([y * x, x, 1])
    longest = max(padded_shape)
    counts = np.zeros((len(steps), n_regions, n_columns, longest + 1), dtype=np.int32)
    touch = np.full(len(steps), n_regions, dtype=np.int64)
    length = _count(level, rank, voxel, own, np.ascontiguousarray(steps), counts, touch)
    counts = np.cumsum(counts[..., 1 : length + 1], axis=1, dtype=np.int32)
    for direction in np.flatnonzero(touch):
        for region in range(int(touch[direction])):
            places = np.array(np.unravel_index(voxel[own <= region], padded_shape)).T
            lines = np.cross(places, offsets[direction])
            if len(np.unique(lines, axis=0)) == len(lines):
                counts[direction, region] = 0
    return counts


@compiled
def _count(
    level: NDArray[np.int32],
    rank: NDArray[np.uint8],
    voxel: NDArray[np.int64],
    own: NDArray[np.uint8],
    steps: NDArray[np.int64],
    counts: NDArray[np.int32],
    touch: NDArray[np.int64],
) -> int:
    """Enter runs by the region from which on they count; ``touch`` gets the first region with two neighbours on a line.

    A run is entered voxel by voxel: each makes the run that ends before it one longer. Index 0 of the lengths is of no use.
    """
    n_regions = counts.shape[1]
    length, highest = np.zeros(len(level), dtype=np.int32), np.zeros(len(level), dtype=np.uint8)
    longest = 1
    for direction in range(len(steps)):
        step = steps[direction]
        matrix = counts[direction]
        first_touch = n_regions
        for k in range(len(voxel)):
            here, first = voxel[k], own[k]
            before = here - step  # read already: steps go forward
            value = level[here]
            if first_touch > first and rank[before] < n_regions:
                first_touch = min(first_touch, max(rank[before], first))
            same = level[before] == value
            n = length[before] + 1 if same else 1
            high = max(highest[before], first) if same else first
            length[here], highest[here] = n, high
            longest = max(longest, n)
            if high == first:
                matrix[first, value, n] += 1
                matrix[first, value, n - 1] -= 1
                continue
            n, region = 1, first  # voxels before it are of later regions: the run is longer there
            while level[before] == value:
                if rank[before] > region:
                    matrix[region, value, n] += 1
                    matrix[region, value, n - 1] -= 1
                    region = rank[before]
                    matrix[region, value, n] -= 1
                    matrix[region, value, n - 1] += 1
                n += 1
                before -= step
            matrix[region, value, n] += 1
            matrix[region, value, n - 1] -= 1
        touch[direction] = first_touch
    return longest
