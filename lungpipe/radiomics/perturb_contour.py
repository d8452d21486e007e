"""Another outline of the same nodule: grown, shrunk, or redrawn along the image's own edges.

References
----------
.. [1] Zwanenburg et al., Assessing robustness of radiomic features by image perturbation, Scientific Reports 9, 2019.
.. [2] Achanta et al., SLIC superpixels compared to state-of-the-art superpixel methods, IEEE Transactions on Pattern Analysis
   and Machine Intelligence 34(11), 2012.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.segmentation import slic

from lungpipe.errors import RegionError
from lungpipe.region.distance import signed_distance_mm
from lungpipe.segment.agreement import dice
from lungpipe.volume import Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.volume import CTVolume

#: Supervoxels of this volume, mm3, are what [1]_ takes for tumours of many millilitres; ...
SUPERVOXEL_MM3 = 500.0
#: ... a nodule is cut into at least this many, ...
SUPERVOXELS_OF_NODULE = 30
#: ... but none is smaller than this, voxels.
SUPERVOXEL_VOXELS = 8
#: Weight of closeness against likeness of supervoxels, for intensities from 0 to 1. [1]_ takes 0.05 and smooths first; the
#: small supervoxels of nodules then follow the noise and not the edges.
COMPACTNESS = 0.2
#: Intensities from the mask's least to its greatest, and this share of that range on either side.
RANGE_MARGIN = 0.1
#: A supervoxel that the mask fills this far is always kept, one below the other never; between them chance decides.
ALWAYS, NEVER = 0.9, 0.2
#: Steps of the bisection for a wanted Dice, and how far an outline is drawn past the changed one before it is grown instead.
BISECTIONS, PAST = 40, 2.0


def distance_around(mask: Mask, reach_mm: float) -> tuple[NDArray[np.float64], IndexTriple]:
    """Signed distance (mm) of the voxels round a mask, on a box clipped to the image, and where that begins (z, y, x)."""
    tight = mask.trimmed()
    z, y, x = (int(np.ceil(reach_mm / s)) + 1 for s in mask.frame.spacing_mm)
    field = signed_distance_mm(tight.voxels, mask.frame.spacing_mm, (z, y, x))
    cuts, start = [], []
    for low, n, margin, size in zip(tight.start, tight.shape, (z, y, x), mask.frame.shape, strict=True):
        first, last = max(0, low - margin), min(size, low + n + margin)
        cuts.append(slice(first - low + margin, last - low + margin))
        start.append(first)
    return field[tuple(cuts)], (start[0], start[1], start[2])


def with_volume(mask: Mask, fraction: float) -> Mask:
    """Grow or shrink a mask to ``1 + fraction`` of its voxels, the nearest to its surface first, and at least to one.

    Voxels as near as each other come in the order of the grid, so the number is met exactly, unless the image ends.
    """
    wanted = max(1, round(mask.n_voxels * (1 + fraction)))
    radius_mm = float(np.cbrt(3 * mask.volume_mm3 / (4 * np.pi)))
    # No body grows less for its reach than a ball; two voxels more for the steps of the grid.
    reach_mm = max(0.0, radius_mm * (np.cbrt(1 + max(fraction, 0.0)) - 1)) + 2 * max(mask.frame.spacing_mm)
    field, start = distance_around(mask, reach_mm)
    order = np.argsort(field, axis=None, kind="stable")
    inside = np.zeros(field.size, dtype=np.bool_)
    inside[order[:wanted]] = True
    return Mask(inside.reshape(field.shape), mask.frame, start)


def at_distance(mask: Mask, distance_mm: float) -> Mask:
    """Grow a mask by a distance from its surface, or shrink it where that is negative.

    Raises
    ------
    RegionError
        If nothing is left.
    """
    field, start = distance_around(mask, max(distance_mm, 0.0))
    found = Mask(field <= distance_mm, mask.frame, start)
    if not found.n_voxels:
        raise RegionError("empty_region", f"no part of the nodule lies {-distance_mm:g} mm deep")
    return found


def fraction_for_dice(wanted: float, *, grown: bool) -> float:
    """Volume fraction at which a grown (or shrunk) mask overlaps the original with a Dice coefficient.

    One holds the other, so Dice is ``2 / (2 + fraction)`` for the grown and ``2 (1 + fraction) / (2 + fraction)`` for the shrunk.
    """
    return 2 * (1 - wanted) / wanted if grown else wanted / (2 - wanted) - 1


def _supervoxel_mm3(mask: Mask) -> float:
    wanted_mm3 = min(SUPERVOXEL_MM3, mask.volume_mm3 / SUPERVOXELS_OF_NODULE)
    return max(wanted_mm3, SUPERVOXEL_VOXELS * mask.frame.voxel_volume_mm3)


def reach_mm(mask: Mask) -> float:
    """How far round a mask's box supervoxels are made, mm: two of them."""
    return 2 * float(np.cbrt(_supervoxel_mm3(mask))) + max(mask.frame.spacing_mm)


