"""The one place where array indices (z, y, x) and patient coordinates LPS (x, y, z) in mm meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Triple = tuple[float, float, float]
IndexTriple = tuple[int, int, int]

#: Largest difference, in mm, at which two grids' corner voxels count as the same place.
POSITION_TOLERANCE_MM = 1e-2
#: Largest deviation of ``direction @ direction.T`` from the identity.
ORTHONORMAL_TOLERANCE = 1e-3


def _is_orthonormal(direction: tuple[float, ...]) -> bool:
    """Whether nine cosines make an orthonormal matrix; an archive has a million grids, and numpy takes twenty times as long."""
    if len(direction) != 9:
        return False
    rows = direction[:3], direction[3:6], direction[6:]
    return all(
        abs(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] - (a is b)) <= ORTHONORMAL_TOLERANCE for a in rows for b in rows
    )


@dataclass(frozen=True, slots=True)
class Geometry:
    """A regular voxel grid in patient space.

    Parameters
    ----------
    shape : tuple of int
        Voxels along (z, y, x).
    spacing_mm : tuple of float
        Distance between voxel centres along (z, y, x), mm.
    origin_mm : tuple of float
        LPS position (x, y, z) of the centre of voxel (0, 0, 0), mm.
    direction : tuple of float
        Nine cosines, row by row, of the matrix whose columns are the LPS directions of growing x, y and z
        index (the convention of ITK).

    Raises
    ------
    GeometryError
        If a size is not positive or the direction matrix is not orthonormal.
    """

    shape: IndexTriple
    spacing_mm: Triple
    origin_mm: Triple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(f"a volume needs three positive sizes (z, y, x), found {self.shape}")
        if len(self.spacing_mm) != 3 or not all(0 < s < float("inf") for s in self.spacing_mm):
            raise GeometryError(f"spacing must be three positive lengths in mm, found {self.spacing_mm}")
        if not _is_orthonormal(self.direction):
            raise GeometryError(f"direction cosines are not orthonormal: {self.direction}")

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Direction cosines, shape (3, 3); columns are the LPS directions of the x, y and z index."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, mm3."""
        return float(np.prod(self.spacing_mm))

    def to_lps(self, index_zyx: ArrayLike) -> NDArray[np.float64]:
        """Patient coordinates of (fractional) voxel indices.

        Parameters
        ----------
        index_zyx : array_like, shape (..., 3)
            Indices along (z, y, x); integers are voxel centres.

        Returns
        -------
        ndarray, shape (..., 3)
            LPS points (x, y, z), mm. DICOM PS3.3 C.7.6.2.1.1.
        """
        index_xyz = np.asarray(index_zyx, dtype=np.float64)[..., ::-1]
        scaled = index_xyz * np.asarray(self.spacing_mm[::-1])
        return np.asarray(scaled @ self.matrix.T + np.asarray(self.origin_mm))

    def to_index(self, lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Fractional (z, y, x) indices of LPS points; the inverse of :meth:`to_lps`.

        Parameters
        ----------
        lps_mm : array_like, shape (..., 3)
            LPS points (x, y, z), mm.

        Returns
        -------
        ndarray, shape (..., 3)
            Fractional indices along (z, y, x).
        """
        offset = np.asarray(lps_mm, dtype=np.float64) - np.asarray(self.origin_mm)
        index_xyz = (offset @ _inverse(self.direction).T) / np.asarray(self.spacing_mm[::-1])
        return np.asarray(index_xyz[..., ::-1])

    def contains(self, lps_mm: ArrayLike) -> bool:
        """Whether an LPS point (x, y, z) in mm lies inside a voxel of the grid."""
        index = self.to_index(lps_mm)
        return bool(np.all(index >= -0.5) and np.all(index < np.asarray(self.shape) - 0.5))

    def crop(self, start: IndexTriple, shape: IndexTriple) -> Geometry:
        """Geometry of the sub-grid that begins at voxel ``start`` (z, y, x).

        ``start`` may lie outside the grid: the result is then a grid on the same lattice that reaches past it.
        """
        x, y, z = self.to_lps(start).tolist()
        return Geometry(shape, self.spacing_mm, (x, y, z), self.direction)

    def mismatch(self, other: Geometry, tolerance_mm: float = POSITION_TOLERANCE_MM) -> str | None:
        """Say how two grids differ, or None when they are the same within ``tolerance_mm`` at every corner."""
        if self.shape != other.shape:
            return f"shapes (z, y, x) differ: {self.shape} and {other.shape}"
        far = np.asarray(self.shape) - 1
        corners = np.array(np.meshgrid(*[[0, n] for n in far], indexing="ij")).reshape(3, -1).T
        gap_mm = float(np.abs(self.to_lps(corners) - other.to_lps(corners)).max())
        if gap_mm > tolerance_mm:
            return f"corner voxels lie up to {gap_mm:.3g} mm apart (tolerance {tolerance_mm:g} mm)"
        return None


@lru_cache(maxsize=64)
def _inverse(direction: tuple[float, ...]) -> NDArray[np.float64]:
    """Inverse of a direction matrix, made once for the many points that are placed on a grid."""
    matrix = np.asarray(direction, dtype=np.float64).reshape(3, 3)
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
