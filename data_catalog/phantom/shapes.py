"""A nodule's outline at its true size, as a smooth signed distance on a fine grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Spacing of the fine grid, mm, on all axes.
FINE_MM = 0.7
#: Width (one standard deviation) of the smoothing that takes the steps of pixels and slices off an outline, mm.
SMOOTHING_MM = 0.7
#: Room around the outline on the fine grid, mm.
MARGIN_MM = 4.0


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """A nodule's surface.

    Parameters
    ----------
    distance_mm : ndarray of float32, shape (z, y, x)
        Signed distance to the surface on a grid of ``FINE_MM``, mm; negative inside.
    centre_index : tuple of float
        Fractional index (z, y, x) of the centre of the surface's box.
    size_mm : tuple of float
        Full sides (x, y, z) of the surface's box, mm.
    volume_mm3, area_mm2 : float
        Volume inside the surface and its area.
    """

    distance_mm: NDArray[np.float32]
    centre_index: Triple
    size_mm: Triple
    volume_mm3: float
    area_mm2: float

    @property
    def diameter_mm(self) -> float:
        """Diameter of the ball of the same volume, mm."""
        return float(np.cbrt(6 * self.volume_mm3 / np.pi))

    @property
    def sphericity(self) -> float:
        """Area of the ball of the same volume over the area of the surface."""
        return float(np.cbrt(36 * np.pi * self.volume_mm3**2) / self.area_mm2)

    @property
    def radius_mm(self) -> float:
        """Half the longest side of the box, mm."""
        return max(self.size_mm) / 2


def shape_from_mask(mask: NDArray[np.bool_], spacing_mm: Triple) -> Shape | None:
    """Smooth a voxel mask into a surface of the same volume.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        The nodule.
    spacing_mm : tuple of float
        Voxel spacing (z, y, x), mm.

    Returns
    -------
    Shape or None
        None where the smoothed nodule falls into pieces.
    """
    spacing = np.asarray(spacing_mm)
    padding = np.ceil(MARGIN_MM / spacing).astype(int) + 1
    padded = np.pad(mask, [(int(n), int(n)) for n in padding])
    outside = ndimage.distance_transform_edt(~padded, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(padded, sampling=spacing_mm)
    coarse = np.asarray(outside, dtype=np.float32) - np.asarray(inside, dtype=np.float32)
    extent_mm = (np.asarray(padded.shape) - 1) * spacing
    fine_shape = np.floor(extent_mm / FINE_MM).astype(int) + 1
    fine = ndimage.affine_transform(coarse, FINE_MM / spacing, output_shape=tuple(fine_shape), order=1)
    fine = ndimage.gaussian_filter(fine, SMOOTHING_MM / FINE_MM, truncate=3)
    wanted = round(float(mask.sum()) * float(np.prod(spacing)) / FINE_MM**3)
    fine -= np.partition(fine, wanted, axis=None)[wanted]
    _, pieces = ndimage.label(fine < 0)
    if pieces != 1:
        return None
    vertices, faces, _, _ = marching_cubes(fine, 0.0, allow_degenerate=False)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    centre, size = ((low + high) / 2).tolist(), ((high - low) * FINE_MM).tolist()
    corners = vertices[faces].astype(np.float64)
    volume = abs(float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum())) / 6
    return Shape(
        np.asarray(fine, dtype=np.float32),
        (centre[0], centre[1], centre[2]),
        (size[2], size[1], size[0]),
        volume * FINE_MM**3,
        float(mesh_surface_area(vertices * FINE_MM, faces)),
    )


def surface_points_mm(shape: Shape) -> NDArray[np.float64]:
    """Points on the surface, (x, y, z) in mm from the centre of its box, shape (n, 3)."""
    vertices, faces, _, _ = marching_cubes(shape.distance_mm, 0.0, allow_degenerate=False)
    points = np.concatenate([vertices, vertices[faces].mean(axis=1)])
    return np.asarray((points - np.asarray(shape.centre_index))[:, ::-1] * FINE_MM, dtype=np.float64)


def sample_distance_mm(shape: Shape, offset_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Signed distance to the surface at points near it.

    Parameters
    ----------
    shape : Shape
        The nodule.
    offset_mm : ndarray, shape (..., 3)
        Points (x, y, z), mm from the centre of the nodule's box.

    Returns
    -------
    ndarray, shape (...)
        Negative inside, mm; off the fine grid (at least ``MARGIN_MM`` away) its largest value.
    """
    index = np.moveaxis(offset_mm[..., ::-1] / FINE_MM + np.asarray(shape.centre_index), -1, 0)
    far = float(shape.distance_mm.max())
    return np.asarray(ndimage.map_coordinates(shape.distance_mm, index, order=1, cval=far), dtype=np.float32)
