"""What of a nodule's surroundings counts: its own lung, without large vessels and airways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.region.vessels import vessel_mask
from lungpipe.volume import Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.region.lung import Lungs
    from lungpipe.volume import CTVolume

#: The lung that a nodule belongs to has the most voxels within this distance of its box, mm.
NEAR_MM = 10.0
#: A vessel is large where a ball of this radius fits into it, mm.
LARGE_VESSEL_MM = 2.0
#: The wall of an airway counts with it, mm.
AIRWAY_WALL_MM = 1.0


def lung_of(lungs: Lungs, nodule: Mask) -> Mask:
    """The lung that a nodule belongs to: surroundings do not reach across the mediastinum into the other one.

    Parameters
    ----------
    lungs : Lungs
    nodule : Mask
        On the same frame; not empty.

    Returns
    -------
    Mask
        One lung; both where neither lies near the nodule.
    """
    start, stop = box_around(nodule.frame, *nodule.bounds, NEAR_MM)
    counts = np.bincount(_labels_within(lungs, start, stop).ravel(), minlength=3)[1:]
    if not counts.any():
        return lungs.mask
    return Mask(lungs.voxels == 1 + int(np.argmax(counts)), lungs.frame, lungs.start)


def _labels_within(lungs: Lungs, start: IndexTriple, stop: IndexTriple) -> NDArray[np.uint8]:
    low, high = np.maximum(start, lungs.start), np.minimum(stop, lungs.stop)
    if np.any(high <= low):
        return np.zeros(0, dtype=np.uint8)
    window = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, lungs.start, strict=True))
    return lungs.voxels[window]


def large_vessels(volume: CTVolume, lung: Mask, nodule: Mask, reach_mm: float, airways: Mask | None = None) -> Mask:
    """Large vessels of a lung round a nodule; the small ones belong to what the surroundings tell.

    Parameters
    ----------
    volume : CTVolume
    lung : Mask
    nodule : Mask
        Not empty.
    reach_mm : float
        How far from the nodule's box vessels matter, mm.
    airways : Mask, optional
        Their lumen.

    Returns
    -------
    Mask
        On a box round the nodule.

    Notes
    -----
    The opening of the vessels (:func:`lungpipe.region.vessels.vessel_mask`) with a ball of :data:`LARGE_VESSEL_MM`.
    """
    box = box_around(nodule.frame, *nodule.bounds, reach_mm + 2 * LARGE_VESSEL_MM)
    found = vessel_mask(volume, lung.within(*box), nodule, airways)
    spacing_mm = found.frame.spacing_mm
    wide = ndimage.distance_transform_edt(found.voxels, sampling=spacing_mm) >= LARGE_VESSEL_MM
    if not wide.any():
        return Mask(wide, found.frame, found.start)
    opened = ndimage.distance_transform_edt(~wide, sampling=spacing_mm) <= LARGE_VESSEL_MM
    return Mask(opened & found.voxels, found.frame, found.start)


def airways_with_wall(airways: Mask, nodule: Mask, reach_mm: float) -> Mask:
    """Airways round a nodule, their wall included; parameters as in :func:`large_vessels`."""
    start, stop = box_around(nodule.frame, *nodule.bounds, reach_mm + 2 * AIRWAY_WALL_MM)
    lumen = airways.within(start, stop).voxels
    if lumen.any():
        lumen = ndimage.distance_transform_edt(~lumen, sampling=nodule.frame.spacing_mm) <= AIRWAY_WALL_MM
    return Mask(lumen, nodule.frame, start)
