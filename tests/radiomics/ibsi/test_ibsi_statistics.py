"""The 18 intensity statistics of IBSI."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lungpipe.errors import FeatureError
from lungpipe.radiomics.ibsi.statistics import intensity_statistics


def test_they_are_those_of_other_implementations():
    """Moments and deviations of a skewed sample are SciPy's, percentiles NumPy's."""
    x = np.random.default_rng(5).gamma(2.0, 30.0, 501) - 20
    found = intensity_statistics(x)
    q = np.percentile(x, [10, 25, 75, 90])
    middle = x[(x >= q[0]) & (x <= q[3])]
    expected = {
        "stat_mean": stats.tmean(x),
        "stat_var": stats.moment(x, 2),
        "stat_skew": stats.skew(x),
        "stat_kurt": stats.kurtosis(x),
        "stat_median": np.median(x),
        "stat_min": x.min(),
        "stat_p10": q[0],
        "stat_p90": q[3],
        "stat_max": x.max(),
        "stat_iqr": stats.iqr(x),
        "stat_range": np.ptp(x),
        "stat_mad": np.abs(x - x.mean()).mean(),
        "stat_rmad": np.abs(middle - middle.mean()).mean(),
        "stat_medad": np.abs(x - np.median(x)).mean(),
        "stat_cov": stats.variation(x),
        "stat_qcod": (q[2] - q[1]) / (q[2] + q[1]),
        "stat_energy": x @ x,
        "stat_rms": np.sqrt(x @ x / 501),
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-12)


def test_equal_intensities_have_neither_skewness_nor_kurtosis():
    """The manual sets both to 0 where the variance is 0; 0.1 leaves a trace of variance by rounding."""
    found = intensity_statistics(np.full(7, 0.1))
    assert (found["stat_skew"], found["stat_kurt"], found["stat_var"]) == (0.0, 0.0, 0.0)
    assert found["stat_cov"] == 0.0


def test_coefficients_without_a_divisor_are_nan():
    """A mean of 0 and quartiles that add to 0 leave the coefficients undefined."""
    found = intensity_statistics([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert np.isnan(found["stat_cov"])
    assert np.isnan(found["stat_qcod"])
    assert np.isfinite([value for name, value in found.items() if name not in {"stat_cov", "stat_qcod"}]).all()


def test_of_two_values_none_lies_between_the_percentiles():
    """So the robust deviation of two different values is undefined; of two equal ones it is 0."""
    assert np.isnan(intensity_statistics([1.0, 3.0])["stat_rmad"])
    assert intensity_statistics([2.0, 2.0])["stat_rmad"] == 0.0


def test_no_voxel_is_an_error():
    """An empty region has no statistics."""
    with pytest.raises(FeatureError, match="at least one voxel") as caught:
        intensity_statistics([])
    assert caught.value.code == "empty_region"
