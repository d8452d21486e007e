"""Diameters and volumes of a mask as radiologists report them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from lungpipe.errors import GeometryError
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Lower limits of the categories 3, 4A and 4B of solid nodules, mean diameter in mm and volume in mm3; below the first
#: of them 2 (Lung-RADS v2022, American College of Radiology, November 2022: nodules at baseline).
SOLID_MM, SOLID_MM3 = (6.0, 8.0, 15.0), (113.0, 268.0, 1767.0)
#: Lower limit of category 3 of pure ground glass; below it 2.
GROUND_GLASS_MM, GROUND_GLASS_MM3 = 30.0, 14137.0
#: Part-solid nodules: below this as a whole 2; else by the solid part, 3 and, from these limits, 4A and 4B.
PART_SOLID_MM, SOLID_PART_MM = 6.0, (6.0, 8.0)
PART_SOLID_MM3, SOLID_PART_MM3 = 113.0, (113.0, 268.0)
#: Short axis from which a lymph node counts as enlarged, mm (RECIST 1.1, doi:10.1016/j.ejca.2008.10.026).
ENLARGED_NODE_MM = 10.0
#: Lengths that differ by no more than this share are the same: rounding, not voxels, tells them apart.
SAME = 1e-9
#: Of more points than these the hull is taken before all their distances.
MANY_POINTS = 500


@dataclass(frozen=True, slots=True)
class Diameters:
    """Lengths of a mask, mm, from outer edge to outer edge of its voxels, and its volume.

    Parameters
    ----------
    axial_long_mm : float
        Longest distance within one slice, over all slices (RECIST 1.1, WHO).
    axial_short_mm : float
        Longest chord perpendicular to it in the same slice: the second diameter of WHO, and a lymph node's short axis.
    axial_mean_mm : float
        Mean of the two, by which the Fleischner Society (doi:10.1148/radiol.2017162894) and Lung-RADS measure nodules.
    diameter_3d_mm : float
        Longest distance within the mask.
    volume_mm3 : float
        Volume by voxel count.
    sphere_diameter_mm : float
        Diameter of the sphere of that volume.
    """

    axial_long_mm: float
    axial_short_mm: float
    axial_mean_mm: float
    diameter_3d_mm: float
    volume_mm3: float
    sphere_diameter_mm: float


def measure(mask: Mask) -> Diameters:
    """Diameters and volume of a mask.

    A voxel is a box and a pixel a rectangle: lengths go from outer edge to outer edge, as callipers on a screen do, so a
    single pixel is as long as its diagonal. Between the centres of pixels they would be about one pixel shorter. Notches,
    holes and separate parts of a slice make no difference, because lengths are those of the outline's convex hull; see
    :func:`measure_parts`. Where several longest distances tie, the one with the longest perpendicular counts.

    A slice is a plane of the image's first axis. That is axial where the scan is; on an oblique grid the diameters are
    those in the oblique slices, while ``diameter_3d_mm`` does not depend on how the slices lie.

    Raises
    ------
    GeometryError
        If the mask is empty.
    """
    if not mask.n_voxels:
        raise GeometryError("an empty mask has no diameter")
    rows, corners = _row_corners(mask.trimmed().voxels)
    spacing_mm = np.asarray(mask.frame.spacing_mm)
    slices = np.split(corners, np.flatnonzero(np.diff(rows)) + 1)
    long_mm, short_mm = _axial([part.reshape(-1, 2) * spacing_mm[1:] for part in slices])
    solid = np.concatenate([np.insert(corners, 0, (rows + dz)[:, None], axis=2) for dz in (0, 1)])
    return Diameters(
        axial_long_mm=long_mm,
        axial_short_mm=short_mm,
        axial_mean_mm=(long_mm + short_mm) / 2,
        diameter_3d_mm=_longest(solid.reshape(-1, 3) * spacing_mm)[0],
        volume_mm3=mask.volume_mm3,
        sphere_diameter_mm=float((6.0 * mask.volume_mm3 / np.pi) ** (1 / 3)),
    )


def measure_parts(mask: Mask) -> list[Diameters]:
    """Diameters of each separate part of a mask, such as the lymph nodes of one station, the largest volume first.

    Parts are connected by faces, edges or corners of voxels. An empty mask has none.
    """
    labels, count = ndimage.label(mask.voxels, structure=np.ones((3, 3, 3)))
    parts = [measure(Mask(np.asarray(labels == label), mask.frame, mask.start)) for label in range(1, count + 1)]
    return sorted(parts, key=lambda part: part.volume_mm3, reverse=True)


def is_enlarged_node(node: Diameters) -> bool:
    """Whether a lymph node's short axis is at least :data:`ENLARGED_NODE_MM`."""
    return node.axial_short_mm >= ENLARGED_NODE_MM * (1 - SAME)


