"""Temperature scaling finds the temperature that was put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from lungpipe.deep.temperature import at_temperature, fit_temperature, logits_of
from lungpipe.errors import DatasetError
from lungpipe.learn.calibration import expected_calibration_error


def calibrated(n=60_000, seed=0):
    """Logits, and labels drawn with just their probabilities."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 2.0, n)
    return z, (rng.uniform(size=n) < special.expit(z)).astype(int)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_logits_scaled_by_a_factor_give_it_back(factor):
    """Calibrated logits times a factor have that temperature, up to what the sample leaves open."""
    z, y = calibrated()
    found = fit_temperature(z * factor, y)
    assert found.value == pytest.approx(factor, rel=0.03)
    assert found.n == len(z)


@given(st.floats(0.2, 5.0))
@settings(max_examples=15, deadline=None)
def test_temperature_scales_exactly(factor):
    """On the same labels, logits times a factor have just that many times the temperature."""
    z, y = calibrated(2000, 3)
    assert fit_temperature(z * factor, y).value == pytest.approx(factor * fit_temperature(z, y).value, rel=1e-4)


def test_calibration_gets_better_and_no_voxel_changes_sides():
    """Logits that are three times too sure end calibrated: likelihood and error fall, as told, and ranks stay."""
    z, y = calibrated()
    sure = 3 * z
    found = fit_temperature(sure, y)
    p = special.expit(sure)
    after = at_temperature(p, found.value)
    assert found.nll_after < found.nll_before
    assert found.ece_before == pytest.approx(expected_calibration_error(y, p))
    assert found.ece_before > 0.08
    assert found.ece_after < 0.02
    np.testing.assert_array_equal(after > 0.5, (p > 0.5) & (after != 0.5))
    inner = np.abs(sure) < 10  # beyond, probabilities are clipped
    assert np.all(np.diff(after[inner][np.argsort(z[inner])]) >= 0)


def test_fit_is_the_optimum_of_the_likelihood():
    """No temperature of a fine grid has a higher likelihood."""
    z, y = calibrated(5000, 1)
    found = fit_temperature(z * 2, y)

    def nll(t):
        return -np.mean(special.log_expit(np.where(y == 1, 1, -1) * z * 2 / t))

    assert found.nll_after == pytest.approx(nll(found.value))
    assert found.nll_before == pytest.approx(nll(1.0))
    assert all(nll(t) >= found.nll_after - 1e-9 for t in np.geomspace(0.3, 8, 200))


def test_maps_keep_their_shape_and_one_leaves_them():
    """A temperature of 1 leaves a map as it is; a hot one goes to one half."""
    p = np.random.default_rng(0).uniform(0.01, 0.99, (2, 3, 4))
    np.testing.assert_allclose(at_temperature(p, 1.0), p)
    np.testing.assert_allclose(at_temperature(p, 1e6), 0.5, atol=1e-4)
    np.testing.assert_allclose(special.expit(logits_of(p)), p)
    assert np.isfinite(logits_of([0.0, 1.0])).all()


@pytest.mark.parametrize(
    ("logits", "inside", "told"),
    [
        ([1.0, 2.0], [1, 1], "inside .1. and outside .0., both"),
        ([1.0, np.inf], [1, 0], "1 not finite"),
        ([1.0, 2.0], [1], "found 2 logits .* and 1 labels"),
        ([1.0, 2.0], [0.5, 1], "inside .1. and outside"),
        ([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1], "without an error"),
        ([2.0, 1.0, -1.0, -2.0], [0, 0, 1, 1], "or not at all"),
    ],
)
def test_what_has_no_temperature_is_refused(logits, inside, told):
    """Voxels of one kind, gaps, other shapes, and logits of which no temperature is best are refused."""
    with pytest.raises(DatasetError, match=told):
        fit_temperature(logits, inside)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_temperature_is_above_zero(temperature):
    """No temperature at or below 0 is taken."""
    with pytest.raises(DatasetError, match="above 0"):
        at_temperature([0.5], temperature)
