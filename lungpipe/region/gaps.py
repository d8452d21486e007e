"""Distances from surface to surface, mm, to a fraction of a voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from lungpipe.volume import box_around

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.volume import Mask

#: Smoothing of a mask before its surface is placed, in voxels: stairs become slopes, curved surfaces stay.
SMOOTHING_VOXELS = 0.5
#: A smoothed mask still has its own voxels inside and the others outside, by this.
_CLEAR = 1e-3
#: How far round a nodule a surface is looked for, mm: first near by, then further; no lung is wider.
MARGINS_MM = (20.0, 50.0, 120.0)


def crossings(
    inside: NDArray[np.bool_], field: NDArray[np.floating], level: float, beyond: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Where a mask's surface crosses the lines between neighbouring voxel centres.

    Parameters
    ----------
    inside : ndarray of bool, shape (z, y, x)
    field : ndarray, shape (z, y, x)
        Larger than ``level`` inside: the crossing is where it would equal the level between both centres; half way where
        it does not say.
    level : float
    beyond : ndarray of bool, shape (z, y, x), optional
        Voxels across the border of which there is no surface.

    Returns
    -------
    ndarray, shape (n, 3)
        Fractional indices (z, y, x). A mask's voxels at the border of the array have no surface there.
    """
    found = []
    for axis in range(3):
        first = tuple(slice(None, -1) if other == axis else slice(None) for other in range(3))
        second = tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
        differ = inside[first] != inside[second]
        if beyond is not None:
            differ &= ~(beyond[first] | beyond[second])
        index = np.argwhere(differ)
        at = tuple(index.T)
        one, two = field[first][at].astype(np.float64) - level, field[second][at].astype(np.float64) - level
        crosses = one * two < 0
        share = np.where(crosses, one / np.where(crosses, one - two, 1.0), 0.5)
        place = index.astype(np.float64)
        place[:, axis] += share
        found.append(place)
    return np.concatenate(found)


def surface_mm(inside: NDArray[np.bool_], start: IndexTriple, spacing_mm: Triple) -> NDArray[np.float64]:
    """Points of a voxelised surface, without its cuts at the border of the array.

    Parameters
    ----------
    inside : ndarray of bool, shape (z, y, x)
    start : tuple of int
        Index of voxel (0, 0, 0) in the full image.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    ndarray, shape (n, 3)
        Places along the index axes (z, y, x) of the full image, mm, as in :class:`lungpipe.region.isotropic.Isotropic`.
    """
    return np.asarray((smooth_crossings(inside) + np.asarray(start)) * np.asarray(spacing_mm))


def smooth_crossings(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fractional indices (n, 3) of a voxelised surface with its stairs made slopes; see :func:`crossings`."""
    smooth = ndimage.gaussian_filter(inside.astype(np.float32), SMOOTHING_VOXELS, mode="nearest", truncate=4.0)
    field = np.where(inside, np.maximum(smooth, 0.5 + _CLEAR), np.minimum(smooth, 0.5 - _CLEAR))
    return crossings(inside, field, 0.5)


def mask_surface_mm(mask: Mask) -> NDArray[np.float64]:
    """Points (n, 3) of the whole surface of a mask that is not empty; see :func:`surface_mm`."""
    (z, y, x), stop = mask.bounds
    inside = np.pad(mask.within((z, y, x), stop).voxels, 2)
    return surface_mm(inside, (z - 2, y - 2, x - 2), mask.frame.spacing_mm)


def gap_mm(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Shortest distance between two sets of points (n, 3), mm; infinite where one is empty."""
    if not len(one) or not len(other):
        return float("inf")
    return float(distances_mm(KDTree(one), other).min())


def distances_mm(tree: KDTree, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point (n, 3) from the nearest of a set, mm, shape (n,)."""
    return np.atleast_1d(np.asarray(tree.query(points_mm)[0], dtype=np.float64))


def nearest_mm(
    nodule: Mask,
    points_mm: NDArray[np.float64],
    surface: Callable[[IndexTriple, IndexTriple], NDArray[np.float64]],
) -> float:
    """Distance of a nodule from a structure that may be far: looked for near by first.

    Parameters
    ----------
    nodule : Mask
    points_mm : ndarray, shape (n, 3)
        Its surface.
    surface : callable
        Points of the structure's surface in a box (start, stop) of the full image.

    Returns
    -------
    float
        mm; infinite where the image does not show the structure.
    """
    found = float("inf")
    last = None
    for margin_mm in MARGINS_MM:
        box = box_around(nodule.frame, *nodule.bounds, margin_mm)
        if box == last:
            break
        found = gap_mm(points_mm, surface(*box))
        if found <= margin_mm - max(nodule.frame.spacing_mm):
            break
        last = box
    return found
