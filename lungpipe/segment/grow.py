"""Region growing from the seed: by a threshold at half the contrast, and by the confidence interval of what has grown.

Both grow through faces of voxels, within the box and a margin, and stop before they burst out of the box: a nodule fills
its box and little else, so a region of which much lies outside has found a vessel or the wall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import SegmentationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.segment.classical import View

#: Seed and surroundings that differ by less than this, HU, cannot be told apart.
LEAST_CONTRAST_HU = 50.0
#: A region bursts when more than this share of it lies outside the box.
BURST_SHARE = 0.2
#: Least standard deviation of a growing region, as a share of the contrast: the flat middle of a nodule without noise
#: says nothing of its blurred rim, and growth would stop there.
LEAST_SD_SHARE = 0.1
#: Levels that are tried, as shares of the contrast, when a region bursts.
LEVELS = (0.55, 0.6, 0.65, 0.7)


def contrast_hu(view: View) -> tuple[float, float]:
    """HU of what surrounds a nodule, and of the nodule at its seed.

    The nodule's is the median at the seed. That of the surroundings is the median of the voxels outside the box that are
    nearer to the darkest twentieth of them than to the nodule, so that a wall beside the nodule does not count.

    Parameters
    ----------
    view : View

    Returns
    -------
    surroundings_hu, nodule_hu : float

    Raises
    ------
    SegmentationError
        ``no_seed`` where the seed has no tissue, ``no_surroundings`` where the box has no tissue round it, and
        ``no_contrast`` where the nodule is not denser than its surroundings by :data:`LEAST_CONTRAST_HU`.
    """
    within, around = view.hu[view.seed & view.tissue & ~view.outside], view.hu[view.tissue & ~view.box]
    if not within.size:
        raise SegmentationError("no_seed", "the annotated centre has no tissue; check its frame and series")
    if not around.size:
        raise SegmentationError("no_surroundings", "the box has no tissue round it to compare the nodule with")
    nodule_hu = float(np.median(within))
    dark_hu = float(np.percentile(around, 5))
    dark = around[around <= (dark_hu + nodule_hu) / 2]
    surroundings_hu = float(np.median(dark)) if dark.size else dark_hu
    if nodule_hu - surroundings_hu < LEAST_CONTRAST_HU:
        raise SegmentationError(
            "no_contrast",
            f"the annotated centre has {nodule_hu:.0f} HU and its surroundings {surroundings_hu:.0f} HU; expected it to be"
            f" denser by {LEAST_CONTRAST_HU:.0f} HU or more; check the centre, or annotate a mask",
        )
    return surroundings_hu, nodule_hu


def contrast_shares(view: View) -> NDArray[np.float64]:
    """HU as shares (z, y, x) of the contrast between surroundings, 0, and nodule, 1; errors as :func:`contrast_hu`."""
    surroundings_hu, nodule_hu = contrast_hu(view)
    return np.asarray(np.clip((view.hu - surroundings_hu) / (nodule_hu - surroundings_hu), 0.0, 1.0))


def near(box: NDArray[np.bool_], spacing_mm: Triple, margin_mm: float) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of a box and a margin of some mm along each axis, at least one voxel."""
    grown = box
    for axis, spacing in enumerate(spacing_mm):
        steps = max(1, round(margin_mm / spacing))
        grown = np.asarray(ndimage.maximum_filter1d(grown, 2 * steps + 1, axis, mode="constant"))
    return grown


def connected_threshold(
    view: View,
    *,
    level: float = 0.5,
    margin_mm: float = 5.0,
) -> NDArray[np.bool_]:
    """Voxels connected with the seed and above a threshold between the nodule and its surroundings.

    At half the contrast, because that is where the scanner's blur leaves the edge of what is large beside it. Where the
    region bursts, the higher levels of :data:`LEVELS` are tried; where all burst, it is the first, within the margin, left
    to be parted.

    Parameters
    ----------
    view : View
    level : float
        Share of the contrast above which a voxel may be inside.
    margin_mm : float
        Round the box, in which the region may grow; wider than a mask's, so that one sees that it leaves.

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    SegmentationError
        As :func:`contrast_hu`; ``nothing_at_seed`` where the seed is below the threshold.
    """
    around_hu, nodule_hu = contrast_hu(view)
    room = near(view.box, view.spacing_mm, margin_mm) & view.tissue & ~view.outside
    first = None
    for share in (level, *(tried for tried in LEVELS if tried > level)):
        region = grown_above(view.hu, around_hu + share * (nodule_hu - around_hu), room, view.seed)
        if not bursts(region, view.box):
            return region
        first = region if first is None else first
    return room if first is None else first


def confidence_connected(
    view: View,
    *,
    multiplier: float = 3.0,
    iterations: int = 20,
    margin_mm: float = 5.0,
) -> NDArray[np.bool_]:
    """Voxels connected with the seed and not darker than a multiple of the region's standard deviation below its mean.

    The interval is taken from the seed, the region grown, the interval taken from the region, and so on until it stays.
    It is open above, unlike that of SimpleITK's ``ConfidenceConnected``: calcifications belong to the nodule. No interval
    reaches below half the contrast, beyond which lies lung. The region before it bursts is kept, unless that is the seed:
    then what is as bright as the nodule leaves the box with it, and all above half the contrast is left to be parted.

    Parameters
    ----------
    view, margin_mm
        As in :func:`connected_threshold`.
    multiplier : float
        Standard deviations.
    iterations : int
        Stop after this many.

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    SegmentationError
        As :func:`connected_threshold`.
    """
    around_hu, nodule_hu = contrast_hu(view)
    room = near(view.box, view.spacing_mm, margin_mm) & view.tissue & ~view.outside
    lowest_hu, least_sd_hu = (around_hu + nodule_hu) / 2, LEAST_SD_SHARE * (nodule_hu - around_hu)
    start = view.seed & room & (view.hu >= lowest_hu)
    region = start
    for _ in range(iterations):
        inside = view.hu[region]
        sd_hu = max(float(inside.std()), least_sd_hu)
        lower_hu = max(lowest_hu, float(inside.mean()) - multiplier * sd_hu)
        wider = grown_above(view.hu, lower_hu, room, start)
        if bursts(wider, view.box):
            return grown_above(view.hu, lowest_hu, room, start) if region is start else region
        if np.array_equal(wider, region):
            break
        region = wider
    return region


def grown_above(
    hu: NDArray[np.float64], lower_hu: float, room: NDArray[np.bool_], seed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of the room at or above some HU that are connected with the seed through faces.

    Raises
    ------
    SegmentationError
        ``nothing_at_seed`` where no voxel of the seed is.
    """
    bright = room & (hu >= lower_hu)
    if not np.any(bright & seed):
        raise SegmentationError(
            "nothing_at_seed",
            f"no voxel at the annotated centre has {lower_hu:.0f} HU or more; check the centre, or annotate a mask",
        )
    labels, _ = ndimage.label(bright)
    touched = np.unique(labels[bright & seed])
    return np.asarray(np.isin(labels, touched))


def bursts(region: NDArray[np.bool_], box: NDArray[np.bool_]) -> bool:
    """Whether too much of a region (z, y, x) lies outside the box."""
    return bool(np.count_nonzero(region & ~box) > BURST_SHARE * np.count_nonzero(region))
