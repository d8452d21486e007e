"""Active contour driven by a saliency map and by local image fitting, as a level set in three dimensions.

The model of Iqbal et al., "Saliency-Driven Active Contour Model for Image Segmentation" (IEEE Access;
doi:10.48550/arXiv.2205.11063): the contour moves to where its inside and outside explain, each by a mean, both the image
and a map of how far each voxel stands out from its surroundings. The image term is the local image fitting (LIF) of Zhang,
Song and Zhang (2010, doi:10.1016/j.patcog.2009.10.010), whose regularisation it also takes: after each step the level set
is blurred with a Gaussian, in place of a length term and of re-initialisation. Here it is also kept between -1 and 1, so
that a voxel far on one side can come back within a few steps. All widths are in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import SegmentationError
from lungpipe.segment.grow import contrast_shares, near

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.segment.classical import View

#: Saliency: standard deviation of the centre, mm, and sides of the surrounds in sides of the box.
CENTRE_MM, SURROUND_SIDES = 0.5, (1.0, 2.0)
#: Share of the box's axes that the first contour has.
START_SHARE = 0.75
#: Weight that a local mean keeps of the mean of all, so that it is defined where its side of the contour is far away.
FAR = 1e-3
#: Least difference of the means on both sides of a contour, as a share of the contrast between surroundings and seed.
LEAST_STEP = 0.2
#: The contour is at rest when the mask has not changed for so many steps.
STILL_STEPS = 3


def saliency_contour(
    view: View,
    *,
    window_mm: float = 3.0,
    smoothing_mm: float = 0.4,
    saliency_weight: float = 0.3,
    step: float = 4.0,
    iterations: int = 60,
    margin_mm: float = 3.0,
) -> NDArray[np.bool_]:
    """Voxels inside the contour at rest.

    It starts as the ellipsoid of three quarters of the box's axes, with the seed. HU enter as shares of the contrast
    between surroundings and seed. The image is fitted by local means; the saliency, as it is level over a nodule of any
    size, by one mean inside and one outside, which moves a contour that has the same tissue on both sides.

    Parameters
    ----------
    view : View
    window_mm : float
        Standard deviation of the window of the local means.
    smoothing_mm : float
        Standard deviation of the Gaussian that regularises the level set.
    saliency_weight : float
        Of the saliency's fitting, from 0 to 1; the image's has the rest.
    step : float
        Of the level set, which is -1 outside and 1 inside, for a voxel of the nodule's HU next to one of the lung's.
    iterations : int
        Stop after this many, at rest or not.
    margin_mm : float
        Round the box, in which the contour may move.

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    SegmentationError
        As :func:`lungpipe.segment.grow.contrast_hu` and :func:`refuse_no_boundary`.
    """
    share = contrast_shares(view)
    salient = saliency(share, view.tissue, view.spacing_mm, view.box)
    room = near(view.box, view.spacing_mm, margin_mm) & view.tissue & ~view.outside
    fixed = view.seed & view.tissue & ~view.outside
    level = np.where((start_ellipsoid(view.box, START_SHARE) & room) | fixed, 1.0, -1.0)
    inside, still = level > 0, 0
    weight = view.tissue.astype(np.float64)
    sums = _blurred(weight, view.spacing_mm, window_mm), _blurred(weight * share, view.spacing_mm, window_mm)
    for _ in range(iterations):
        if not np.any(room & ~inside):
            break
        force = (1.0 - saliency_weight) * _local_force(inside, share, view.tissue, sums, view.spacing_mm, window_mm)
        force += saliency_weight * _global_force(inside, salient, room)
        level = _blurred(np.clip(level + step * force, -1.0, 1.0), view.spacing_mm, smoothing_mm)
        level = np.where(fixed, 1.0, np.where(room, level, -1.0))
        still = still + 1 if np.array_equal(level > 0, inside) else 0
        inside = level > 0
        if still == STILL_STEPS:
            break
    refuse_no_boundary(inside, room, fixed, share)
    return inside


def refuse_no_boundary(
    inside: NDArray[np.bool_], room: NDArray[np.bool_], fixed: NDArray[np.bool_], share: NDArray[np.float64]
) -> None:
    """Refuse a contour that shrank to the seed, filled all it may, or has the same tissue on both sides.

    Parameters
    ----------
    inside, room, fixed : ndarray of bool, shape (z, y, x)
        The contour's inside, where it may be, and the seed.
    share : ndarray, shape (z, y, x)
        HU as shares of the contrast between surroundings and seed.

    Raises
    ------
    SegmentationError
        ``contour_vanished`` or ``no_boundary``.
    """
    if not np.any(inside & ~fixed):
        raise SegmentationError(
            "contour_vanished", "the contour shrank to the seed; check the centre, or annotate a mask"
        )
    beyond = room & ~inside
    if not beyond.any() or share[inside].mean() - share[beyond].mean() < LEAST_STEP:
        raise SegmentationError(
            "no_boundary", "the box and its margin hold the same tissue throughout; check the box, or annotate a mask"
        )


def saliency(
    share: NDArray[np.float64], tissue: NDArray[np.bool_], spacing_mm: Triple, box: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How far each voxel (z, y, x) is brighter than its surroundings, from 0 to 1.

    The voxel's HU, a little blurred, less the mean of a cuboid about it, in turn of the box's sides and of twice these, and
    the mean of both (after Achanta et al. 2008, doi:10.1007/978-3-540-79547-6_7, whose scales are parts of the image). What
    is darker than its surroundings is not salient.
    """
    weight = tissue.astype(np.float64)
    shade = np.maximum(_blurred(weight, spacing_mm, CENTRE_MM), 1e-6)
    centre = _blurred(weight * share, spacing_mm, CENTRE_MM) / shade
    found = np.zeros_like(share)
    for scale in SURROUND_SIDES:
        sides = [2 * round(scale * (high - low) / 2) + 1 for low, high in _bounds(box)]
        around = np.maximum(ndimage.uniform_filter(weight, sides, mode="constant"), 1e-6)
        found += np.maximum(centre - ndimage.uniform_filter(weight * share, sides, mode="constant") / around, 0.0)
    found *= tissue
    return np.asarray(found / max(float(found.max()), 1e-12))


