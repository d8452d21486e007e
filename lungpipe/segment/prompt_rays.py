"""The extent of a nodule from one point inside it: rays to where it ends."""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

#: Scanner padding and what is darker, HU.
PADDING_HU = -1024.0
#: Lung is what lies between these, HU: below are the air round the body and that of large airways.
LUNG_HU = (-980.0, -500.0)
#: Where a crop shows fewer voxels of lung than the first, the second stands for its density, HU.
FEW_VOXELS, NO_LUNG_HU = 50, -850.0
#: HU at the seed are the median of a ball of this radius, mm.
SEED_MM = 1.5
#: A seed must be this much denser than the lung, HU.
CONTRAST_HU = 100.0
#: Rays are sampled at this step and followed this far, mm.
STEP_MM, FAR_MM = 0.25, 60.0
#: A ray has left the body, not the nodule, where its mean between these distances behind the end, mm, is darker, HU.
BEHIND_MM, AIR_HU = (2.0, 7.0), -970.0
#: Neighbours of a ray lie within this angle, degrees.
NEIGHBOUR_DEGREES = 40.0
#: Ends are those of the nodule up to this many times the length that this share of the rays does not exceed.
WIDE, SHORT_SHARE = 2.5, 1 / 3
#: A ray is cut to its neighbours' median and this many robust deviations. A deviation counts as at least this share of
#: the median, or as this many mm where that is less.
OUTLIER_DEVIATIONS, MIN_DEVIATION, ENOUGH_MM = 2.0, 0.12, 1.0
#: Share of rays that must end for an extent to be believed.
ENDED_SHARE = 0.4
#: How often the seed moves to the middle of the ends.
RECENTRINGS = 3
#: Values and places that differ by no more than this are the same, so that rounding decides nothing.
SAME = 1e-6


def found_extent(hu: Floats, spacing_mm: Triple, seed_zyx: Triple) -> tuple[Triple, Triple] | str:
    """Corners of the box of what a seed lies in.

    Rays go from the seed in a set of directions that mirroring and permuting axes maps to itself, and end half way between
    the density at the seed and that of the lung. Rays that have no end, end much later than most, or end in the air round
    the body run along a vessel or into the chest wall; they get the length of the rays round them. The seed moves to the
    middle of the ends, and rays go again. From a seed in the solid part of a part-solid nodule, that part alone is found.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        Crop of an image. An end beyond its edge is not seen.
    spacing_mm : tuple of float
        Along (z, y, x).
    seed_zyx : tuple of float
        Fractional index (z, y, x) in ``hu``.

    Returns
    -------
    tuple of (low, high), each (z, y, x), or str
        Fractional indices of the outermost ends; or why there are none: ``"no_contrast"`` where the seed is no denser than
        the lung, ``"no_end"`` where most rays do not end.
    """
    spacing = np.asarray(spacing_mm)
    seed = np.asarray(seed_zyx, dtype=np.float64)
    directions = _directions()
    neighbours = np.asarray(directions @ directions.T >= np.cos(np.radians(NEIGHBOUR_DEGREES)))
    lung_hu, inside_hu = _lung_hu(hu), _median_at(hu, spacing, seed)
    if inside_hu < lung_hu + CONTRAST_HU:
        return "no_contrast"
    extent: tuple[Floats, Floats] | None = None
    for _ in range(RECENTRINGS + 1):
        lengths = _lengths_mm(hu, spacing, seed, directions, (inside_hu + lung_hu) / 2)
        if np.mean(lengths < FAR_MM) < ENDED_SHARE or not lengths.all():
            break
        ends = directions * _cut(lengths, neighbours)[:, None]
        extent = seed + ends.min(axis=0) / spacing, seed + ends.max(axis=0) / spacing
        seed = (extent[0] + extent[1]) / 2
    if extent is None:
        return "no_end"
    (a, b, c), (d, e, f) = (corner.tolist() for corner in extent)
    return (a, b, c), (d, e, f)


