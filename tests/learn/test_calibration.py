"""Calibration against scikit-learn, netcal, statsmodels, by hand and in simulation."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve as sklearn_curve
from statsmodels.stats.proportion import proportion_confint

from lungpipe.errors import DatasetError
from lungpipe.learn.calibration import CLIP, calibration_curve, expected_calibration_error, recalibrate


def formula(n=120):
    """Return labels and probabilities without a random number."""
    i = np.arange(n)
    p = (((i * 37) % n + 0.5) / n) ** 1.5
    return ((i * 53) % 101 < p * 101).astype(int), p


def clustered(rng, n_patients=80, slope=1.0, shift=0.0):
    """Return labels, probabilities and patients of two nodules each, where logit P = shift + slope * logit(p)."""
    g = np.repeat(np.arange(n_patients), 2)
    true = rng.normal(size=n_patients)[g] + rng.normal(0, 0.5, 2 * n_patients)
    y = (rng.random(len(g)) < expit(true)).astype(int)
    return y, expit((true - shift) / slope), g


@pytest.mark.parametrize(
    ("bins", "expected"), [(5, 0.02211836034576056), (10, 0.039594402079536566), (15, 0.08007169067772474)]
)
def test_error_is_netcals(bins, expected):
    """Values of netcal 1.4.0, ``ECE(bins).measure(p, y)``, on the nodules of `formula`."""
    y, p = formula()
    assert expected_calibration_error(y, p, bins=bins) == pytest.approx(expected, rel=1e-10)


def test_error_by_hand():
    """Predictions 0.1, 0.3 | 0.8, 0.8 in two bins: (|0.4 - 1| + |1.6 - 1|) / 4 = 0.3, with either way to bin."""
    y, p = [0, 1, 1, 0], [0.1, 0.3, 0.8, 0.8]
    assert expected_calibration_error(y, p, bins=2) == pytest.approx(0.3)
    assert expected_calibration_error(y, p, bins=2, kind="equal_count") == pytest.approx(0.3)
    assert expected_calibration_error(y, y) == 0
    assert expected_calibration_error(y, 1 - np.array(y)) == 1
    assert expected_calibration_error(y, [p, y], bins=2) == pytest.approx(0.15)


def test_error_of_repeats_is_their_mean():
    """With repeats the error is the mean over them, whichever way to bin."""
    y, p = formula()
    for kind in ("equal_width", "equal_count"):
        both = [expected_calibration_error(y, one, kind=kind) for one in (p, p**2)]
        assert expected_calibration_error(y, [p, p**2], kind=kind) == pytest.approx(np.mean(both))


@pytest.mark.parametrize(("ours", "theirs"), [("equal_width", "uniform"), ("equal_count", "quantile")])
def test_curve_is_scikit_learns(ours, theirs):
    """Shares and mean predictions are scikit-learn's, the interval is statsmodels' Wilson."""
    y, p = formula()
    curve = calibration_curve(y, p, bins=7, kind=ours)
    observed, predicted = sklearn_curve(y, p, n_bins=7, strategy=theirs)
    assert curve["observed"].to_numpy() == pytest.approx(observed)
    assert curve["predicted"].to_numpy() == pytest.approx(predicted)
    low, high = proportion_confint(curve["observed"] * curve["n"], curve["n"], method="wilson")
    assert curve["low"].to_numpy() == pytest.approx(low, abs=1e-12)
    assert curve["high"].to_numpy() == pytest.approx(high, abs=1e-12)
    assert curve["n"].sum() == 120


def test_curve_of_equal_repeats_is_that_of_one():
    """Binning two equal repeats changes neither counts nor limits; patients with several nodules widen them."""
    y, p = formula()
    once, twice = calibration_curve(y, p), calibration_curve(y, [p, p])
    assert (once - twice).abs().max(axis=None) < 1e-12
    copies = calibration_curve(np.repeat(y, 3), np.repeat(p, 3), np.repeat(np.arange(120), 3))
    assert copies["n"].to_list() == [36] * 10
    assert copies["n_patients"].to_list() == [12] * 10
    inside = once["observed"].between(0.01, 0.99)
    width = (copies["high"] - copies["low"])[inside] / (once["high"] - once["low"])[inside]
    assert width.between(0.99, 1.05).all()


def test_few_different_predictions_make_few_bins():
    """Ties are never split: three values give at most three bins, one value one."""
    y = np.arange(30) % 2
    assert len(calibration_curve(y, np.array([0.1, 0.5, 0.9])[np.arange(30) % 3])) <= 3
    flat = calibration_curve(y, np.full(30, 0.4))
    assert (len(flat), flat["n"][0], flat["observed"][0]) == (1, 30, 0.5)
    assert expected_calibration_error(y, np.full(30, 0.4), kind="equal_count") == pytest.approx(0.1)


def test_slope_and_intercept_are_statsmodels():
    """Estimates and patient-clustered standard errors equal those of statsmodels' GLM, both with its offset and without."""
    import statsmodels.api as sm

    y, p, g = clustered(np.random.default_rng(0), slope=0.6, shift=0.3)
    found = recalibrate(y, p, g)
    factor = np.sqrt(80 / 79)
    kwargs = {"cov_type": "cluster", "cov_kwds": {"groups": g, "use_correction": False}}
    slope = sm.GLM(y, sm.add_constant(logit(p)), family=sm.families.Binomial()).fit(**kwargs, tol=1e-12)
    large = sm.GLM(y, np.ones((160, 1)), family=sm.families.Binomial(), offset=logit(p)).fit(**kwargs, tol=1e-12)
    assert found.slope == pytest.approx(slope.params[1], rel=1e-8)
    assert found.slope_error == pytest.approx(slope.bse[1] * factor, rel=1e-6)
    assert found.intercept == pytest.approx(large.params[0], rel=1e-8)
    assert found.intercept_error == pytest.approx(large.bse[0] * factor, rel=1e-6)
    assert found.slope_high - found.slope == pytest.approx(1.959963985 * found.slope_error)


