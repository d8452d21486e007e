"""How near vessels come to a nodule, and where they touch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from lungpipe.region.columns import column_distances_mm
from lungpipe.region.contacts import near_cubes
from lungpipe.region.gaps import crossings, distances_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.region.isotropic import Isotropic
    from lungpipe.volume import CTVolume, Mask

#: Slices thicker than so many cubes hold gaps that no cube shows.
THICK_CUBES = 2.0
#: Lung is darker than a vessel's least by this where none is seen, HU.
CONTRAST_HU = 300.0


@dataclass(frozen=True, eq=False, slots=True)
class VesselGaps:
    """What lies between a nodule and vessels.

    Parameters
    ----------
    distance_mm : float
        From surface to surface, 0 where they touch, infinite without vessels.
    near : ndarray of bool, shape (z, y, x)
        Cubes of the vessels that touch the nodule.
    """

    distance_mm: float
    near: NDArray[np.bool_]


def vessel_gaps(
    crop: Isotropic,
    vessels: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    from_nodule_mm: NDArray[np.float64],
    points_mm: NDArray[np.float64],
    facing_mm: NDArray[np.float64],
    bright_hu: float,
    touch_mm: float,
) -> VesselGaps:
    """Measure how near vessels come to a nodule.

    Parameters
    ----------
    crop : Isotropic
    vessels, inside : ndarray of bool, shape (z, y, x)
        Vessels and nodule on the crop's cubes.
    from_nodule_mm : ndarray, shape (z, y, x)
        Distance of each cube's centre from the nodule's surface, 0 inside.
    points_mm : ndarray, shape (n, 3)
        The nodule's surface, places along the index axes.
    facing_mm : ndarray, shape (z, y, x)
        Distances that are known otherwise; see :func:`across_slices_mm`.
    bright_hu : float
        HU at a vessel's surface.
    touch_mm : float
        A vessel touches from this distance on.
    """
    free = vessels & np.isnan(facing_mm)
    sides = crossings(vessels, crop.hu, bright_hu, inside)
    corners = [tuple(corner(sides).astype(int).T) for corner in (np.floor, np.ceil)]
    sides = sides[free[corners[0]] | free[corners[1]]]
    to_sides = distances_mm(KDTree(points_mm), crop.place_mm(sides)) if len(sides) else np.empty(0)
    beside = free & (from_nodule_mm <= crop.step_mm)
    distance_mm = min(
        0.0 if beside.any() else float("inf"),
        float(to_sides.min(initial=np.inf)),
        float(np.min(facing_mm, where=vessels & ~free, initial=np.inf)),
    )
    near = (near_cubes(vessels, sides, to_sides, touch_mm) & free) | beside | (vessels & (facing_mm <= touch_mm))
    return VesselGaps(distance_mm, near)


def across_slices_mm(
    volume: CTVolume,
    nodule: Mask,
    crop: Isotropic,
    vessels: NDArray[np.bool_],
    lung: NDArray[np.bool_],
    box: tuple[IndexTriple, IndexTriple],
    bright_hu: float,
) -> NDArray[np.float64]:
    """Distances of vessels that a nodule faces across thick slices, which the cubes of a crop do not show.

    Parameters
    ----------
    volume : CTVolume
        HU.
    nodule : Mask
    crop : Isotropic
        Of the volume in the box.
    vessels, lung : ndarray of bool, shape (z, y, x)
        On the crop's cubes.
    box : tuple
        Half-open, frame indices (z, y, x).
    bright_hu : float
        What is darker is lung.

    Returns
    -------
    ndarray, shape (z, y, x)
        On the crop's cubes, see :func:`lungpipe.region.columns.column_distances_mm`; NaN everywhere on thin slices.
    """
    unknown = np.full(crop.shape, np.nan)
    if max(volume.frame.spacing_mm) <= THICK_CUBES * crop.step_mm or not vessels.any():
        return unknown
    part = volume.overlap(*box)
    own = nodule.within(part.start, part.stop).voxels
    if not own.any():
        return unknown
    dark = crop.hu[lung & (crop.hu <= bright_hu)]
    lung_hu = float(np.median(dark)) if dark.size else bright_hu - CONTRAST_HU
    voxel = crop.voxels_of(volume.frame, part.start, part.stop)
    found = np.zeros(own.shape, dtype=np.bool_)
    found[tuple(index[cube] for index, cube in zip(voxel, np.nonzero(vessels), strict=True))] = True
    distance_mm = column_distances_mm(part.hu, own, found & ~own, volume.frame.spacing_mm, lung_hu)
    # Cubes in the nodule's own voxels are cut off at its corners: its blur, no vessel that comes near.
    return np.where(own[np.ix_(*voxel)], np.inf, distance_mm[np.ix_(*voxel)])