def _directions() -> Floats:
    """Unit vectors (n, 3) of all whole-numbered vectors with entries from -2 to 2."""
    found = {tuple(np.round(np.asarray(v) / np.linalg.norm(v), 9)) for v in product(range(-2, 3), repeat=3) if any(v)}
    return np.asarray(sorted(found))


def _lung_hu(hu: Floats) -> float:
    lung = hu[(hu > max(LUNG_HU[0], PADDING_HU)) & (hu < LUNG_HU[1])]
    return float(np.median(lung)) if lung.size >= FEW_VOXELS else NO_LUNG_HU


def _median_at(hu: Floats, spacing: Floats, seed: Floats) -> float:
    axes = [(np.arange(n) - c) * s for n, c, s in zip(hu.shape, seed, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = np.sqrt(z**2 + y**2 + x**2)
    return float(np.median(hu[distance <= max(SEED_MM, float(distance.min())) + SAME]))


def _lengths_mm(hu: Floats, spacing: Floats, seed: Floats, directions: Floats, threshold: float) -> Floats:
    """Distance along each ray to the first value below the threshold, linear between samples; FAR_MM where none is.

    It is 0 where the seed itself is below, and FAR_MM where the ray leaves the crop or the body.
    """
    along = np.arange(0.0, FAR_MM + STEP_MM, STEP_MM)
    points = seed[:, None, None] + (directions / spacing).T[:, :, None] * along
    values = ndimage.map_coordinates(hu, points, order=1, mode="nearest")
    last = np.asarray(hu.shape)[:, None, None] - 0.5
    left = np.any((points < -0.5 - SAME) | (points > last + SAME), axis=0)
    below = (values < threshold - SAME) & ~left
    first = np.argmax(below, axis=1)
    rows = np.arange(len(directions))
    before, after = values[rows, np.maximum(first - 1, 0)], values[rows, first]
    fall = np.where(before > after, before - after, 1.0)
    lengths = (first - 1 + np.clip((before - threshold) / fall, 0.0, 1.0)) * STEP_MM
    behind = first[:, None] + np.arange(*(round(mm / STEP_MM) for mm in BEHIND_MM))
    outer = values[rows[:, None], np.minimum(behind, len(along) - 1)].mean(axis=1) < AIR_HU
    lengths = np.where(below.any(axis=1) & ~outer, lengths, FAR_MM)
    return np.asarray(np.where(below[:, 0], 0.0, lengths), dtype=np.float64)


def _cut(lengths: Floats, neighbours: Bools) -> Floats:
    """Lengths, with what runs along a vessel or into the wall replaced by what the rays round it have.

    Those far longer than most get the median of their neighbours, from the rim of the wall inwards; of the others, those
    longer than their neighbours' spread allows are cut to it.
    """
    known = lengths < np.minimum(FAR_MM, WIDE * np.quantile(lengths, SHORT_SHARE))
    cut = np.where(known, lengths, np.nan)
    for _ in range(2):
        middle, spread = _spread(cut, neighbours)
        spread = np.fmax(spread, np.minimum(ENOUGH_MM, MIN_DEVIATION * middle))
        cut = np.where(known, np.fmin(cut, middle + OUTLIER_DEVIATIONS * spread), np.nan)
    while not np.isfinite(cut).all():
        cut = np.where(np.isfinite(cut), cut, _spread(cut, neighbours)[0])
    return cut


def _spread(lengths: Floats, neighbours: Bools) -> tuple[Floats, Floats]:
    """Median of each ray's known neighbours, and their deviation (1.4826 MAD); NaN where it has none."""
    near = np.where(neighbours, lengths[None, :], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rays that have none yet
        middle = np.nanmedian(near, axis=1)
        return middle, 1.4826 * np.nanmedian(np.abs(near - middle[:, None]), axis=1)
