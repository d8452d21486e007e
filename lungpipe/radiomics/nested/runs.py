"""Grey-level run lengths of nested regions: each line is walked once for all regions of a chain.

A run of the largest region is a run of a smaller one as far as the smaller one holds it. So a run is entered where all its
voxels are held, and where it is cut it is taken out and its pieces entered, region by region; sums over the regions give each
one's matrix.
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
    counts = np.zeros((len(steps), n_regions, n_columns, longest), dtype=np.int32)
    touch = np.full(len(steps), n_regions, dtype=np.int64)
    length = _count(level, rank, voxel, own, np.ascontiguousarray(steps), counts, touch)
    counts = np.cumsum(counts[..., :length], axis=1, dtype=np.int32)
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
    """Enter runs by the region from which on they count; ``touch`` gets the first region with two neighbours on a line."""
    n_regions = counts.shape[1]
    longest = 1
    for direction in range(len(steps)):
        step = steps[direction]
        matrix = counts[direction]
        first_touch = n_regions
        for k in range(len(voxel)):
            start = voxel[k]
            value = level[start]
            if first_touch > own[k] and rank[start - step] < n_regions:
                first_touch = min(first_touch, max(rank[start - step], own[k]))
            if level[start - step] == value:
                continue
            length, least, greatest = 1, own[k], own[k]
            place = start + step
            while level[place] == value:
                least, greatest = min(least, rank[place]), max(greatest, rank[place])
                length += 1
                place += step
            longest = max(longest, length)
            matrix[greatest, value, length - 1] += 1
            if least == greatest:
                continue
            for region in range(least, greatest):  # pieces of it, until the whole is held
                held = False
                for at in range(length):
                    held = held or rank[start + at * step] == region
                if not held:
                    continue
                following = greatest
                for at in range(length):
                    other = rank[start + at * step]
                    if region < other < following:
                        following = other
                piece = 0
                for at in range(length + 1):
                    if at < length and rank[start + at * step] <= region:
                        piece += 1
                    elif piece:
                        matrix[region, value, piece - 1] += 1
                        matrix[following, value, piece - 1] -= 1
                        piece = 0
        touch[direction] = first_touch
    return longest
