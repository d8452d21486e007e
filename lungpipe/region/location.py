"""Where in the lung a nodule lies: side, height, and distances from hilum and pleura."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from lungpipe.errors import RegionError
from lungpipe.region.gaps import nearest_mm, surface_mm
from lungpipe.volume import box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.region.lung import Lungs
    from lungpipe.volume import Mask

RIGHT, LEFT = 1, 2
#: A nodule further than this from both lungs is in neither, mm.
FARTHEST_MM = 15.0
#: The hilum is the middle of the last this many mm of the main bronchus on its way out to the side.
HILUM_DEPTH_MM = 10.0
#: A main bronchus leads at least this far from the midline, mm; less is trachea alone.
SHORTEST_BRONCHUS_MM = 12.0
#: The trachea at the top of the airways gives the midline: so many mm of it.
TRACHEA_MM = 20.0
#: The lung's surface so near to the hilum is root of the lung, not pleura, mm.
ROOT_MM = 20.0
#: And so is what borders on airways at most this far away, mm.
BORDER_MM = 3.0


def side_of(nodule: Mask, lungs: Lungs) -> int:
    """The lung that a nodule is in: 1 right, 2 left.

    Raises
    ------
    RegionError
        ``nodule_outside_lung`` if both lungs are further than 15 mm from it.
    """
    box = box_around(nodule.frame, *nodule.bounds, FARTHEST_MM)
    labels = labels_in(lungs, *box)
    inside = nodule.within(*box).voxels
    near_mm = ndimage.distance_transform_edt(~inside, sampling=nodule.frame.spacing_mm)
    for reach_mm in (0.0, 3.0, FARTHEST_MM):
        counts = np.bincount(labels[near_mm <= reach_mm], minlength=3)
        if counts[RIGHT] or counts[LEFT]:
            return RIGHT if counts[RIGHT] >= counts[LEFT] else LEFT
    raise RegionError(
        "nodule_outside_lung",
        f"the nodule is more than {FARTHEST_MM:g} mm away from both lungs; check its place, or leave it out",
    )


def labels_in(lungs: Lungs, start: IndexTriple, stop: IndexTriple) -> NDArray[np.uint8]:
    """Labels of the lungs on a box of the full image; 0 beyond the lungs' own block."""
    out = np.zeros(np.subtract(stop, start), dtype=np.uint8)
    low, high = np.maximum(start, lungs.start), np.minimum(stop, lungs.stop)
    if np.all(high > low):
        into = tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))
        source = tuple(slice(int(a), int(b)) for a, b in zip(low - lungs.start, high - lungs.start, strict=True))
        out[into] = lungs.voxels[source]
    return out


def hilum_lps_mm(lungs: Lungs, side: int) -> NDArray[np.float64] | None:
    """Where the main bronchus enters the lung: LPS (x, y, z), mm; None where no main bronchus is seen.

    The middle of the last 10 mm of the main bronchus (of the airways outside of the lungs) on its way from the midline,
    which the trachea gives, to that side.

    Parameters
    ----------
    lungs : Lungs
    side : int
        1 right, 2 left.
    """
    if not lungs.airways.n_voxels:
        return None
    start, stop = lungs.airways.bounds
    index = np.argwhere(lungs.airways.within(start, stop).voxels)
    places = lungs.frame.to_lps(index + np.asarray(start))
    trachea = places[:, 2] >= places[:, 2].max() - TRACHEA_MM
    outwards = (places[:, 0] - places[trachea, 0].mean()) * (-1.0 if side == RIGHT else 1.0)
    # Single voxels that stick out move nothing.
    farthest = float(np.quantile(outwards[outwards > 0], 0.99)) if (outwards > 0).any() else 0.0
    if farthest < SHORTEST_BRONCHUS_MM:
        return None
    return np.asarray(places[(outwards >= farthest - HILUM_DEPTH_MM) & (outwards <= farthest)].mean(axis=0))


def relative_height(lungs: Lungs, side: int, centre_lps_mm: NDArray[np.float64]) -> float:
    """Height of a point in a lung, 0 at its base to 1 at its apex."""
    z_mm = lungs.frame.to_lps(np.argwhere(lungs.voxels[:, ::4, ::4] == side) * (1, 4, 4) + np.asarray(lungs.start))[
        :, 2
    ]
    if not len(z_mm) or z_mm.max() <= z_mm.min():
        return float("nan")
    return float(np.clip((centre_lps_mm[2] - z_mm.min()) / (z_mm.max() - z_mm.min()), 0.0, 1.0))


def pleura_distance_mm(
    nodule: Mask,
    points_mm: NDArray[np.float64],
    lungs: Lungs,
    side: int,
    airways: Mask | None,
    hilum_mm: NDArray[np.float64] | None,
) -> float:
    """Distance of a nodule from the pleura, mm, surface to surface; 0 where it touches, NaN where none is seen.

    The pleura is the surface of the nodule's lung, without what borders on airways or is the root of the lung.

    Parameters
    ----------
    nodule : Mask
    points_mm : ndarray, shape (n, 3)
        Its surface, places along the index axes.
    lungs : Lungs
    side : int
    airways : Mask, optional
        Besides those of ``lungs``.
    hilum_mm : ndarray, shape (3,), optional
        Place of the hilum along the index axes.
    """
    trees = [tree for tree in (lungs.airways, airways) if tree is not None and tree.n_voxels]

    def surface(start: IndexTriple, stop: IndexTriple) -> NDArray[np.float64]:
        lung = (labels_in(lungs, start, stop) == side) | nodule.within(start, stop).voxels
        for tree in trees:
            lung |= tree.within(start, stop).voxels
        points = surface_mm(_filled(lung), start, nodule.frame.spacing_mm)
        if hilum_mm is not None:
            points = points[np.linalg.norm(points - hilum_mm, axis=1) > ROOT_MM]
        for tree in trees:
            index = np.argwhere(tree.within(start, stop).voxels) + np.asarray(start)
            if len(index) and len(points):
                gap, _ = KDTree(index * np.asarray(nodule.frame.spacing_mm)).query(
                    points, distance_upper_bound=BORDER_MM
                )
                points = points[~np.isfinite(gap)]
        return points

    found = nearest_mm(nodule, points_mm, surface)
    return found if np.isfinite(found) else float("nan")


def _filled(lung: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A lung with what it wholly surrounds in its box: a hole that reaches the border stays."""
    labels, n = ndimage.label(~lung)
    open_ = np.zeros(n + 1, dtype=np.bool_)
    for axis in range(3):
        for face in (0, -1):
            open_[np.take(labels, face, axis=axis)] = True
    open_[0] = False
    return ~np.asarray(open_[labels])