def size_class(mean_mm: float, texture: str = "unknown", solid_part_mm: float = 0.0) -> str:
    """Lung-RADS v2022 category that the mean diameter alone gives a nodule at baseline screening.

    Parameters
    ----------
    mean_mm : float
        Mean diameter, mm; rounded to one decimal, halves up, as Lung-RADS reports it.
    texture : {"unknown", "solid", "part-solid", "ground-glass"}
        An unknown texture is taken for solid. That is too high for ground glass, and one category too low for a part-solid
        nodule of which nearly all is solid.
    solid_part_mm : float
        Mean diameter of the solid part of a part-solid nodule, mm.

    Returns
    -------
    {"2", "3", "4A", "4B"}

    Raises
    ------
    ValueError
        If the texture is none of these, or a size is negative or not a number.
    """
    sizes = [np.floor(size * 10 + 0.5 + SAME) / 10 for size in (mean_mm, solid_part_mm)]
    return _category(sizes, texture, (SOLID_MM, GROUND_GLASS_MM, PART_SOLID_MM, SOLID_PART_MM))


def size_class_by_volume(volume_mm3: float, texture: str = "unknown", solid_part_mm3: float = 0.0) -> str:
    """The same by volume, mm3, rounded to a whole number; it and the class by diameter may differ.

    Parameters, results and errors are those of :func:`size_class`, with volumes for mean diameters.
    """
    sizes = [np.floor(size + 0.5) for size in (volume_mm3, solid_part_mm3)]
    return _category(sizes, texture, (SOLID_MM3, GROUND_GLASS_MM3, PART_SOLID_MM3, SOLID_PART_MM3))


def _category(
    sizes: list[float],
    texture: str,
    limits: tuple[tuple[float, ...], float, float, tuple[float, ...]],
) -> str:
    solid, ground_glass, part_solid, solid_part = limits
    whole, dense = sizes
    if not (whole >= 0 and dense >= 0):
        raise ValueError(f"a size is at least 0, found {whole:g} and a solid part of {dense:g}")
    if texture in {"solid", "unknown"}:
        return ("2", "3", "4A", "4B")[int(np.searchsorted(solid, whole, side="right"))]
    if texture == "ground-glass":
        return "3" if whole >= ground_glass else "2"
    if texture == "part-solid":
        if whole < part_solid:
            return "2"
        return ("3", "4A", "4B")[int(np.searchsorted(solid_part, dense, side="right"))]
    raise ValueError(f"unknown texture {texture!r}; expected solid, part-solid, ground-glass or unknown")


def _row_corners(tight: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Slice (n,) of each row of voxels, and the corners (n, 4, 2) of its first and last one: all hulls are theirs."""
    z, y = np.nonzero(tight.any(axis=2))
    rows = tight[z, y]
    ends = (rows.argmax(axis=1), tight.shape[2] - rows[:, ::-1].argmax(axis=1))
    return z, np.stack([np.column_stack([y + dy, end]) for dy in (0, 1) for end in ends], axis=1)


def _axial(slices: list[Floats]) -> tuple[float, float]:
    """Longest distance between points (n, 2) of one slice, and the longest chord of its hull perpendicular to it."""
    bounds = [2 * float(_from(_middle(points), points).max()) for points in slices]
    longest, found = 0.0, []
    for k in np.argsort(bounds)[::-1]:
        if bounds[k] < longest * (1 - SAME):
            break
        length, pairs = _longest(slices[k])
        longest = max(longest, length)
        found.append((length, slices[k], pairs))
    outlines = [(_hull(points), pairs) for length, points, pairs in found if length >= longest * (1 - SAME)]
    return longest, min(max(_chord(outline, *pair) for outline, pairs in outlines for pair in pairs), longest)


def _longest(points: Floats) -> tuple[float, Floats]:
    """Longest distance between points (n, d), and the pairs (k, 2, d) that lie so far apart.

    Points too near the middle to be the end of a length that is known to occur are left out first: the farthest that a
    point can be from another is its distance from the middle and the largest such distance.
    """
    reach = _from(_middle(points), points)
    start, known = points[np.argmax(reach)], 0.0
    for _ in range(2):
        away = _from(start, points)
        start, known = points[np.argmax(away)], float(away.max())
    ends = np.unique(points[reach >= known * (1 - SAME) - reach.max()], axis=0)
    if len(ends) > MANY_POINTS:
        ends = _hull(ends)
    distances = squareform(pdist(ends))
    first, second = np.nonzero(np.triu(distances >= distances.max() * (1 - SAME)))
    return float(distances.max()), np.stack([ends[first], ends[second]], axis=1)


def _middle(points: Floats) -> Floats:
    """Middle of the box round points (n, d)."""
    return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)


def _from(start: Floats, points: Floats) -> Floats:
    """Distances (n,) of points (n, d) from one."""
    offset = points - start
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", offset, offset)))


def _hull(points: Floats) -> Floats:
    """Corners of the convex hull of points (n, d); of points in the plane, in order round it."""
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:  # flat: the ends of the longest distance are among them all the same
        return points


def _chord(outline: Floats, start: Floats, end: Floats) -> float:
    """Longest chord of a convex outline (n, 2) perpendicular to its longest diameter, which goes from start to end.

    A chord's length is concave and piecewise linear along the diameter, so it is longest at a corner; there the two sides
    of the outline are interpolated.
    """
    length = float(np.linalg.norm(end - start))
    u, v = (end - start) / length
    along, across = (outline - start) @ [u, v], (outline - start) @ [-v, u]
    order = np.argsort(along)
    along, across = along[order], across[order]
    left, right = across >= -SAME * length, across <= SAME * length
    width = np.interp(along, along[left], across[left]) - np.interp(along, along[right], across[right])
    return float(width.max())
