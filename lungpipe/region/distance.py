"""Signed distance of voxel centres from the surface of a mask, mm: one transform for every region of a nodule."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

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
    flat = nearest[0] * np.int32(shape[1] * shape[2]) + nearest[1] * np.int32(shape[2]) + nearest[2]
    seed = beside.ravel().take(flat)
    curvature = surface.curvature_per_mm
    radius = 1.0 / np.where(np.abs(curvature) < FLAT_PER_MM, FLAT_PER_MM, curvature)
    foot = place * np.asarray(spacing_mm) - surface.distance_mm[:, None] * surface.normal
    centre = np.ascontiguousarray((foot - radius[:, None] * surface.normal).T)
    distance, to_seed = np.zeros(shape), np.zeros(shape, dtype=np.float32)
    for axis, spacing in enumerate(spacing_mm):
        along = np.arange(shape[axis], dtype=np.int32).reshape([-1 if other == axis else 1 for other in range(3)])
        offset = centre[axis].take(seed)
        np.subtract(along * spacing, offset, out=offset)
        distance += np.multiply(offset, offset, out=offset)
        apart = (along - nearest[axis]).astype(np.float32)
        apart *= np.float32(spacing)
        to_seed += np.multiply(apart, apart, out=apart)
    radii = radius.take(seed)
    np.sqrt(distance, out=distance)
    np.copysign(distance, radii, out=distance)
    distance -= radii
    # The surface runs at most half a voxel's diagonal nearer than the nearest voxel beside it.
    least = np.sqrt(to_seed, out=to_seed) - np.float32(0.5 * np.linalg.norm(spacing_mm))
    np.maximum(least, np.float32(LEAST_MM), out=least)
    within = tuple(slice(m, m + n) for m, n in zip(margin, inside.shape, strict=True))
    inner = np.where(inside, np.minimum(distance[within], -least[within]), np.maximum(distance[within], least[within]))
    np.maximum(distance, least, out=distance)
    distance[within] = inner
    return np.round(distance, DECIMALS, out=distance)
