"""What surrounds a nodule: how far pleura, airways and vessels are, how many of them reach it, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from lungpipe.errors import DatasetError, GeometryError, RegionError
from lungpipe.region.contacts import ContactSettings, count_contacts, near_cubes
from lungpipe.region.fissure import fissure_voxels
from lungpipe.region.gaps import (
    distances_mm,
    gap_mm,
    mask_surface_mm,
    nearest_mm,
    smooth_crossings,
    surface_mm,
)
from lungpipe.region.isotropic import isotropic_crop
from lungpipe.region.location import hilum_lps_mm, labels_in, pleura_distance_mm, relative_height, side_of
from lungpipe.region.vessel_gaps import across_slices_mm, vessel_gaps
from lungpipe.region.vessels import VesselSettings, distance_outside, vessel_voxels
from lungpipe.volume import Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.region.lung import Lungs
    from lungpipe.volume import CTVolume

#: Raise it when the same masks give other values.
VERSION = "2"


@dataclass(frozen=True, slots=True)
class SurroundingsSettings:
    """How surroundings are measured.

    Parameters
    ----------
    ball_radius_mm : float
        Vessels, airways and fissures are looked for so far round the nodule, from its surface: a ball round a small
        nodule, and as much lung beyond a large one.
    vessels : VesselSettings
    contacts : ContactSettings

    Raises
    ------
    DatasetError
        If the radius is not positive.
    """

    ball_radius_mm: float = 20.0
    vessels: VesselSettings = field(default_factory=VesselSettings)
    contacts: ContactSettings = field(default_factory=ContactSettings)

    def __post_init__(self) -> None:
        if not 0 < self.ball_radius_mm < float("inf"):
            raise DatasetError(f"the radius of the ball must be positive, mm, found {self.ball_radius_mm}")


#: How surroundings are measured unless told otherwise.
DEFAULT = SurroundingsSettings()


def surroundings(
    volume: CTVolume,
    nodule: Mask,
    lungs: Lungs,
    airways: Mask | None,
    settings: SurroundingsSettings = DEFAULT,
) -> dict[str, float]:
    """Measure what surrounds a nodule.

    Distances are from the nodule's surface to the structure's, 0 where they touch. What cannot be known is NaN: all of the
    airways where there is no tree, a vessel or a fissure that the ball does not show, the hilum without main bronchi.

    Parameters
    ----------
    volume : CTVolume
        HU.
    nodule : Mask
        Not empty, on the volume's frame.
    lungs : Lungs
        Labels of both lungs, 1 right and 2 left, and the airways outside of them.
    airways : Mask or None
        Lumen of the airway tree; None where none was found.
    settings : SurroundingsSettings

    Returns
    -------
    dict of str to float
        ``distance_pleura_mm``, ``distance_airway_mm`` (to the lumen), ``distance_vessel_mm``, ``distance_fissure_mm``,
        ``distance_hilum_mm``; ``n_airways`` and ``n_vessels`` that touch the nodule or point at it;
        ``airway_volume_fraction`` and ``vessel_volume_fraction`` of the part of the ball that is lung; ``side`` (1 right,
        2 left), ``relative_height`` (0 base, 1 apex), ``relative_hilum_pleura`` (0 at the hilum, 1 at the pleura).

    Raises
    ------
    RegionError
        ``empty_mask``, ``nodule_outside_lung``.
    GeometryError
        If the nodule or a structure is of another image.

    References
    ----------
    Structures, distances, counts and normalised volumes are those of studies that relate pleurae, airways and vessels
    round a nodule to its malignancy; definitions are this module's own.
    """
    for mask in (nodule, lungs, airways):
        if mask is not None and (told := volume.frame.mismatch(mask.frame)):
            raise GeometryError(f"nodule, lungs and airways must be of the volume's own grid: {told}")
    if not nodule.n_voxels:
        raise RegionError("empty_mask", "the nodule's mask is empty, so it has no surroundings")
    if airways is not None and not airways.n_voxels:
        airways = None
    side = side_of(nodule, lungs)
    points_mm = mask_surface_mm(nodule)
    hilum_lps = hilum_lps_mm(lungs, side)
    hilum_mm = None if hilum_lps is None else volume.frame.to_index(hilum_lps) * np.asarray(volume.frame.spacing_mm)
    to_pleura = pleura_distance_mm(nodule, points_mm, lungs, side, airways, hilum_mm)
    to_hilum = float("nan") if hilum_mm is None else float(np.linalg.norm(points_mm - hilum_mm, axis=1).min())
    return {
        "distance_pleura_mm": to_pleura,
        "distance_airway_mm": _airway_distance_mm(nodule, points_mm, airways),
        "distance_hilum_mm": to_hilum,
        **_in_ball(volume, nodule, points_mm, lungs, side, airways, settings),
        "side": float(side),
        "relative_height": relative_height(lungs, side, nodule.centre_mm),
        "relative_hilum_pleura": to_hilum / (to_hilum + to_pleura) if to_hilum + to_pleura > 0 else float("nan"),
    }


def _airway_distance_mm(nodule: Mask, points_mm: NDArray[np.float64], airways: Mask | None) -> float:
    if airways is None:
        return float("nan")
    low, high = airways.bounds
    both = nodule.within(low, high).voxels & airways.within(low, high).voxels
    if both.any():
        return 0.0

    def surface(start: IndexTriple, stop: IndexTriple) -> NDArray[np.float64]:
        # Only where airways are, and a little more.
        a = np.maximum(np.subtract(low, 2), start).tolist()
        b = np.minimum(np.add(high, 2), stop).tolist()
        if np.any(np.less_equal(b, a)):
            return np.empty((0, 3))
        box = (a[0], a[1], a[2]), (b[0], b[1], b[2])
        return surface_mm(airways.within(*box).voxels, box[0], airways.frame.spacing_mm)

    return nearest_mm(nodule, points_mm, surface)


def _in_ball(
    volume: CTVolume,
    nodule: Mask,
    points_mm: NDArray[np.float64],
    lungs: Lungs,
    side: int,
    airways: Mask | None,
    settings: SurroundingsSettings,
) -> dict[str, float]:
    """What is measured on the isotropic crop round the nodule."""
    box = box_around(volume.frame, *nodule.bounds, settings.ball_radius_mm)
    crop = isotropic_crop(volume, *box, settings.vessels.step_mm)
    step_mm = crop.step_mm
    inside = crop.sample(nodule)
    if not inside.any():  # smaller than a cube
        index = np.rint((points_mm.mean(axis=0) - np.asarray(crop.first_mm)) / step_mm).astype(int)
        inside[tuple(np.clip(index, 0, np.subtract(crop.shape, 1)))] = True
    from_nodule_mm = distance_outside(inside, step_mm)
    ball = (from_nodule_mm <= settings.ball_radius_mm) & ~inside
    lumen = np.where(ball, 0.0 if airways is None else crop.share(airways), 0.0)
    tree = lumen >= 0.5
    lung = crop.sample(Mask(labels_in(lungs, *box) == side, volume.frame, box[0])) | inside
    vessels = vessel_voxels(crop, (lung | tree) & ball, inside, tree, settings.vessels)
    fissures = fissure_voxels(crop, (lung | tree) & (ball | inside), inside | vessels | tree)
    n_ball = int(np.count_nonzero((lung | tree) & ball))
    known = airways is not None
    walls = smooth_crossings(tree)
    to_walls = distances_mm(KDTree(points_mm), crop.place_mm(walls))
    touch_mm, bright_hu = settings.contacts.touch_mm, settings.vessels.bright_hu
    facing_mm = across_slices_mm(volume, nodule, crop, vessels, lung & ball, box, bright_hu)
    gaps = vessel_gaps(crop, vessels, inside, from_nodule_mm, points_mm, facing_mm, bright_hu, touch_mm)
    by_airways = near_cubes(tree, walls, to_walls, touch_mm + settings.vessels.wall_mm)
    n_airways = count_contacts(tree, from_nodule_mm, by_airways, step_mm, settings.contacts)
    return {
        "distance_vessel_mm": _or_nan(gaps.distance_mm),
        "distance_fissure_mm": _or_nan(gap_mm(points_mm, crop.place_mm(np.argwhere(fissures).astype(np.float64)))),
        "n_airways": float(n_airways) if known else float("nan"),
        "n_vessels": float(count_contacts(vessels, from_nodule_mm, gaps.near, step_mm, settings.contacts)),
        "airway_volume_fraction": float(lumen.sum()) / n_ball if known and n_ball else float("nan"),
        "vessel_volume_fraction": np.count_nonzero(vessels) / n_ball if n_ball else float("nan"),
    }


def _or_nan(distance_mm: float) -> float:
    return distance_mm if np.isfinite(distance_mm) else float("nan")
