"""The extent of a nodule from one point inside it: rays to where it ends."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Scanner padding and what is darker, HU.
PADDING_HU = -1024.0
#: HU at the seed are the median of a ball of this radius, mm.
SEED_MM = 1.5
#: Lung is what is darker than this, HU; where a crop shows none, this stands for it.
LUNG_HU, NO_LUNG_HU = -500.0, -850.0
#: A seed must be this much denser than the lung round it, HU.
CONTRAST_HU = 100.0
#: Rays are sampled at this step and followed this far, mm.
STEP_MM, FAR_MM = 0.25, 48.0
#: Neighbours of a ray lie within this angle, degrees.
NEIGHBOUR_DEGREES = 40.0
#: A ray longer than the median of its neighbours and this many robust deviations runs along a vessel or into the wall.
OUTLIER_DEVIATIONS, MIN_DEVIATION_MM = 2.0, 1.0
#: Share of rays that must end for an extent to be believed.
ENDED_SHARE = 0.5
RECENTRINGS = 3


def found_extent(hu: NDArray[np.float64], spacing_mm: Triple, seed_zyx: Triple) -> tuple[Triple, Triple] | str:
    """Corners of the box of what a seed lies in.

    Rays go from the seed in a set of directions that mirroring and permuting axes maps to itself, and end half way between
    the density at the seed and that of the lung. A ray that is much longer than its neighbours runs along a vessel or into
    the chest wall and is cut to their length. The seed moves to the middle of the ends, and rays go again.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
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
    directions = _directions()
    neighbours = directions @ directions.T >= np.cos(np.radians(NEIGHBOUR_DEGREES))
    lung_hu = _lung_hu(hu)
    seed = np.asarray(seed_zyx, dtype=np.float64)
    inside_hu = _median_at(hu, spacing, seed)
    if inside_hu < lung_hu + CONTRAST_HU:
        return "no_contrast"
    threshold = (inside_hu + lung_hu) / 2
    low = high = seed
    for _ in range(RECENTRINGS + 1):
        lengths = _lengths_mm(hu, spacing, seed, directions, threshold)
        if np.mean(lengths < FAR_MM) < ENDED_SHARE:
            return "no_end"
        lengths = _cut(lengths, neighbours)
        ends = directions * lengths[:, None]
        low, high = seed + ends.min(axis=0) / spacing, seed + ends.max(axis=0) / spacing
        seed = np.round((low + high) / 2, 6)
    a, b, c = np.round(low, 6).tolist()
    d, e, f = np.round(high, 6).tolist()
    return (a, b, c), (d, e, f)


def _directions() -> NDArray[np.float64]:
    """Unit vectors (n, 3) of all whole-numbered vectors with entries from -2 to 2."""
    found = {tuple(np.round(np.asarray(v) / np.linalg.norm(v), 9)) for v in product(range(-2, 3), repeat=3) if any(v)}
    return np.asarray(sorted(found))


def _lung_hu(hu: NDArray[np.float64]) -> float:
    lung = hu[(hu < LUNG_HU) & (hu > PADDING_HU)]
    return float(np.median(lung)) if lung.size >= 50 else NO_LUNG_HU


def _median_at(hu: NDArray[np.float64], spacing: NDArray[np.float64], seed: NDArray[np.float64]) -> float:
    axes = [(np.arange(n) - c) * s for n, c, s in zip(hu.shape, seed, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = z**2 + y**2 + x**2
    return float(np.median(hu[distance <= max(SEED_MM**2, float(distance.min()) + 1e-6)]))


def _lengths_mm(
    hu: NDArray[np.float64],
    spacing: NDArray[np.float64],
    seed: NDArray[np.float64],
    directions: NDArray[np.float64],
    threshold: float,
) -> NDArray[np.float64]:
    """Distance along each ray to the first value below the threshold, linear between samples; FAR_MM where none is."""
    along = np.arange(0.0, FAR_MM + STEP_MM, STEP_MM)
    points = seed[:, None, None] + (directions / spacing).T[:, :, None] * along
    values = ndimage.map_coordinates(hu, points, order=1, mode="nearest")
    left = np.any((points < -0.5) | (points > np.asarray(hu.shape)[:, None, None] - 0.5), axis=0)
    below = (values < threshold) | left
    first = np.argmax(below, axis=1)
    ended = below.any(axis=1) & (first > 0)
    rows = np.arange(len(directions))
    before, after = values[rows, np.maximum(first - 1, 0)], values[rows, first]
    fall = np.where(before > after, before - after, 1.0)
    part = np.clip((before - threshold) / fall, 0.0, 1.0)
    lengths = (first - 1 + part) * STEP_MM
    lengths = np.where(ended, lengths, np.where(below[:, 0], 0.0, FAR_MM))
    return np.asarray(np.round(np.where(ended & left[rows, first], FAR_MM, lengths), 6), dtype=np.float64)


def _cut(lengths: NDArray[np.float64], neighbours: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cut rays that are far longer than their neighbours, and all that are far longer than the rest."""
    cut = lengths
    for _ in range(2):
        near = np.where(neighbours, cut[None, :], np.float64(np.nan))
        middle = np.nanmedian(near, axis=1)
        spread = 1.4826 * np.nanmedian(np.abs(near - middle[:, None]), axis=1)
        overall = np.median(cut)
        limit = np.minimum(middle + OUTLIER_DEVIATIONS * np.maximum(spread, MIN_DEVIATION_MM), 3.0 * overall)
        cut = np.minimum(cut, limit)
    return np.asarray(cut, dtype=np.float64)
