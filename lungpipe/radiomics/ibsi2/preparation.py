"""Resampling and statistics of IBSI 1 as far as the filters' reference values need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple


def to_isotropic(
    values: NDArray[np.float64], spacing_mm: Triple, side_mm: float, order: Literal[1, 3]
) -> NDArray[np.float64]:
    """Spline values on a grid of equal sides, centred on the image (IBSI: align by centre).

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    side_mm : float
        Wanted voxel side, mm.
    order : {1, 3}
        1 for trilinear, 3 for tricubic.
    """
    ratio = np.asarray(spacing_mm) / side_mm
    old = np.asarray(values.shape)
    new = np.ceil(old * ratio).astype(int)
    start = (old - 1) / 2 - (new - 1) / 2 / ratio
    out: NDArray[np.float64] = ndimage.affine_transform(
        values, 1 / ratio, start, tuple(new.tolist()), output=np.float64, order=order, mode="nearest"
    )
    return out


def intensity_statistics(values: NDArray[np.float64]) -> dict[str, float]:
    """The 18 intensity-based statistics of IBSI (UHIW) by their tags.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities of a region.
    """
    mean, spread = float(values.mean()), values - values.mean()
    variance = float(np.mean(spread**2))
    p10, p25, median, p75, p90 = (float(p) for p in np.percentile(values, (10, 25, 50, 75, 90)))
    middle = values[(values >= p10) & (values <= p90)]
    return {
        "stat_mean": mean,
        "stat_var": variance,
        "stat_skew": float(np.mean(spread**3)) / variance**1.5,
        "stat_kurt": float(np.mean(spread**4)) / variance**2 - 3,
        "stat_median": median,
        "stat_min": float(values.min()),
        "stat_p10": p10,
        "stat_p90": p90,
        "stat_max": float(values.max()),
        "stat_iqr": p75 - p25,
        "stat_range": float(np.ptp(values)),
        "stat_mad": float(np.mean(np.abs(spread))),
        "stat_rmad": float(np.mean(np.abs(middle - middle.mean()))),
        "stat_medad": float(np.mean(np.abs(values - median))),
        "stat_cov": variance**0.5 / mean,
        "stat_qcod": (p75 - p25) / (p75 + p25),
        "stat_energy": float(np.sum(values**2)),
        "stat_rms": float(np.mean(values**2)) ** 0.5,
    }