def test_hand_solved_recalibration():
    """Two values of p, 0.2 and 0.8, with shares 1/4 and 3/4: slope log 3 / log 4, intercept 0; all 0.5, share 3/4: log 3."""
    y, p = [1, 0, 0, 0, 1, 1, 1, 0], np.repeat([0.2, 0.8], 4)
    found = recalibrate(y, p)
    assert found.slope == pytest.approx(np.log(3) / np.log(4), rel=1e-10)
    assert found.intercept == pytest.approx(0, abs=1e-10)
    flat = recalibrate([1, 1, 1, 0], np.full(4, 0.5))
    assert flat.intercept == pytest.approx(np.log(3))
    assert np.isnan(flat.slope)


def test_shifted_and_stretched_predictions_are_found_out():
    """Doubling the logits halves the slope exactly; adding a constant to them lowers the intercept by it."""
    y, p, g = clustered(np.random.default_rng(3))
    plain = recalibrate(y, p, g)
    assert recalibrate(y, expit(2 * logit(p)), g).slope == pytest.approx(plain.slope / 2, rel=1e-9)
    assert recalibrate(y, expit(logit(p) + 0.7), g).intercept == pytest.approx(plain.intercept - 0.7, rel=1e-9)
    both = recalibrate(y, [p, expit(2 * logit(p))], g)
    assert both.slope == pytest.approx(0.75 * plain.slope, rel=1e-9)


def test_intervals_cover():
    """Over clustered, well calibrated cohorts, 92 to 98 % of the intervals hold slope 1 and intercept 0."""
    rng, slope, intercept = np.random.default_rng(5), 0, 0
    for _ in range(400):
        found = recalibrate(*clustered(rng))
        slope += found.slope_low <= 1 <= found.slope_high
        intercept += found.intercept_low <= 0 <= found.intercept_high
    assert 0.92 <= slope / 400 <= 0.98
    assert 0.92 <= intercept / 400 <= 0.98


def test_certain_predictions_and_parted_classes():
    """p of 0 and 1 are clipped; predictions that part the classes have no slope but an intercept."""
    y = np.arange(20) % 2
    wrong = np.where(np.arange(20) < 2, 1 - y, y)
    found = recalibrate(y, wrong)
    clipped = recalibrate(y, np.clip(wrong, CLIP, 1 - CLIP))
    assert (found.slope, found.intercept) == (clipped.slope, clipped.intercept)
    assert np.isfinite([found.slope, found.intercept]).all()
    parted = recalibrate(y, 0.2 + 0.6 * y)
    assert np.isnan([parted.slope, parted.slope_low, parted.slope_error]).all()
    assert parted.intercept == pytest.approx(0, abs=1e-9)


def test_ten_patients():
    """Ten patients: everything is finite and wide."""
    y, p, g = clustered(np.random.default_rng(2), 10)
    found = recalibrate(y, p, g)
    assert found.slope_high - found.slope_low > 0.5
    assert np.isnan(recalibrate(y, p, np.zeros(20)).slope_error)


@pytest.mark.parametrize("figure", [calibration_curve, expected_calibration_error, recalibrate])
@pytest.mark.parametrize(
    ("labels", "p", "words"),
    [
        ([0, 1], [0.2, 1.2], "no probabilities"),
        ([0, 0], [0.2, 0.3], "Both classes"),
        ([0, 1], [0.2], "a label, a patient and a score"),
        ([0, 1], [0.2, np.nan], "Both classes"),
    ],
)
def test_unusable_input_is_refused(figure, labels, p, words):
    """Decision values, one class, unequal lengths and missing scores are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        figure(labels, p)


def test_no_bins_are_refused():
    """A curve needs a bin."""
    with pytest.raises(DatasetError, match="bins"):
        calibration_curve([0, 1], [0.2, 0.3], bins=0)
