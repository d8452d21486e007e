"""A lesion's shape as a signed distance, and the share of each voxel of a scan that lies inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import DatasetError
from lungpipe.region.distance import signed_distance_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple, Triple
    from lungpipe.volume import Mask

#: Room round a mask in which its signed distance is kept, mm.
MARGIN_MM = 3.0
#: A voxel is sampled at points no further apart than this, mm.
SAMPLE_MM = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class SignedDistance:
    """A solid shape.

    Parameters
    ----------
    distance_mm : ndarray, shape (z, y, x)
        Signed distance to the surface, mm, negative inside, on a grid along the patient's axes (LPS); positive all over
        the grid's border.
    spacing_mm : tuple of float
        Of that grid, along (z, y, x).
    centre_index : tuple of float
        Fractional index (z, y, x) of the point that is put where the lesion is wanted.

    Raises
    ------
    DatasetError
        If nothing is inside, or the shape reaches the border of its grid.
    """

    distance_mm: NDArray[np.floating]
    spacing_mm: Triple
    centre_index: Triple

    def __post_init__(self) -> None:
        if self.distance_mm.ndim != 3 or not np.any(self.distance_mm < 0):
            raise DatasetError(
                "a lesion's shape is a 3-D array of signed distances, negative inside; found none inside"
            )
        inner = tuple(slice(1, -1) for _ in range(3))
        if np.count_nonzero(self.distance_mm <= 0) != np.count_nonzero(self.distance_mm[inner] <= 0):
            raise DatasetError("a lesion's shape reaches the border of its own grid; give it room all round")

    @property
    def reach_mm(self) -> float:
        """Radius of a ball about the centre that holds the shape, at most a voxel of its grid too large, mm."""
        offset_mm = (np.argwhere(self.distance_mm < 0) - self.centre_index) * self.spacing_mm
        return float(np.linalg.norm(offset_mm, axis=1).max()) + max(self.spacing_mm)

    @property
    def half_sides_mm(self) -> Triple:
        """Half sides (x, y, z) of a box about the centre that holds the shape, at most a voxel of its grid too large, mm."""
        offset_mm = np.abs(np.argwhere(self.distance_mm < 0) - self.centre_index) * self.spacing_mm
        z, y, x = (offset_mm.max(axis=0) + self.spacing_mm).tolist()
        return x, y, z

    def at(self, offset_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Signed distance at points, mm.

        Parameters
        ----------
        offset_mm : ndarray, shape (..., 3)
            Points (x, y, z), mm from the centre.

        Returns
        -------
        ndarray of float32, shape (...)
            Interpolated linearly; beyond the grid its largest value.
        """
        index = np.moveaxis(offset_mm[..., ::-1] / np.asarray(self.spacing_mm) + self.centre_index, -1, 0)
        far = float(self.distance_mm.max())
        return np.asarray(ndimage.map_coordinates(self.distance_mm, index, order=1, cval=far), dtype=np.float32)


def shape_of_mask(mask: Mask) -> SignedDistance:
    """The shape of a mask, its centre at the middle of the mask's box.

    The surface runs between the voxels as :mod:`lungpipe.region.surface` finds it.

    Parameters
    ----------
    mask : Mask
        On an axial grid: the image's axes are the patient's, in either sense.

    Raises
    ------
    DatasetError
        If the mask is empty, or its grid is turned against the patient's axes.
    """
    frame = mask.frame
    signs = np.diag(frame.matrix)
    if not np.allclose(frame.matrix, np.diag(np.sign(signs)), atol=1e-3):
        raise DatasetError(
            "a mask that gives a lesion its shape lies on an axial grid along the patient's axes; this one is turned: "
            "resample it first"
        )
    if not mask.n_voxels:
        raise DatasetError("a mask that gives a lesion its shape holds no voxel")
    margin = [int(np.ceil(MARGIN_MM / s)) + 1 for s in frame.spacing_mm]
    distance = signed_distance_mm(mask.trimmed().voxels, frame.spacing_mm, (margin[0], margin[1], margin[2]))
    upright = distance[tuple(slice(None, None, -1 if sign < 0 else 1) for sign in signs[::-1])]
    z, y, x = ((n - 1) / 2 for n in upright.shape)
    return SignedDistance(upright, frame.spacing_mm, (z, y, x))


def cover_of(
    frame: Geometry, centre_mm: Triple, shape: SignedDistance, margin_mm: float = 0.0
) -> tuple[IndexTriple, NDArray[np.float32]]:
    """Share of each voxel that lies inside a shape.

    Every voxel is sampled at points at most :data:`SAMPLE_MM` apart; each point counts with the share of its own small
    cell that a plane at its distance leaves inside, so the share is exact to first order.

    Parameters
    ----------
    frame : Geometry
        Grid of the image.
    centre_mm : tuple of float
        LPS point (x, y, z) where the shape's centre lies, mm.
    shape : SignedDistance
    margin_mm : float
        Room round the shape's box in what is returned, mm.

    Returns
    -------
    start : tuple of int
        Index (z, y, x) of the first voxel; it may lie before the image's own.
    share : ndarray of float32, shape (z, y, x)
        From 0 outside to 1 inside. It may reach beyond the image.
    """
    spacing = np.asarray(frame.spacing_mm)
    half = np.abs(frame.matrix.T) @ np.asarray(shape.half_sides_mm)  # along the image's (x, y, z)
    reach = (half[::-1] + margin_mm) / spacing + 1.5
    centre = frame.to_index(centre_mm)
    low, high = np.floor(centre - reach).astype(int), np.ceil(centre + reach).astype(int) + 1
    index = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1)
    counts = [max(1, int(np.ceil(s / SAMPLE_MM))) for s in spacing]
    parts = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    cell_mm = float(np.mean(spacing / counts))
    share = np.zeros(index.shape[:-1], dtype=np.float32)
    for part in np.stack(np.meshgrid(*parts, indexing="ij"), axis=-1).reshape(-1, 3):
        points_mm = frame.to_lps(index + part) - np.asarray(centre_mm)
        share += np.clip(0.5 - shape.at(points_mm) / cell_mm, 0, 1)
    z, y, x = low.tolist()
    return (z, y, x), share / np.float32(np.prod(counts))
