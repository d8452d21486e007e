"""Diameters and volumes of a mask as radiologists report them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from lungpipe.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.volume import Mask

#: Lower limits of the size classes of solid nodules at baseline, mean diameter in mm (Lung-RADS v2022, ACR): below the
#: first 2, from the first 3, from the second 4A, from the third 4B.
SOLID_MM = (6.0, 8.0, 15.0)
#: The same for nodules of pure ground glass: below 30 mm 2, from there 3.
GROUND_GLASS_MM = 30.0
#: Part-solid nodules by their whole (below 6 mm: 2) and their solid part: below 6 mm 3, below 8 mm 4A, from there 4B.
PART_SOLID_MM, SOLID_PART_MM = 6.0, (6.0, 8.0)


@dataclass(frozen=True, slots=True)
class Diameters:
    """Lengths of a mask, mm, measured between the outer edges of its voxels.

    Parameters
    ----------
    axial_long_mm : float
        Longest diameter within one slice, over all slices.
    axial_short_mm : float
        Largest extent perpendicular to it in the same slice: the short axis of a lymph node.
    axial_mean_mm : float
        Mean of the two, by which the Fleischner Society and Lung-RADS measure nodules.
    diameter_3d_mm : float
        Longest distance within the mask.
    """

    axial_long_mm: float
    axial_short_mm: float
    axial_mean_mm: float
    diameter_3d_mm: float


def measure(mask: Mask) -> Diameters:
    """Diameters of a mask.

    Slices are the planes of the image's first axis, axial ones where the scan is. A pixel counts as a rectangle, so a
    single one has a length: its diagonal. Holes and separate parts of a slice make no difference: a diameter is of the
    outline's convex hull.

    Raises
    ------
    GeometryError
        If the mask is empty.
    """
    if not mask.n_voxels:
        raise GeometryError("an empty mask has no diameter")
    tight = mask.trimmed().voxels
    spacing = mask.frame.spacing_mm
    best = (0.0, 0.0)
    for plane in tight:
        if plane.any():
            best = max(best, _axes_of(_corners(plane, spacing[1:])))
    long_mm, short_mm = best
    return Diameters(long_mm, short_mm, (long_mm + short_mm) / 2, _longest_3d(tight, spacing))


def _corners(plane: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Corners (n, 2) of the first and last pixel of each row: the hull of the plane's pixels is theirs."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - plane[rows, ::-1].argmax(axis=1)
    points = [np.stack([rows + dy, ends], axis=1) for dy in (0, 1) for ends in (first, last)]
    return np.asarray(np.concatenate(points) * np.asarray(spacing_mm))


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:  # flat, which corners of pixels never are, but rounding may make them
        return points


def _axes_of(points: NDArray[np.float64]) -> tuple[float, float]:
    """Longest distance between points (n, 2), and their largest extent perpendicular to it, the largest of ties."""
    hull = _hull(points)
    distance = squareform(pdist(hull))
    longest = float(distance.max())
    pairs = np.argwhere(np.triu(distance >= longest * (1 - 1e-9)))
    along = (hull[pairs[:, 1]] - hull[pairs[:, 0]]) / longest
    across = hull @ np.stack([-along[:, 1], along[:, 0]])
    return longest, float(np.ptp(across, axis=0).max())


def _longest_3d(tight: NDArray[np.bool_], spacing_mm: Triple) -> float:
    """Longest distance between corners of voxels."""
    points = []
    for z, plane in enumerate(tight):
        if plane.any():
            outline = _hull(_corners(plane, spacing_mm[1:]))
            points += [np.column_stack([np.full(len(outline), (z + dz) * spacing_mm[0]), outline]) for dz in (0, 1)]
    return float(pdist(_hull(np.concatenate(points))).max())


def size_class(mean_mm: float, texture: str = "solid", solid_part_mm: float = 0.0) -> str:
    """Lung-RADS v2022 category that size alone gives a nodule at baseline screening.

    Parameters
    ----------
    mean_mm : float
        Mean axial diameter; rounded to one decimal as Lung-RADS asks.
    texture : {"solid", "part-solid", "ground-glass"}
        An unknown texture is best taken for solid, which has the lowest limits.
    solid_part_mm : float
        Mean axial diameter of the solid part of a part-solid nodule.

    Returns
    -------
    {"2", "3", "4A", "4B"}

    Raises
    ------
    ValueError
        If the texture is none of these.
    """
    size = round(mean_mm, 1)
    if texture == "solid":
        return ("2", "3", "4A", "4B")[int(np.searchsorted(SOLID_MM, size, side="right"))]
    if texture == "ground-glass":
        return "3" if size >= GROUND_GLASS_MM else "2"
    if texture == "part-solid":
        if size < PART_SOLID_MM:
            return "2"
        return ("3", "4A", "4B")[int(np.searchsorted(SOLID_PART_MM, round(solid_part_mm, 1), side="right"))]
    raise ValueError(f"unknown texture {texture!r}; expected solid, part-solid or ground-glass")
