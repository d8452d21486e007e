"""Signed distance of voxel centres from the surface of a mask, mm: one transform for every region of a nodule."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.compiled import compiled
from lungpipe.region.surface import surface_of
from lungpipe.segment.orient import Turn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple


#: Surfaces of a smaller curvature are taken for flat, 1/mm: spheres of ten metres.
FLAT_PER_MM = 1e-4
#: Distances are whole multiples of a nanometre, so that rounding decides nothing; and no voxel lies nearer than this, mm.
DECIMALS, LEAST_MM = 6, 1e-6


def signed_distance_mm(inside: NDArray[np.bool_], spacing_mm: Triple, margin: IndexTriple) -> NDArray[np.float64]:
    """Distance of each voxel's centre from the surface between inside and outside.

    Each voxel looks to the nearest voxel at the surface, and measures to the sphere that has the surface's position,
    direction and curvature there (:mod:`lungpipe.region.surface`). Voxels inside are never positive, those outside never
    zero or negative. What depends on the order of voxels is done in an orientation that follows from the mask, so mirrored
    and permuted masks have mirrored and permuted distances, exactly.

    Parameters
    ----------
    inside : ndarray of bool, shape (z, y, x)
        Not empty, tight: every side of the array has a voxel inside.
    spacing_mm : tuple of float
        Along (z, y, x).
    margin : tuple of int
        Voxels beyond the array, along (z, y, x), on either side.

    Returns
    -------
    ndarray, shape (z, y, x) with margins
        Negative inside.
    """
    turns = canonical_turns(inside, spacing_mm)
    first = turns[0]
    a, b, c = (margin[axis] for axis in first.order)
    found = _distance(first(inside), first.lengths(spacing_mm), (a, b, c))
    distance = first.back(found)
    for turn in turns[1:]:  # a symmetric mask: where voxels tie, no side is preferred
        np.minimum(distance, turn.back(found), out=distance)
    return distance


def canonical_turns(inside: NDArray[np.bool_], spacing_mm: Triple) -> list[Turn]:
    """Every orientation in which a mask reads first in the order of its bytes, among those of ascending spacing.

    More than one where the mask is symmetric: they then differ by its symmetries.

    Parameters
    ----------
    inside : ndarray of bool, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    """
    ascending = sorted(spacing_mm)
    best: tuple[IndexTriple, bytes] | None = None
    found: list[Turn] = []
    for order in permutations(range(3)):
        if [spacing_mm[axis] for axis in order] != ascending:
            continue
        for reverse in product((False, True), repeat=3):
            turn = Turn((order[0], order[1], order[2]), (reverse[0], reverse[1], reverse[2]))
            turned = turn(inside)
            key = (turned.shape, np.packbits(turned).tobytes())
            if best is None or key < best:
                best, found = key, [turn]
            elif key == best:
                found.append(turn)
    return found


def _distance(inside: NDArray[np.bool_], spacing_mm: Triple, margin: IndexTriple) -> NDArray[np.float64]:
    surface = surface_of(inside, spacing_mm)
    shape = tuple(n + 2 * m for n, m in zip(inside.shape, margin, strict=True))
    place = surface.index + np.asarray(margin)
    held = np.all((place >= 0) & (place < shape), axis=1)
    beside = np.full(shape, -1, dtype=np.int32)
    beside[tuple(place[held].T)] = np.flatnonzero(held)
    nearest = ndimage.distance_transform_edt(
        beside < 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    curvature = surface.curvature_per_mm
    radius = 1.0 / np.where(np.abs(curvature) < FLAT_PER_MM, FLAT_PER_MM, curvature)
    foot = place * np.asarray(spacing_mm) - surface.distance_mm[:, None] * surface.normal
    centre = foot - radius[:, None] * surface.normal
    padded = np.pad(inside, [(m, m) for m in margin])
    half_mm = np.float32(0.5 * np.linalg.norm(spacing_mm))
    return _to_spheres(padded, nearest, beside, centre, radius, np.asarray(spacing_mm), half_mm)


@compiled
def _to_spheres(
    inside: NDArray[np.bool_],
    nearest: NDArray[np.int32],
    beside: NDArray[np.int32],
    centre: NDArray[np.float64],
    radius: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    half_mm: np.float32,
) -> NDArray[np.float64]:
    """Signed distance of each voxel (z, y, x) from the sphere at its nearest surface voxel, mm, to :data:`DECIMALS`.

    The surface runs at most half a voxel's diagonal, ``half_mm``, nearer than the nearest voxel beside it.
    """
    out = np.empty(inside.shape)
    scale = 10.0**DECIMALS
    z_mm, y_mm, x_mm = spacing_mm[0], spacing_mm[1], spacing_mm[2]
    for i in range(inside.shape[0]):
        for j in range(inside.shape[1]):
            for k in range(inside.shape[2]):
                a, b, c = nearest[0, i, j, k], nearest[1, i, j, k], nearest[2, i, j, k]
                seed = beside[a, b, c]
                dz, dy, dx = i * z_mm - centre[seed, 0], j * y_mm - centre[seed, 1], k * x_mm - centre[seed, 2]
                distance = np.sqrt(dz * dz + dy * dy + dx * dx)
                if radius[seed] < 0:
                    distance = -distance
                distance -= radius[seed]
                az = np.float32(i - a) * np.float32(z_mm)
                ay = np.float32(j - b) * np.float32(y_mm)
                ax = np.float32(k - c) * np.float32(x_mm)
                least = max(np.sqrt(az * az + ay * ay + ax * ax) - half_mm, np.float32(LEAST_MM))
                distance = min(distance, -least) if inside[i, j, k] else max(distance, least)
                out[i, j, k] = np.rint(distance * scale) / scale
    return out
