"""Arrays bound to the grid they live on: a CT volume and a mask, each whole or a crop."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry, IndexTriple

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: HU written where a scanner padded the image outside its field of view.
PADDING_HU = -1024


@dataclass(frozen=True, eq=False)
class Block:
    """A read-only block of voxels, and where it sits in the full image's grid.

    Regions and features depend on the full image's lattice (see ``radiomics/lattice.py``), so a crop keeps the
    full grid (``frame``) and its own first voxel (``start``).

    Parameters
    ----------
    voxels : ndarray, shape (z, y, x)
        The values of the block.
    frame : Geometry
        Grid of the full image.
    start : tuple of int
        Index (z, y, x) in ``frame`` of the block's voxel (0, 0, 0).

    Raises
    ------
    GeometryError
        If the block leaves the frame.
    """

    voxels: NDArray[Any]
    frame: Geometry
    start: IndexTriple = field(default=(0, 0, 0))

    def __post_init__(self) -> None:
        stop = np.add(self.start, self.voxels.shape)
        if self.voxels.ndim != 3 or min(self.start) < 0 or np.any(stop > self.frame.shape):
            raise GeometryError(
                f"a block of shape {self.voxels.shape} at {self.start} leaves its image of shape {self.frame.shape}"
            )
        view = self.voxels.view()
        view.flags.writeable = False
        object.__setattr__(self, "voxels", view)

    @property
    def shape(self) -> IndexTriple:
        """Voxels of the block along (z, y, x)."""
        z, y, x = self.voxels.shape
        return z, y, x

    @property
    def stop(self) -> IndexTriple:
        """Index (z, y, x) in the frame just past the block."""
        return self.start[0] + self.shape[0], self.start[1] + self.shape[1], self.start[2] + self.shape[2]

    @cached_property
    def geometry(self) -> Geometry:
        """Grid of the block itself."""
        return self.frame.crop(self.start, self.shape)

    def crop(self, start: IndexTriple, stop: IndexTriple) -> Self:
        """Cut the half-open box from ``start`` to ``stop`` (frame indices, z, y, x) out of the block.

        Raises
        ------
        GeometryError
            If the box leaves the block.
        """
        low = np.subtract(start, self.start)
        high = np.subtract(stop, self.start)
        if np.any(low < 0) or np.any(high > self.shape) or np.any(high <= low):
            raise GeometryError(f"box {start}..{stop} leaves the block {self.start}..{self.stop}")
        window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return type(self)(self.voxels[window], self.frame, start)

    def overlap(self, start: IndexTriple, stop: IndexTriple) -> Self:
        """Cut out what of a half-open box (frame indices, z, y, x) lies in the block.

        Raises
        ------
        GeometryError
            If none of it does.
        """
        low, high = np.maximum(start, self.start).tolist(), np.minimum(stop, self.stop).tolist()
        return self.crop((low[0], low[1], low[2]), (high[0], high[1], high[2]))


@dataclass(frozen=True, eq=False)
class CTVolume(Block):
    """A CT image in HU (int16 or float32), whole or a crop."""

    @property
    def hu(self) -> NDArray[Any]:
        """HU values, shape (z, y, x)."""
        return self.voxels

    @cached_property
    def hu_sha256(self) -> str:
        """SHA-256 over the HU as int16, little-endian: one image under two names, or in two encodings, has it twice."""
        return hashlib.sha256(np.ascontiguousarray(self.hu, dtype="<i2").data).hexdigest()


@dataclass(frozen=True, eq=False)
class Mask(Block):
    """A boolean mask, usually a crop of its image."""

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        if self.voxels.dtype != np.bool_:
            raise GeometryError(f"a mask holds booleans, found {self.voxels.dtype}")

    @cached_property
    def n_voxels(self) -> int:
        """Number of voxels inside."""
        return int(np.count_nonzero(self.voxels))

    @property
    def volume_mm3(self) -> float:
        """Volume inside by voxel count, mm3."""
        return self.n_voxels * self.frame.voxel_volume_mm3

    @cached_property
    def bounds(self) -> tuple[IndexTriple, IndexTriple]:
        """Tight half-open bounding box (start, stop) in frame indices (z, y, x).

        Raises
        ------
        GeometryError
            If the mask is empty.
        """
        if not self.n_voxels:
            raise GeometryError("an empty mask has no bounding box")
        low, high = [], []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(self.voxels.any(axis=others)) + self.start[axis]
            low.append(int(hit[0]))
            high.append(int(hit[-1]) + 1)
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """LPS centroid (x, y, z) of the mask, mm."""
        index = np.argwhere(self.voxels).mean(axis=0) + np.asarray(self.start)
        return self.frame.to_lps(index)

    def within(self, start: IndexTriple, stop: IndexTriple) -> Mask:
        """The same mask on another box (frame indices, half open): cut off or filled with False."""
        out = np.zeros(np.subtract(stop, start), dtype=np.bool_)
        low = np.maximum(start, self.start)
        high = np.minimum(stop, self.stop)
        if np.all(high > low):
            into = tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))
            source = tuple(slice(int(a), int(b)) for a, b in zip(low - self.start, high - self.start, strict=True))
            out[into] = self.voxels[source]
        return Mask(out, self.frame, start)

    def trimmed(self) -> Mask:
        """The same mask on its tight bounding box."""
        return self.within(*self.bounds)

    @property
    def content_id(self) -> str:
        """Sixteen hex digits naming the mask's voxels and their place in the image grid, whatever its crop."""
        tight = self.trimmed() if self.n_voxels else self
        digest = hashlib.sha256(repr((tight.frame, tight.start, tight.shape)).encode())
        digest.update(np.packbits(tight.voxels).tobytes())
        return digest.hexdigest()[:16]


def box_around(
    frame: Geometry, start: IndexTriple, stop: IndexTriple, margin_mm: float
) -> tuple[IndexTriple, IndexTriple]:
    """Grow a half-open box by at least ``margin_mm`` on every side, clipped to the image.

    Parameters
    ----------
    frame : Geometry
        Grid of the full image.
    start, stop : tuple of int
        Box in frame indices (z, y, x).
    margin_mm : float
        Margin in mm; rounded up to whole voxels on each axis.
    """
    margin = [int(np.ceil(margin_mm / s)) for s in frame.spacing_mm]
    low = [max(0, a - m) for a, m in zip(start, margin, strict=True)]
    high = [min(n, b + m) for n, b, m in zip(frame.shape, stop, margin, strict=True)]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