def start_ellipsoid(box: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of the ellipsoid that a box holds, shrunk to a share of its axes."""
    parts = [
        ((np.arange(n) - (low + high - 1) / 2) / (share * (high - low) / 2)) ** 2
        for n, (low, high) in zip(box.shape, _bounds(box), strict=True)
    ]
    z, y, x = np.meshgrid(*parts, indexing="ij", sparse=True)
    return np.asarray(z + y + x <= 1.0)


def _bounds(box: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First voxel of a box along each axis, and the one after its last."""
    return [(int(found.min()), int(found.max()) + 1) for found in np.nonzero(box)]


def _local_force(
    inside: NDArray[np.bool_],
    image: NDArray[np.float64],
    tissue: NDArray[np.bool_],
    sums: tuple[NDArray[np.float64], NDArray[np.float64]],
    spacing_mm: Triple,
    window_mm: float,
) -> NDArray[np.float64]:
    """Force of local image fitting at each voxel (z, y, x): (I - (m1 + m2) / 2) (m1 - m2), m the local means.

    Zhang et al. have I - m1 H - m2 (1 - H) in the first bracket. On the contour, where H is one half, that is the same;
    elsewhere it would keep voxels that have gone far to one side from coming back.
    """
    within = (inside & tissue).astype(np.float64)
    area, product = _blurred(within, spacing_mm, window_mm), _blurred(within * image, spacing_mm, window_mm)
    mean_in = (product + FAR * float(image[inside].mean())) / (area + FAR)
    mean_out = (sums[1] - product + FAR * float(image[tissue & ~inside].mean())) / (sums[0] - area + FAR)
    return np.asarray((image - (mean_in + mean_out) / 2) * (mean_in - mean_out))


def _global_force(
    inside: NDArray[np.bool_], image: NDArray[np.float64], room: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The same with one mean inside and one outside, in the room: it reaches where local means do not differ."""
    mean_in, mean_out = float(image[inside].mean()), float(image[room & ~inside].mean())
    return np.asarray((image - (mean_in + mean_out) / 2) * (mean_in - mean_out))


def _blurred(image: NDArray[np.float64], spacing_mm: Triple, width_mm: float) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(image, [width_mm / s for s in spacing_mm], mode="nearest", truncate=2.0))
