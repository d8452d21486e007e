"""Features of the intensity histogram (ZVCW) and of the intensity-volume histogram (P88C)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.radiomics.ibsi.levels import discretise
from lungpipe.radiomics.ibsi.statistics import moments_and_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.configurations import Bins


def histogram_features(levels: NDArray[np.int64]) -> dict[str, float]:
    """Compute the 23 features of a histogram of grey levels, by tag (manual, section 3.4).

    Parameters
    ----------
    levels : ndarray of int, shape (n,)
        Grey levels of the region's voxels, from 1.

    Notes
    -----
    The histogram reaches from level 1 to the greatest level found, empty bins included. Of modes, the one nearest to the
    mean is taken, and of two as near the lower. Of equal gradients, the one at the lowest level.
    """
    counts = np.bincount(levels)[1:]
    number = np.arange(1, len(counts) + 1)
    found = {f"ih_{name}": value for name, value in moments_and_spread(levels.astype(np.float64)).items()}
    modes = number[counts == counts.max()]
    share = counts[counts > 0] / len(levels)
    if len(counts) > 1:
        slope = np.gradient(counts.astype(np.float64))
        steepest, deepest = int(np.argmax(slope)), int(np.argmin(slope))
        gradient = (slope[steepest], number[steepest], slope[deepest], number[deepest])
    else:
        gradient = (np.nan,) * 4
    return found | {
        "ih_mode": float(modes[np.argmin(np.abs(modes - levels.mean()))]),
        "ih_entropy": float(-np.sum(share * np.log2(share))) + 0.0,
        "ih_uniformity": float(np.sum(share**2)),
        "ih_max_grad": float(gradient[0]),
        "ih_max_grad_g": float(gradient[1]),
        "ih_min_grad": float(gradient[2]),
        "ih_min_grad_g": float(gradient[3]),
    }


def volume_histogram_features(
    samples: NDArray[np.float64], bins: Bins, range_hu: tuple[float, float] | None
) -> dict[str, float]:
    """Compute the features of the intensity-volume histogram, by tag (manual, section 3.5).

    Parameters
    ----------
    samples : ndarray, shape (n,)
        Intensities of the region.
    bins : Bins
        ``"none"`` for calibrated whole numbers, a width for calibrated continuous intensities, whose bins are then
        represented by their centres, and a count for intensities without units, whose bins are taken by number.
    range_hu : tuple of float, optional
        Re-segmentation range. It is the range of the histogram too, save for a count of bins.

    Returns
    -------
    dict
        Volumes as fractions; intensities in HU, or as bin numbers where bins are counted. NaN where the range is a single
        intensity (no fraction of it can be taken), save for the area, which the manual sets to 0 then.
    """
    low, high = range_hu if range_hu is not None else (float(samples.min()), float(samples.max()))
    step = 1.0
    x: NDArray[np.floating[Any]] = samples
    if bins.kind == "width":
        step = bins.size
        x = low + (discretise(samples, bins, (low, high)) - 0.5) * step
        low, high = low + step / 2, high - step / 2
    elif bins.kind == "count":
        x = discretise(samples, bins).astype(np.float64)
        low, high = 1.0, bins.size
    steps = max(int(np.floor((high - low) / step + 1e-9)), 0)
    if not steps:
        return dict.fromkeys(_TAGS, float("nan")) | {"ivh_auc": 0.0}
    intensity = low + step * np.arange(steps + 1)
    fraction = (intensity - low) / (high - low)
    # Half a thousandth of a step lower: the centres of equal bins may differ by rounding.
    volume = 1 - np.searchsorted(np.sort(x), intensity - 5e-4 * step) / len(x)
    v10, v90 = (float(volume[fraction >= at - 1e-12].max()) for at in (0.1, 0.9))
    i10, i90 = (_lowest(intensity, volume <= at + 1e-12) for at in (0.1, 0.9))
    area = float(np.trapezoid(volume, fraction)) if x.min() < x.max() else 0.0
    return dict(zip(_TAGS, (v10, v90, i10, i90, v10 - v90, i10 - i90, area), strict=True))


_TAGS = ("ivh_v10", "ivh_v90", "ivh_i10", "ivh_i90", "ivh_diff_v10_v90", "ivh_diff_i10_i90", "ivh_auc")


def _lowest(intensity: NDArray[np.floating[Any]], where: NDArray[np.bool_]) -> float:
    """The least intensity that meets a condition, NaN if none does."""
    return float(intensity[where][0]) if where.any() else float("nan")
