"""A crop on isotropic voxels: where derivatives and skeletons mean the same along every axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import make_interp_spline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple
    from lungpipe.volume import CTVolume, Mask

#: Voxels of the scan read beyond the crop, for the cubic spline.
_SUPPORT = 4


def isotropic_crop(volume: CTVolume, start: IndexTriple, stop: IndexTriple, step_mm: float) -> Isotropic:
    """Resample a box of a scan to cubes by a cubic spline.

    Parameters
    ----------
    volume : CTVolume
    start, stop : tuple of int
        Half-open box in indices (z, y, x) of the volume's frame; what of it lies outside the volume is left out.
    step_mm : float
        Side of the cubes.
    """
    spacing = np.asarray(volume.frame.spacing_mm)
    low, high = np.maximum(start, volume.start), np.minimum(stop, volume.stop)
    around_low = np.maximum(low - _SUPPORT, volume.start).tolist()
    around_high = np.minimum(high + _SUPPORT, volume.stop).tolist()
    source = volume.crop(
        (around_low[0], around_low[1], around_low[2]), (around_high[0], around_high[1], around_high[2])
    )
    # Outer faces of the first voxels coincide.
    first_mm = (low - 0.5) * spacing + step_mm / 2
    nz, ny, nx = np.maximum(np.ceil((high - low) * spacing / step_mm - 1e-9), 1).astype(int).tolist()
    weights = [
        _spline(n, np.clip((first_mm[axis] + np.arange(m) * step_mm) / spacing[axis] - source.start[axis], 0, n - 1))
        for axis, (n, m) in enumerate(zip(source.shape, (nz, ny, nx), strict=True))
    ]
    hu = _apply(weights, source.hu.astype(np.float32))
    z, y, x = first_mm.tolist()
    return Isotropic(hu, step_mm, (z, y, x))


@dataclass(frozen=True, eq=False, slots=True)
class Isotropic:
    """HU on cubes.

    Places are in mm along the index axes (z, y, x) of the full image, from the centre of its first voxel: distances are
    those in the patient, since the axes are orthogonal.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    step_mm : float
    first_mm : tuple of float
        Place of the centre of voxel (0, 0, 0).
    """

    hu: NDArray[np.float32]
    step_mm: float
    first_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, ...]:
        """Cubes along (z, y, x)."""
        return self.hu.shape

    def sample(self, mask: Mask) -> NDArray[np.bool_]:
        """A mask on the crop's cubes, shape (z, y, x): where :meth:`share` is at least one half."""
        return np.asarray(self.share(mask) >= 0.5)

    def share(self, mask: Mask) -> NDArray[np.float32]:
        """A mask on the crop's cubes by linear interpolation, 0 to 1, shape (z, y, x): it keeps the mask's volume."""
        spacing = np.asarray(mask.frame.spacing_mm)
        first = np.asarray(self.first_mm) / spacing
        low = np.floor(first).astype(int) - 1
        high = np.ceil(first + np.multiply(self.shape, self.step_mm) / spacing).astype(int) + 2
        box = (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))
        part = _within(mask, *box).astype(np.float32)
        weights = [
            _linear(
                part.shape[axis], first[axis] - low[axis] + np.arange(self.shape[axis]) * self.step_mm / spacing[axis]
            )
            for axis in range(3)
        ]
        return _apply(weights, part)

    def back(
        self, found: NDArray[np.bool_], frame: Geometry, start: IndexTriple, stop: IndexTriple
    ) -> NDArray[np.bool_]:
        """What was found on the cubes, on a box of the full image's grid (indices z, y, x): the nearest cube decides."""
        nearest = []
        for axis in range(3):
            place_mm = np.arange(start[axis], stop[axis]) * frame.spacing_mm[axis]
            index = np.rint((place_mm - self.first_mm[axis]) / self.step_mm).astype(int)
            nearest.append(np.clip(index, 0, self.shape[axis] - 1))
        return np.asarray(found[np.ix_(*nearest)])

    def voxels_of(
        self, frame: Geometry, start: IndexTriple, stop: IndexTriple
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Index, along each axis (z, y, x) of a box of the full image's grid, of the voxel nearest to each cube."""
        z, y, x = (
            np.clip(
                np.rint((self.first_mm[axis] + np.arange(self.shape[axis]) * self.step_mm) / frame.spacing_mm[axis]),
                start[axis],
                stop[axis] - 1,
            ).astype(np.intp)
            - start[axis]
            for axis in range(3)
        )
        return z, y, x

    def place_mm(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places, mm, shape (n, 3), of fractional indices (z, y, x) of the crop."""
        return np.asarray(index * self.step_mm + np.asarray(self.first_mm))


def _spline(n: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights (places, n) of an interpolating cubic spline; of a lower degree through fewer than four values."""
    if n == 1:
        return np.ones((len(places), 1), dtype=np.float32)
    spline = make_interp_spline(np.arange(n), np.eye(n), k=3 if n > 3 else 1)
    return np.asarray(spline(places), dtype=np.float32)


def _linear(n: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights (places, n) of linear interpolation; beyond the first and the last value lies 0."""
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(n)), 0.0), dtype=np.float32)


def _apply(weights: list[NDArray[np.float32]], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate along each axis in turn: three matrix products, which is much faster than point by point."""
    for axis, matrix in enumerate(weights):
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def _within(mask: Mask, start: IndexTriple, stop: IndexTriple) -> NDArray[np.bool_]:
    """Voxels of a mask on a box that may leave its frame."""
    out = np.zeros(np.subtract(stop, start), dtype=np.bool_)
    low, high = np.maximum(start, mask.start), np.minimum(stop, mask.stop)
    if np.all(high > low):
        into = tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))
        source = tuple(slice(int(a), int(b)) for a, b in zip(low - mask.start, high - mask.start, strict=True))
        out[into] = mask.voxels[source]
    return out
