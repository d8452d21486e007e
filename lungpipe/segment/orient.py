"""Turn a crop to an orientation that follows from its content, so that no result depends on how an image was stored.

Sums, solvers and ties depend on the order of voxels. A method that sees every crop in the same orientation gives the
mirrored or permuted mask of a mirrored or permuted image, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lungpipe.geometry import Triple

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Turn:
    """An orientation: which axes come first, second and third, and which of these are reversed."""

    order: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]

    def __call__(self, array: NDArray[T]) -> NDArray[T]:
        """Turn an array of shape (z, y, x)."""
        turned = np.transpose(array, self.order)
        return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if r else 1) for r in self.reverse)])

    def back(self, array: NDArray[T]) -> NDArray[T]:
        """Undo the turn of an array."""
        turned = array[tuple(slice(None, None, -1 if r else 1) for r in self.reverse)]
        return np.ascontiguousarray(np.transpose(turned, np.argsort(self.order)))

    def lengths(self, per_axis: Triple) -> Triple:
        """Turn lengths along (z, y, x), such as a spacing."""
        a, b, c = (per_axis[axis] for axis in self.order)
        return a, b, c


def canonical_turn(hu: NDArray[np.generic], spacing_mm: Triple, seed: NDArray[np.bool_]) -> Turn:
    """Orientation of a crop by its content.

    Axes are ordered by spacing, length and the spread of the HU along them, and each is reversed so that its denser half
    comes first; where HU decide nothing, the seed does. Sums are of whole numbers, hence exact.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        Values below 2**20 in size; compared to a sixteenth of a HU.
    spacing_mm : tuple of float
        Along (z, y, x).
    seed : ndarray of bool, shape (z, y, x)
    """
    whole = np.rint(np.asarray(hu, dtype=np.float64) * 16).astype(np.int64)
    keys, reverse = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        place = 2 * np.arange(hu.shape[axis], dtype=np.int64) - (hu.shape[axis] - 1)
        profile, seeded = whole.sum(axis=others), seed.sum(axis=others, dtype=np.int64)
        first = (int(profile @ place), int(seeded @ place))
        reverse.append(first > (0, 0) if first[0] == 0 else first[0] > 0)
        second = (int(profile @ place**2), int(seeded @ place**2), abs(first[0]), abs(first[1]))
        keys.append((round(spacing_mm[axis], 6), hu.shape[axis], second))
    a, b, c = sorted(range(3), key=lambda axis: keys[axis])
    return Turn((a, b, c), (reverse[a], reverse[b], reverse[c]))
