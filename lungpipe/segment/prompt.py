"""What points at a nodule: its box, its seed point, clicks inside and outside of it, on the grid of a crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import AnnotationError
from lungpipe.nodule import Click
from lungpipe.segment.prompt_rays import found_extent
from lungpipe.segment.roi import SEED_BOX_MM, ball_at, nodule_box
from lungpipe.volume import PADDING_HU, CTVolume, box_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.nodule import Nodule

#: Half the side of the part of the image, mm, in which a nodule annotated by a point alone is looked for.
REACH_MM = 50.0
#: A click stands for a ball of this radius, mm, at least one voxel.
CLICK_MM = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """A nodule's box, seed and clicks as masks on a crop, each of the crop's shape (z, y, x).

    Parameters
    ----------
    crop : CTVolume
        The box and a margin.
    box : ndarray of bool
        The annotated box, or the extent that was found from the seed point.
    seed : ndarray of bool
        Where the nodule is: a ball at the centre of a quarter of the box's shortest side, and the clicks inside.
    inside : ndarray of bool
        Surely inside: round every click inside.
    outside : ndarray of bool
        Surely outside: round every click outside.
    """

    crop: CTVolume
    box: NDArray[np.bool_]
    seed: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    outside: NDArray[np.bool_]


def with_extent(volume: CTVolume, nodule: Nodule) -> Nodule:
    """The nodule with a box: its own, or what its seed point finds for itself, with the code ``found_extent``.

    One of which rays from the seed find no end gets a box of :data:`SEED_BOX_MM` round its point, and ``no_extent``.

    Raises
    ------
    AnnotationError
        If it has no centre, or one outside the image.
    """
    nodule_box(volume.frame, nodule)
    if nodule.size_mm is not None or nodule.centre_mm is None:
        return nodule
    inside = [click for click in nodule.clicks if click.inside]
    points = np.asarray([nodule.centre_mm, *(click.position_mm for click in inside)])
    index = volume.frame.to_index(nodule.centre_mm)
    near = np.clip(np.rint(index), 0, np.asarray(volume.frame.shape) - 1).astype(int).tolist()
    voxel = (near[0], near[1], near[2])
    crop = volume.overlap(*box_around(volume.frame, voxel, (voxel[0] + 1, voxel[1] + 1, voxel[2] + 1), REACH_MM))
    extent = found_extent(
        crop.hu.astype(np.float64), crop.frame.spacing_mm, tuple((index - np.asarray(crop.start)).tolist())
    )
    if isinstance(extent, str):
        low, high = (points.min(axis=0) - SEED_BOX_MM / 2, points.max(axis=0) + SEED_BOX_MM / 2)
        return _boxed(nodule, low, high, "no_extent")
    corners = volume.frame.to_lps(np.asarray(extent) + np.asarray(crop.start))
    return _boxed(
        nodule, np.vstack([corners, points]).min(axis=0), np.vstack([corners, points]).max(axis=0), "found_extent"
    )


def _boxed(nodule: Nodule, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64], code: str) -> Nodule:
    x, y, z = ((low_mm + high_mm) / 2).tolist()
    dx, dy, dz = (high_mm - low_mm).tolist()
    clicks = (*nodule.clicks, Click(nodule.centre_mm, inside=True)) if nodule.centre_mm else nodule.clicks
    return replace(nodule, centre_mm=(x, y, z), size_mm=(dx, dy, dz), clicks=clicks, codes=(*nodule.codes, code))


def prompt_for(volume: CTVolume, nodule: Nodule, margin_mm: float) -> Prompt:
    """Cut a nodule's box and a margin out of the image, and draw its prompts on it.

    Parameters
    ----------
    volume : CTVolume
    nodule : Nodule
        With centre and size (:func:`with_extent`).
    margin_mm : float
        Round the box, and at least as far as the clicks lie.

    Raises
    ------
    AnnotationError
        If the annotation has no centre, or a centre or click outside the image.
    """
    low, high = nodule_box(volume.frame, nodule)
    centre, size_mm = nodule.centre_mm or (0.0, 0.0, 0.0), nodule.size_mm or (SEED_BOX_MM,) * 3
    for click in nodule.clicks:
        if not volume.frame.contains(click.position_mm):
            raise AnnotationError("click_outside_volume", "a click lies outside the image; check its frame and series")
    indices = [np.rint(volume.frame.to_index(click.position_mm)).astype(int) for click in nodule.clicks]
    lows = np.asarray([low, *(index.tolist() for index in indices)])
    highs = np.asarray([high, *((index + 1).tolist() for index in indices)])
    start, stop = box_around(volume.frame, _triple(lows.min(axis=0)), _triple(highs.max(axis=0)), margin_mm)
    crop = volume.crop(start, stop)
    box = np.zeros(crop.shape, dtype=np.bool_)
    box[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))] = True
    tissue = np.asarray(crop.hu > PADDING_HU)
    seed = ball_at(crop, centre, min(size_mm) / 4.0)
    inside = clicked(crop, [click.position_mm for click in nodule.clicks if click.inside])
    outside = clicked(crop, [click.position_mm for click in nodule.clicks if not click.inside])
    inside &= tissue & ~outside
    return Prompt(crop, box, ((seed & tissue) | inside) & ~outside, inside, outside)


def clicked(crop: CTVolume, points_mm: Sequence[Triple]) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of a crop within :data:`CLICK_MM` of LPS points, at least one a point."""
    hit = np.zeros(crop.shape, dtype=np.bool_)
    for point_mm in points_mm:
        hit |= ball_at(crop, point_mm, CLICK_MM)
    return hit


def _triple(values: NDArray[np.generic]) -> IndexTriple:
    a, b, c = (int(v) for v in values)
    return a, b, c
