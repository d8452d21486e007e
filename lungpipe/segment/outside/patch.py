"""A patch round a nodule on a grid of its own spacing, and the way back to the image's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple, Triple
    from lungpipe.volume import CTVolume


#: Voxels by which a position may miss a voxel's centre and still be on it.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Patch:
    """A grid along an image's axes, in fractional indices of that image.

    Parameters
    ----------
    first : tuple of float
        Index (z, y, x) of its first voxel in the image.
    step : tuple of float
        Voxels of the image from one of its voxels to the next, along (z, y, x).
    shape : tuple of int
    """

    first: Triple
    step: Triple
    shape: IndexTriple

    @classmethod
    def around(cls, frame: Geometry, centre_mm: Triple, spacing_mm: Triple, shape: IndexTriple) -> Patch:
        """The grid of a spacing (z, y, x), mm, whose middle is an LPS point."""
        step = np.divide(spacing_mm, frame.spacing_mm)
        first = frame.to_index(centre_mm) - step * (np.asarray(shape) - 1) / 2
        return cls(_floats(first), _floats(step), shape)

    def sample(self, volume: CTVolume, outside_hu: float) -> NDArray[np.float32]:
        """HU at its voxels, by linear interpolation; ``outside_hu`` where the volume has none."""
        low = np.clip(np.floor(self.first), volume.start, np.asarray(volume.stop) - 1)
        high = np.clip(np.ceil(self._last) + 1, low + 1, volume.stop)
        part = volume.crop(_ints(low), _ints(high))
        return np.asarray(
            ndimage.affine_transform(
                part.hu.astype(np.float32),
                self.step,
                np.subtract(self.first, part.start),
                self.shape,
                order=1,
                mode="grid-constant",
                cval=outside_hu,
            )
        )

    def bring_back(self, values: NDArray[np.float32], frame: Geometry) -> tuple[NDArray[np.float32], IndexTriple]:
        """Its values, shape :attr:`shape`, at the image's voxels within it, linearly; and the first of those voxels."""
        low = np.clip(np.ceil(np.asarray(self.first) - ROUNDING), 0, np.asarray(frame.shape) - 1)
        high = np.clip(np.floor(self._last + ROUNDING) + 1, low + 1, frame.shape)
        step = 1.0 / np.asarray(self.step)
        first, shape = (low - self.first) * step, _ints(high - low)
        return np.asarray(ndimage.affine_transform(values, step, first, shape, order=1, mode="nearest")), _ints(low)

    @property
    def _last(self) -> NDArray[np.float64]:
        return np.asarray(np.add(self.first, np.multiply(self.step, np.subtract(self.shape, 1))), dtype=np.float64)


def _floats(values: NDArray[np.float64]) -> Triple:
    z, y, x = values.tolist()
    return z, y, x


def _ints(values: NDArray[Any]) -> IndexTriple:
    z, y, x = (int(v) for v in values)
    return z, y, x
