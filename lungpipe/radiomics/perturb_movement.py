"""A nodule turned and shifted on the grid of its scan: the image, its own mask and any other mask move as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from lungpipe.region.distance import signed_distance_mm
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple, Triple

#: Voxels read beyond the box that is filled: the cubic spline's prefilter decays by 0.268 a voxel.
SUPPORT_VOXELS = 12


@dataclass(frozen=True)
class Movement:
    """A rotation in the axial plane about a point, and a shift.

    Parameters
    ----------
    frame : Geometry
        Grid of the full image, which stays where it is.
    pivot : tuple of float
        Point of rotation, index (z, y, x).
    angle_deg : float
        From the y axis of the grid towards its x axis.
    shift : tuple of float
        Along (z, y, x), voxels.
    """

    frame: Geometry
    pivot: Triple
    angle_deg: float = 0.0
    shift: Triple = (0.0, 0.0, 0.0)

    @property
    def is_none(self) -> bool:
        """Whether nothing moves."""
        return self.angle_deg == 0 and not any(self.shift)

    @cached_property
    def back(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix (3, 3) and offset (3,) from an index (z, y, x) to the index that moves there."""
        angle = np.deg2rad(self.angle_deg)
        turn = np.array(
            [[1.0, 0.0, 0.0], [0.0, np.cos(angle), np.sin(angle)], [0.0, -np.sin(angle), np.cos(angle)]]
        )  # mm to mm, against the movement
        spacing = np.asarray(self.frame.spacing_mm)
        matrix = turn * spacing[None, :] / spacing[:, None]
        pivot = np.asarray(self.pivot)
        return matrix, pivot - matrix @ (pivot + np.asarray(self.shift))

    def box_after(self, start: IndexTriple, stop: IndexTriple) -> tuple[IndexTriple, IndexTriple]:
        """Half-open box (frame indices) that holds a box (half open) after the movement; it may leave the frame."""
        matrix, offset = self.back
        return _around(np.asarray(np.linalg.solve(matrix, (_corners(start, stop) - offset).T).T, dtype=np.float64))

    def box_before(self, start: IndexTriple, stop: IndexTriple) -> tuple[IndexTriple, IndexTriple]:
        """Half-open box (frame indices) of all that moves into a box; it may leave the frame."""
        matrix, offset = self.back
        return _around(_corners(start, stop) @ matrix.T + offset)

    def reads(self, volume: CTVolume, start: IndexTriple, stop: IndexTriple) -> CTVolume:
        """The part of a volume that :meth:`image` needs for a box (frame indices, half open)."""
        if self.is_none:
            return volume.crop(start, stop)
        wanted = _grown(*self.box_before(start, stop), SUPPORT_VOXELS)
        return volume.crop(*_clipped(*wanted, volume.start, volume.stop))

    def image(self, source: CTVolume, start: IndexTriple, stop: IndexTriple) -> CTVolume:
        """HU of a box (frame indices, half open) after the movement, float32, by a cubic spline.

        What lay outside the source takes the nearest voxel's HU.
        """
        if self.is_none:
            return source.crop(start, stop)
        hu = self._sampled(source.hu.astype(np.float64), source.start, start, stop, 3).astype(np.float32)
        return CTVolume(hu, source.frame, start)

    def nodule(self, mask: Mask) -> Mask:
        """A nodule's mask after the movement, to a fraction of a voxel: its signed distance moves, not its voxels."""
        start, stop = _clipped(*_grown(*self.box_after(*mask.bounds), 2), (0, 0, 0), mask.frame.shape)
        tight = mask.trimmed()
        low, high = _grown(*self.box_before(start, stop), 2)
        z, y, x = np.maximum(np.subtract(tight.start, low), np.subtract(high, tight.stop)).clip(1).tolist()
        distance_mm = signed_distance_mm(tight.voxels, mask.frame.spacing_mm, (z, y, x))
        corner = (tight.start[0] - z, tight.start[1] - y, tight.start[2] - x)
        return Mask(self._sampled(distance_mm, corner, start, stop, 1) <= 0, mask.frame, start)

    def other(self, mask: Mask, start: IndexTriple, stop: IndexTriple) -> Mask:
        """Any mask on a box (frame indices, half open) after the movement: where at least half of a voxel comes from it."""
        if self.is_none:
            return mask.within(start, stop)
        source = mask.within(*_grown(*self.box_before(start, stop), 1, mask.frame.shape))
        return Mask(
            self._sampled(source.voxels.astype(np.float64), source.start, start, stop, 1) >= 0.5, mask.frame, start
        )

    def _sampled(
        self,
        values: NDArray[np.float64],
        corner: IndexTriple,
        start: IndexTriple,
        stop: IndexTriple,
        order: Literal[1, 3],
    ) -> NDArray[np.float64]:
        matrix, offset = self.back
        shape = tuple(int(b - a) for a, b in zip(start, stop, strict=True))
        local: NDArray[np.float64] = matrix @ np.asarray(start, dtype=np.float64) + offset - np.asarray(corner)
        return ndimage.affine_transform(values, matrix, local, output_shape=shape, order=order, mode="nearest")


def _corners(start: IndexTriple, stop: IndexTriple) -> NDArray[np.float64]:
    ends = [(a, b - 1) for a, b in zip(start, stop, strict=True)]
    return np.array(np.meshgrid(*ends, indexing="ij"), dtype=np.float64).reshape(3, -1).T


def _around(points: NDArray[np.float64]) -> tuple[IndexTriple, IndexTriple]:
    z0, y0, x0 = np.floor(points.min(axis=0)).astype(int).tolist()
    z1, y1, x1 = (np.ceil(points.max(axis=0)).astype(int) + 1).tolist()
    return (z0, y0, x0), (z1, y1, x1)


def _grown(
    start: IndexTriple, stop: IndexTriple, voxels: int, shape: IndexTriple | None = None
) -> tuple[IndexTriple, IndexTriple]:
    z0, y0, x0 = (a - voxels for a in start)
    z1, y1, x1 = (b + voxels for b in stop)
    return _clipped((z0, y0, x0), (z1, y1, x1), (0, 0, 0), shape) if shape else ((z0, y0, x0), (z1, y1, x1))


def _clipped(
    start: IndexTriple, stop: IndexTriple, low: IndexTriple, high: IndexTriple
) -> tuple[IndexTriple, IndexTriple]:
    """What of a box lies in another; one voxel of that where nothing does."""
    z0, y0, x0 = (min(max(a, least), most - 1) for a, least, most in zip(start, low, high, strict=True))
    z1, y1, x1 = (max(min(b, most), a + 1) for a, b, most in zip((z0, y0, x0), stop, high, strict=True))
    return (z0, y0, x0), (z1, y1, x1)
