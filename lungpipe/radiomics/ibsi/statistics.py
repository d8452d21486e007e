"""The 18 intensity-based statistics of IBSI (UHIW); the intensity histogram has the same ones of its levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import FeatureError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def intensity_statistics(values: ArrayLike) -> dict[str, float]:
    """Compute the intensity-based statistics of a set of values (IBSI reference manual, section 3.3).

    Parameters
    ----------
    values : array_like
        Intensities of a region's voxels, of any shape.

    Returns
    -------
    dict
        By the tags of the published tables, in their order: ``stat_mean``, ``stat_var``, ``stat_skew``, ``stat_kurt``,
        ``stat_median``, ``stat_min``, ``stat_p10``, ``stat_p90``, ``stat_max``, ``stat_iqr``, ``stat_range``,
        ``stat_mad``, ``stat_rmad``, ``stat_medad``, ``stat_cov``, ``stat_qcod``, ``stat_energy``, ``stat_rms``. Units
        are those of the values; variance and energy have their square; skewness, kurtosis and the two coefficients have
        none. The coefficient of variation is NaN for a mean of 0, that of dispersion for quartiles that add to 0, the
        robust deviation where no value lies between the percentiles (of two values, none does).

    Raises
    ------
    FeatureError
        If there is no value.

    Notes
    -----
    Variance divides by the number of voxels. Kurtosis is in excess of the normal distribution's. The manual sets skewness
    and kurtosis to 0 where the variance is 0. Percentiles are interpolated linearly between voxels, which the manual
    leaves open. The robust mean absolute deviation takes the values from the 10th to the 90th percentile, both included.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if not x.size:
        raise FeatureError("empty_region", "intensity statistics need at least one voxel, found none")
    return {f"stat_{name}": value for name, value in moments_and_spread(x).items()} | {
        "stat_energy": float(np.sum(x**2)),
        "stat_rms": float(np.sqrt(np.mean(x**2))),
    }


def moments_and_spread(x: NDArray[np.float64]) -> dict[str, float]:
    """The 16 statistics that intensities and histogram levels share, by the second part of their tags.

    Parameters
    ----------
    x : ndarray, shape (n,)
        At least one value.
    """
    mean = float(x.mean())
    centred = x - mean
    low, high = float(x.min()), float(x.max())
    flat = low == high  # not by the variance: rounding of the mean can leave a trace of one
    variance = 0.0 if flat else float(np.mean(centred**2))
    p10, p25, median, p75, p90 = (float(p) for p in np.percentile(x, [10, 25, 50, 75, 90]))
    middle = x[(x >= p10) & (x <= p90)]
    return {
        "mean": mean,
        "var": variance,
        "skew": 0.0 if flat else float(np.mean(centred**3)) / variance**1.5,
        "kurt": 0.0 if flat else float(np.mean(centred**4)) / variance**2 - 3.0,
        "median": median,
        "min": low,
        "p10": p10,
        "p90": p90,
        "max": high,
        "iqr": p75 - p25,
        "range": high - low,
        "mad": float(np.mean(np.abs(centred))),
        "rmad": float(np.mean(np.abs(middle - middle.mean()))) if middle.size else float("nan"),
        "medad": float(np.mean(np.abs(x - median))),
        "cov": float(np.sqrt(variance)) / mean if mean else float("nan"),
        "qcod": (p75 - p25) / (p75 + p25) if p75 + p25 else float("nan"),
    }
