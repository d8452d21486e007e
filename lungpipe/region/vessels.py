"""Vessels round a nodule: tubes brighter than lung, found at several scales in mm on an isotropic crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import DatasetError, RegionError
from lungpipe.region.isotropic import Isotropic, isotropic_crop
from lungpipe.region.ridges import curvatures, tubeness
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume

#: Neighbours that share a face, an edge or a corner.
ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class VesselSettings:
    """What counts as a vessel.

    Parameters
    ----------
    step_mm : float
        Side of the isotropic voxels that vessels are looked for on.
    scales_mm : tuple of float
        Standard deviations of the Gaussians under which tubes are looked for; a tube of radius r answers best at about
        0.7 r.
    bright_hu : float
        A vessel is brighter than this. Half way between lung and blood is about -400 HU; thin vessels never get there.
    tube : float
        Tubeness (0 to 1) of a vessel's core; bright voxels next to the core belong to the vessel too.
    rim_mm : float
        Depth of the blurred rim of nodule and wall, in which tubes are not looked for; vessels are continued straight
        through the nodule's.
    wall_mm : float
        Thickness of an airway's wall, which is no vessel.
    shortest_mm : float
        Diagonal of the box of the shortest piece that is kept.

    Raises
    ------
    DatasetError
        If a length is not positive.
    """

    step_mm: float = 0.8
    scales_mm: tuple[float, ...] = (0.9, 1.4, 2.2, 3.4)
    bright_hu: float = -550.0
    tube: float = 0.3
    rim_mm: float = 1.2
    wall_mm: float = 1.2
    shortest_mm: float = 5.0

    def __post_init__(self) -> None:
        lengths = (self.step_mm, self.rim_mm, self.wall_mm, self.shortest_mm, *self.scales_mm)
        if not self.scales_mm or min(lengths) <= 0:
            raise DatasetError(f"lengths of vessels must be positive, mm, and there must be a scale, found {self}")


#: What vessels are unless told otherwise.
DEFAULT = VesselSettings()


def vessel_mask(
    volume: CTVolume,
    within: Mask,
    nodule: Mask | None = None,
    airways: Mask | None = None,
    settings: VesselSettings = DEFAULT,
) -> Mask:
    """Vessels in a part of a lung, such as a ball of 30 mm round a nodule.

    Bright voxels in and next to tubes by the multi-scale filter of Frangi et al. (1998), doi:10.1007/BFb0056195. What
    lies outside ``within``, and the nodule with its rim, is replaced by lung before filtering, so that neither is taken
    for a vessel nor joins two of them.

    Parameters
    ----------
    volume : CTVolume
        HU.
    within : Mask
        Where vessels are looked for; part of a lung, vessels included.
    nodule : Mask, optional
    airways : Mask, optional
        Their lumen.
    settings : VesselSettings

    Returns
    -------
    Mask
        On the box of ``within``.

    Raises
    ------
    RegionError
        If ``within`` is empty.
    """
    if not within.n_voxels:
        raise RegionError("empty_mask", "there is no place to look for vessels in; give a part of the lung")
    crop = isotropic_crop(volume, *within.bounds, settings.step_mm)
    empty = np.zeros(crop.shape, dtype=np.bool_)
    found = vessel_voxels(
        crop,
        crop.sample(within),
        empty if nodule is None else crop.sample(nodule),
        empty if airways is None else crop.sample(airways),
        settings,
    )
    box = within.bounds
    voxels = crop.back(found, volume.frame, *box) & within.within(*box).voxels
    if nodule is not None:
        voxels &= ~nodule.within(*box).voxels
    return Mask(voxels, volume.frame, box[0])


def vessel_voxels(
    crop: Isotropic,
    within: NDArray[np.bool_],
    nodule: NDArray[np.bool_],
    airways: NDArray[np.bool_],
    settings: VesselSettings = DEFAULT,
) -> NDArray[np.bool_]:
    """Vessels on an isotropic crop; see :func:`vessel_mask`.

    Parameters
    ----------
    crop : Isotropic
    within, nodule, airways : ndarray of bool, shape (z, y, x)
        On the crop's grid; ``nodule`` and ``airways`` may be empty.
    settings : VesselSettings
    """
    step = crop.step_mm
    from_nodule = distance_outside(nodule, step)
    free = within & (from_nodule > settings.rim_mm)
    if not free.any():
        return np.zeros(crop.shape, dtype=np.bool_)
    bright = (crop.hu > settings.bright_hu) & within & ~nodule & (distance_outside(airways, step) > settings.wall_mm)
    dark = crop.hu[free & (crop.hu <= settings.bright_hu)]
    background = float(np.median(dark)) if dark.size else settings.bright_hu - 300.0
    filled = np.where(free, crop.hu, np.float32(background))
    # A vessel's core is no part of the blurred border of lung and wall.
    candidates = bright & free & (ndimage.distance_transform_edt(within) * step > settings.rim_mm)
    best = np.zeros(int(np.count_nonzero(candidates)))
    for scale_mm in settings.scales_mm:
        best = np.maximum(best, tubeness(curvatures(filled, scale_mm, step, candidates)))
    core = np.zeros(crop.shape, dtype=np.bool_)
    core[candidates] = best >= settings.tube
    found = np.asarray(ndimage.binary_dilation(core, iterations=2, mask=bright & free)) | core
    found = _without_specks(found, settings.shortest_mm / step)
    if not found.any():
        return found
    # Through the rim a vessel goes on as far as half its own height above the lung: the nodule's own blur is lower.
    peak = ndimage.maximum_filter(np.where(found, crop.hu, np.float32(background)), 3)
    away, nearest = ndimage.distance_transform_edt(~found, return_indices=True)
    level = (peak[tuple(nearest)] + background) / 2
    deep = np.maximum(settings.rim_mm - from_nodule, 0.0)
    straight = away * step <= deep + 1.2 * step
    return np.asarray(found | (bright & ~free & straight & (crop.hu > level)))


def distance_outside(inside: NDArray[np.bool_], step_mm: float) -> NDArray[np.float64]:
    """Distance of each voxel's centre (z, y, x) to the surface of a mask, mm; 0 inside, infinite from nothing."""
    if not inside.any():
        return np.full(inside.shape, np.inf)
    return np.maximum(ndimage.distance_transform_edt(~inside) - 0.5, 0.0) * step_mm


def _without_specks(found: NDArray[np.bool_], shortest: float) -> NDArray[np.bool_]:
    """Pieces whose box has a diagonal of at least ``shortest`` voxels."""
    labels, _ = ndimage.label(found, ALL_NEIGHBOURS)
    boxes = ndimage.find_objects(labels)
    long = [float(np.linalg.norm([side.stop - side.start for side in box])) >= shortest for box in boxes]
    return np.asarray(np.array([False, *long])[labels])