def randomised(volume: CTVolume, mask: Mask, rng: np.random.Generator) -> Mask:
    """Redraw a mask from supervoxels, each kept with a probability that is its overlap with the mask [1]_.

    Supervoxels [2]_ follow the image's edges, so the outline changes where the image leaves it open. The one that holds most
    of the mask is always kept.

    Parameters
    ----------
    volume : CTVolume
        Holds the mask.
    mask : Mask
        Not empty.
    rng : Generator

    Notes
    -----
    Zwanenburg et al. cut tumours into supervoxels of 500 mm3; nodules of that size would come and go as a whole, so here a
    supervoxel is at most a thirtieth of the nodule (and at least eight voxels).
    """
    voxel_mm3, size_mm3 = mask.frame.voxel_volume_mm3, _supervoxel_mm3(mask)
    crop = volume.overlap(*box_around(mask.frame, *mask.bounds, reach_mm(mask)))
    inside = mask.within(crop.start, crop.stop).voxels
    hu = crop.hu.astype(np.float64)
    least, most = float(hu[inside].min()), float(hu[inside].max())
    margin = max(RANGE_MARGIN * (most - least), 1.0)
    scaled = (np.clip(hu, least - margin, most + margin) - least + margin) / (most - least + 2 * margin)
    labels = slic(
        scaled,
        n_segments=max(1, round(crop.hu.size * voxel_mm3 / size_mm3)),
        compactness=COMPACTNESS,
        spacing=mask.frame.spacing_mm,
        channel_axis=None,
        start_label=0,
    )
    held = np.bincount(labels[inside], minlength=int(labels.max()) + 1)
    chance = held / np.bincount(labels.ravel())
    kept = (rng.random(len(chance)) < chance) & (chance >= NEVER) | (chance >= ALWAYS)
    kept[np.argmax(held)] = True
    return Mask(kept[labels], mask.frame, crop.start)


def drawn_to_dice(original: Mask, changed: Mask, wanted: float) -> Mask:
    """Draw an outline from an original (Dice 1) towards a changed one, and on, until it has a wanted Dice.

    Between the two, and as far past the changed one, it is the zero of the weighted mean of both signed distances; from there
    on it grows, or shrinks where the changed mask is the smaller one. Bisection finds how far. Dice moves in steps of a voxel,
    so the result is as near as the grid allows.
    """
    spacing_mm = np.asarray(original.frame.spacing_mm)
    radius_mm = float(np.cbrt(3 * original.volume_mm3 / (4 * np.pi)))
    on_mm = radius_mm * max(1.0, float(np.cbrt((2 - wanted) / wanted)) - 1) + 2 * float(spacing_mm.max())
    z0, y0, x0 = np.minimum(original.bounds[0], changed.bounds[0]).tolist()
    z1, y1, x1 = np.maximum(original.bounds[1], changed.bounds[1]).tolist()
    across_mm = float(np.max(np.array([z1 - z0, y1 - y0, x1 - x0]) * spacing_mm))
    start, stop = box_around(original.frame, (z0, y0, x0), (z1, y1, x1), on_mm)
    fields = []
    for mask in (original, changed):
        field, corner = distance_around(mask, across_mm + on_mm)
        fields.append(field[tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, corner, strict=True))])
    sign = 1.0 if changed.n_voxels >= original.n_voxels else -1.0

    def at(way: float) -> Mask:
        weight = min(way, PAST)
        level_mm = sign * max(way - PAST, 0.0)
        return Mask((1 - weight) * fields[0] + weight * fields[1] <= level_mm, original.frame, start)

    near, far = 0.0, PAST + on_mm
    best, gap = original, 1 - wanted
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        mask = at(middle)
        found = dice(original, mask) if mask.n_voxels else 0.0
        if mask.n_voxels and abs(found - wanted) < gap:
            best, gap = mask, abs(found - wanted)
        near, far = (middle, far) if found > wanted else (near, middle)
    return best
