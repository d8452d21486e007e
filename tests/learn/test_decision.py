"""Decision curves against the package dcurves, by hand and in simulation."""

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.learn.decision import THRESHOLDS, decision_curve


def test_net_benefit_is_that_of_dcurves():
    """Values of dcurves 1.1.7, ``dca(data, "y", ["p"], thresholds)``, on 120 nodules without a random number."""
    i = np.arange(120)
    p = (((i * 37) % 120 + 0.5) / 120) ** 1.5
    y = ((i * 53) % 101 < p * 101).astype(int)
    curve = decision_curve(y, p, thresholds=[0.05, 0.1, 0.25, 0.4, 0.6, 0.8])
    model = [0.38421052631578945, 0.35740740740740745, 0.2888888888888889]
    model += [0.22222222222222227, 0.14583333333333337, 0.058333333333333334]
    everybody = [0.3859649122807018, 0.35185185185185186, 0.22222222222222227]
    everybody += [0.02777777777777779, -0.4583333333333331, -1.9166666666666667]
    assert curve["model"].to_numpy() == pytest.approx(np.array(model), abs=1e-12)
    assert curve["treat_all"].to_numpy() == pytest.approx(np.array(everybody), abs=1e-12)
    assert (curve["treat_none"] == 0).all()


def test_by_hand():
    """At t = 0.2: two of three cancers found, one of five benign acted on, odds 1/4: (2 - 1/4) / 8; a p of t is acted on."""
    curve = decision_curve([1, 1, 1, 0, 0, 0, 0, 0], [0.9, 0.2, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1], thresholds=[0.2]).iloc[0]
    assert curve["model"] == pytest.approx(1.75 / 8)
    assert curve["treat_all"] == pytest.approx((3 - 5 / 4) / 8)
    assert curve["standardised_model"] == pytest.approx(1.75 / 3)
    assert curve["acted_on"] == pytest.approx(3 / 8)


def test_what_must_hold():
    """At 0 the model is treating all; a perfect model has the share of cancers everywhere; treating all ends at that share."""
    rng = np.random.default_rng(0)
    y, p = np.arange(60) % 3 // 2, rng.random(60)
    start = decision_curve(y, p, thresholds=[0.0]).iloc[0]
    assert start["model"] == start["treat_all"] == pytest.approx(1 / 3)
    perfect = decision_curve(y, y)
    assert perfect["model"].to_numpy() == pytest.approx(np.full(99, 1 / 3))
    assert perfect["standardised_model"].to_numpy() == pytest.approx(np.ones(99))
    at_share = decision_curve(y, p, thresholds=[1 / 3]).iloc[0]
    assert at_share["treat_all"] == pytest.approx(0, abs=1e-12)
    assert tuple(decision_curve(y, p)["threshold"]) == THRESHOLDS


def test_repeats_are_averaged():
    """Net benefit of repeats is their mean, on rows that all have."""
    rng = np.random.default_rng(1)
    y, p = np.arange(50) % 2, rng.random((2, 50))
    p[0, :5] = np.nan
    both = decision_curve(y, p)["model"]
    single = [decision_curve(y[5:], one[5:])["model"] for one in p]
    assert both.to_numpy() == pytest.approx(((single[0] + single[1]) / 2).to_numpy())


def test_copies_bring_no_certainty():
    """Copies of each nodule within its patient leave the limits as they were."""
    rng = np.random.default_rng(2)
    y, p, g = np.arange(50) % 2, rng.random(50), np.arange(50)
    once, thrice = decision_curve(y, p, g), decision_curve(np.repeat(y, 3), np.repeat(p, 3), np.repeat(g, 3))
    assert (once - thrice).abs().max(axis=None) < 1e-12


def test_intervals_cover():
    """Over clustered cohorts, 92 to 98 % of the intervals hold the true net benefit at 0.3.

    p = (u + v) / 2 of a patient's u and a nodule's v, calibrated: TP is the integral of p, FP of 1 - p, above 0.3, where the
    density is 4 p up to 1/2 and 4 (1 - p) from there.
    """
    grid = (np.arange(200_000) + 0.5) / 200_000
    density = np.where(grid < 0.5, 4 * grid, 4 * (1 - grid)) * (grid >= 0.3)
    truth = np.mean(density * grid) - np.mean(density * (1 - grid)) * 3 / 7
    rng, covered = np.random.default_rng(3), 0
    for _ in range(400):
        g = np.repeat(np.arange(80), 2)
        p = (rng.random(80)[g] + rng.random(160)) / 2
        row = decision_curve(rng.random(160) < p, p, g, thresholds=[0.3]).iloc[0]
        covered += row["model_low"] <= truth <= row["model_high"]
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("labels", "p", "thresholds", "words"),
    [
        ([1, 1], [0.1, 0.2], [0.5], "Both classes"),
        ([0, 1], [0.1, 1.5], [0.5], "no probabilities"),
        ([0, 1], [0.1], [0.5], "a label, a patient and a score"),
        ([0, 1], [0.1, 0.2], [1.0], "below 1"),
        ([0, 1], [0.1, 0.2], [], "at least one"),
    ],
)
def test_unusable_input_is_refused(labels, p, thresholds, words):
    """One class, decision values, unequal lengths and a threshold of 1 are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        decision_curve(labels, p, thresholds=thresholds)


def test_a_single_patient_has_no_limits():
    """One patient with both classes has a net benefit but no interval."""
    row = decision_curve([0, 1], [0.1, 0.9], [5, 5], thresholds=[0.5]).iloc[0]
    assert row["model"] == 0.5
    assert np.isnan(row["model_low"])
