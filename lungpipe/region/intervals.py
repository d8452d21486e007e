"""Every region between two distances from one pass over the distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

#: Larger than any class: voxels that are no region's, whatever their distance.
_TAKEN = 65535


@dataclass(frozen=True, eq=False, slots=True)
class Classes:
    """Voxels sorted by which edges their distance lies between.

    Parameters
    ----------
    edges_mm : ndarray, shape (n,)
        Ascending. A voxel's class is the number of edges below its distance.
    code : ndarray of uint16, shape (z, y, x)
        Class of each voxel that nothing takes, above all classes for the others.
    counts : ndarray of int, shape (n + 1, causes)
        Voxels of each class by what takes them; nothing does in column 0.
    """

    edges_mm: NDArray[np.float64]
    code: NDArray[np.uint16]
    counts: NDArray[np.int64]

    def between(self, above_mm: float, to_mm: float) -> tuple[slice, NDArray[np.int64]]:
        """Classes of the distances from ``above_mm``, exclusive, to ``to_mm``; and their voxels by cause.

        Both must be edges, or infinite.
        """
        first, last = np.searchsorted(self.edges_mm, (above_mm, to_mm), side="left").tolist()
        chosen = slice(0 if above_mm == -np.inf else first + 1, last + 1)
        return chosen, self.counts[chosen].sum(axis=0)


def classes_of(
    distance_mm: NDArray[np.float64], cause: NDArray[np.uint8], n_causes: int, edges_mm: Iterable[float]
) -> Classes:
    """Sort voxels by distance.

    Parameters
    ----------
    distance_mm : ndarray, shape (z, y, x)
    cause : ndarray of uint8, shape (z, y, x)
        What takes a voxel, 1 to ``n_causes``; 0 for nothing.
    n_causes : int
    edges_mm : iterable of float
        Infinite ones are no edges.
    """
    edges = np.unique([edge for edge in edges_mm if np.isfinite(edge)])
    code = np.empty(distance_mm.shape, dtype=np.uint16)
    counts = np.zeros((len(edges) + 1, n_causes + 1), dtype=np.int64)
    _sort(distance_mm, cause, edges, code, counts)
    return Classes(edges, code, counts)


def voxels_of(code: NDArray[np.uint16], chosen: slice) -> NDArray[np.bool_]:
    """Free voxels of a range of classes."""
    # One comparison for both ends: what lies below the range wraps round to large numbers.
    return np.asarray(code - np.uint16(chosen.start) < np.uint16(chosen.stop - chosen.start))


@compiled
def _sort(
    distance_mm: NDArray[np.float64],
    cause: NDArray[np.uint8],
    edges_mm: NDArray[np.float64],
    code: NDArray[np.uint16],
    counts: NDArray[np.int64],
) -> None:
    """Fill in the code of each voxel and add up the counts."""
    found, n_edges = 0, len(edges_mm)
    for i in range(distance_mm.shape[0]):
        for j in range(distance_mm.shape[1]):
            for k in range(distance_mm.shape[2]):
                distance = distance_mm[i, j, k]
                # A neighbour's class is seldom far from the last one's.
                while found < n_edges and edges_mm[found] < distance:
                    found += 1
                while found > 0 and edges_mm[found - 1] >= distance:
                    found -= 1
                why = cause[i, j, k]
                counts[found, why] += 1
                code[i, j, k] = np.uint16(found) if why == 0 else np.uint16(_TAKEN)
