"""Regions in chains, each within the next, so that a voxel is read once for all regions of its chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Most regions of a chain; the rank of a voxel is kept in a byte, and one rank means "in none".
MOST = 254


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """Regions of one box of which each holds the one before.

    Parameters
    ----------
    members : tuple of int
        Places among the caller's regions, from the smallest to the largest.
    window : tuple of slice
        Bounding box (z, y, x) of the largest.
    padded_shape : tuple of int
        Of that box with ``pad`` voxels round it.
    rank : ndarray of uint8, shape (padded voxels,)
        Place in ``members`` of the first region that holds a voxel; ``len(members)`` where none does.
    voxel : ndarray of int64, shape (n,)
        Flat places in the padded box of the voxels of the largest region, ascending.
    own : ndarray of uint8, shape (n,)
        Their ranks.
    counts : ndarray of int64, shape (len(members),)
        Voxels of each region.
    """

    members: tuple[int, ...]
    window: tuple[slice, slice, slice]
    padded_shape: tuple[int, int, int]
    rank: NDArray[np.uint8]
    voxel: NDArray[np.int64]
    own: NDArray[np.uint8]
    counts: NDArray[np.int64]

    def steps(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Flat steps in the padded box of offsets (n, 3) along (z, y, x)."""
        _, y, x = self.padded_shape
        return np.ascontiguousarray(offsets @ np.array([y * x, x, 1]))

    def values(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values (n,) of an image (z, y, x) on the caller's box, of the voxels of the largest region."""
        return image[self.window][self._inside()]

    def padded(self, values: NDArray[np.int32], outside: int) -> NDArray[np.int32]:
        """Values (n,) of the voxels on the padded box, flat."""
        box = np.full(int(np.prod(self.padded_shape)), outside, dtype=np.int32)
        box[self.voxel] = values
        return box

    def _inside(self) -> NDArray[np.bool_]:
        inside = self.rank.reshape(self.padded_shape) < len(self.members)
        shape = [part.stop - part.start for part in self.window]
        pad = (self.padded_shape[0] - shape[0]) // 2
        return inside[tuple(slice(pad, pad + n) for n in shape)]


def chains_of(masks: NDArray[np.bool_], pad: int) -> list[Chain]:
    """Part regions into as few chains as there can be.

    The fewest chains that hold a partial order are found as a matching between each region and a larger one that holds it
    (Fulkerson's form of Dilworth's theorem).

    Parameters
    ----------
    masks : ndarray of bool, shape (n, z, y, x)
        None is empty.
    pad : int
        Voxels round each chain's box: the longest step of a neighbour.
    """
    counts = np.array([np.count_nonzero(mask) for mask in masks])
    order = np.argsort(counts, kind="stable")
    holds = np.zeros((len(masks), len(masks)), dtype=np.int8)
    for i, small in enumerate(order):
        for large in order[i + 1 :]:
            holds[small, large] = not np.any(masks[small] & ~masks[large])
    after = maximum_bipartite_matching(csr_array(holds), perm_type="column")
    first = set(range(len(masks))) - set(after[after >= 0].tolist())
    chains = []
    for start in sorted(first, key=lambda k: int(np.flatnonzero(order == k)[0])):
        members = [start]
        while after[members[-1]] >= 0:
            members.append(int(after[members[-1]]))
        chains += [chain_of(masks, members[at : at + MOST], pad) for at in range(0, len(members), MOST)]
    return chains


def chain_of(masks: NDArray[np.bool_], members: Sequence[int], pad: int) -> Chain:
    """Make a chain of nested regions, given from the smallest to the largest.

    Parameters
    ----------
    masks : ndarray of bool, shape (n, z, y, x)
    members : sequence of int
    pad : int
    """
    largest = masks[members[-1]]
    window = []
    for axis in range(3):
        held = np.flatnonzero(largest.any(axis=tuple(other for other in range(3) if other != axis)))
        window.append(slice(int(held[0]), int(held[-1]) + 1))
    box = (window[0], window[1], window[2])
    rank = np.full(largest[box].shape, len(members), dtype=np.uint8)
    for place in range(len(members) - 1, -1, -1):
        rank[masks[members[place]][box]] = place
    padded = np.pad(rank, pad, constant_values=len(members))
    flat = padded.ravel()
    voxel = np.flatnonzero(flat < len(members))
    own = flat[voxel]
    counts = np.cumsum(np.bincount(own, minlength=len(members)))
    shape = padded.shape
    return Chain(tuple(int(m) for m in members), box, (shape[0], shape[1], shape[2]), flat, voxel, own, counts)
