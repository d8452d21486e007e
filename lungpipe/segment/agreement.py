"""How far raters of one nodule agree: overlap of their masks, spread of their volumes, summaries of their ratings."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.segment.consensus import joint_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.volume import Mask


@dataclass(frozen=True, slots=True)
class VolumeSpread:
    """Volumes of several raters' masks by voxel count, mm3.

    ``variation`` is the coefficient of variation: the sample standard deviation (n - 1) over the mean. It is NaN for one
    rater, and where all masks are empty.
    """

    min_mm3: float
    max_mm3: float
    mean_mm3: float
    variation: float


@dataclass(frozen=True, slots=True)
class RatingSummary:
    """One rating over the raters who gave it; all but ``n`` are NaN where nobody did."""

    n: int
    mean: float
    median: float
    min: float
    max: float


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks of one grid, 2 |A and B| / (|A| + |B|) (Dice 1945, doi:10.2307/1932409).

    Returns
    -------
    float
        From 0 to 1; NaN where both are empty, as there is nothing to agree on.

    Raises
    ------
    GeometryError
        If the masks are on different grids.
    """
    return mean_pairwise_dice([first, second])


def mean_pairwise_dice(masks: Sequence[Mask]) -> float:
    """Mean Dice overlap of all pairs of raters; NaN for one rater.

    Pairs of empty masks have no overlap to speak of and are left out of the mean; if all pairs are, the result is NaN.

    Raises
    ------
    GeometryError
        If there is no mask, or two are on different grids.
    """
    stack, _ = joint_stack(masks)
    flat = stack.reshape(len(masks), -1)
    sizes = flat.sum(axis=1)
    overlaps = [
        2 * np.count_nonzero(flat[i] & flat[j]) / int(sizes[i] + sizes[j])
        for i, j in combinations(range(len(masks)), 2)
        if sizes[i] + sizes[j]
    ]
    return statistics.fmean(overlaps) if overlaps else math.nan


def volume_spread(masks: Sequence[Mask]) -> VolumeSpread:
    """Smallest, largest and mean volume of some masks, mm3, and their coefficient of variation.

    Raises
    ------
    ValueError
        If there is no mask.
    """
    volumes_mm3 = [mask.volume_mm3 for mask in masks]
    mean_mm3 = statistics.fmean(volumes_mm3)
    varied = len(masks) > 1 and mean_mm3 > 0
    variation = statistics.stdev(volumes_mm3) / mean_mm3 if varied else math.nan
    return VolumeSpread(min(volumes_mm3), max(volumes_mm3), mean_mm3, variation)


def summarise_rating(values: Sequence[float]) -> RatingSummary:
    """Number, mean, median and range of one rating's values.

    Parameters
    ----------
    values : sequence of float
        What the raters gave; those who gave nothing, or nothing valid, are left out by the caller.
    """
    if not values:
        return RatingSummary(0, math.nan, math.nan, math.nan, math.nan)
    return RatingSummary(
        len(values), statistics.fmean(values), float(statistics.median(values)), float(min(values)), float(max(values))
    )
