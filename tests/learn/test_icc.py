"""Intraclass correlations are those of the papers and of an independent implementation, and are never made up."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import DatasetError
from lungpipe.learn.icc import KINDS, icc

#: Six targets, four judges: Shrout and Fleiss (1979), table 2.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)


def ratings(seed, n=12, k=4, spread=1.0, bias=0.3, noise=0.5):
    rng = np.random.default_rng(seed)
    return spread * rng.normal(size=(n, 1)) + bias * rng.normal(size=(1, k)) + noise * rng.normal(size=(n, k))


def oracle(values, kind):
    """Value and 95 % limits from pingouin, without its rounding."""
    import pingouin  # three seconds, that only the process of this test needs

    targets, raters = np.indices(values.shape)
    long = pd.DataFrame({"target": targets.ravel(), "rater": raters.ravel(), "value": values.ravel()})
    row = {"ICC(2,1)": "ICC(A,1)", "ICC(3,1)": "ICC(C,1)"}[kind]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls pandas in ways that pandas gives up
        patch.delitem(pingouin.options, "round.column.CI95")
        found = pingouin.intraclass_corr(long, "target", "rater", "value", nan_policy="omit").set_index("Type").loc[row]
    return (found["ICC"], *found["CI95"])


def test_the_published_example():
    """Shrout and Fleiss print 0.29 and 0.71 for their six targets and four judges (table 4)."""
    assert icc(JUDGES, "ICC(2,1)").value == pytest.approx(0.29, abs=0.005)
    assert icc(JUDGES, "ICC(3,1)").value == pytest.approx(0.71, abs=0.005)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "values",
    [
        JUDGES,
        ratings(1),
        ratings(2, n=30, k=3, bias=2.0),
        ratings(3, n=5, k=7, noise=2.0),
        ratings(4, spread=0.0),
        ratings(5, n=3, k=2),
        1e10 + ratings(6),
    ],
    ids=["published", "usual", "biased raters", "noisy", "nothing between targets", "few", "large values"],
)
def test_values_and_intervals_are_those_of_an_independent_implementation(values, kind):
    """Pingouin gives the same correlation and limits."""
    found = icc(values, kind)
    assert (found.value, found.low, found.high) == pytest.approx(oracle(values, kind), rel=1e-5, abs=1e-5)
    assert (found.n, found.n_dropped, found.reason) == (len(values), 0, "")


@pytest.mark.parametrize("kind", KINDS)
def test_many_features_at_once_equal_each_alone(kind):
    """The vectorised result is the single one, whatever is missing in the other features."""
    stack = np.stack([ratings(seed) for seed in range(5)])
    stack[1, 3, 2] = np.nan
    stack[2, :, 1] = np.inf
    stack[4] = 7.0
    found = icc(stack, kind)
    for k, values in enumerate(stack):
        alone = icc(values, kind)
        for name in ("value", "low", "high", "n", "n_dropped"):
            np.testing.assert_array_equal(getattr(found, name)[k], getattr(alone, name), err_msg=f"{name} of {k}")
        assert found.reason[k] == alone.reason
    assert found.reason.tolist() == ["", "", "too_few_targets", "", "no_variance"]


@pytest.mark.parametrize("kind", KINDS)
def test_targets_with_a_missing_value_are_left_out_and_counted(kind):
    """A gap takes its target out, and nothing else changes."""
    values = ratings(7)
    gapped = values.copy()
    gapped[[2, 5], [0, 3]] = np.nan
    found, kept = icc(gapped, kind), icc(np.delete(values, [2, 5], axis=0), kind)
    assert (found.value, found.low, found.high) == pytest.approx((kept.value, kept.low, kept.high), rel=1e-12)
    assert (found.n, found.n_dropped) == (10, 2)
    assert (found.value, found.low, found.high) == pytest.approx(oracle(gapped, kind), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((5, 3)), "no_variance"),
        (np.tile([1.0, 2.0, 3.0], (5, 1)), "no_variance"),
        (np.ones((1, 3)), "too_few_targets"),
        (np.full((4, 3), np.nan), "too_few_targets"),
        (np.ones((0, 3)), "too_few_targets"),
        (np.arange(5.0)[:, None], "too_few_raters"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_undefined_correlation_is_nan_with_a_reason(values, reason, kind):
    """Neither 0 nor 1 is made up where there is nothing to correlate."""
    found = icc(values, kind)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.reason == reason


def test_raters_without_noise():
    """Identical raters give 1; a constant shift leaves consistency at 1 and costs agreement k d^2 / (n MSR + k d^2)."""
    targets = np.array([1.0, 2.0, 3.0, 4.0])
    for kind in KINDS:
        found = icc(np.stack([targets, targets], axis=1), kind)
        assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    shifted = np.stack([targets, targets + 1], axis=1)
    assert icc(shifted, "ICC(3,1)").value == pytest.approx(1)
    # MSR = 2 var = 10/3, MSC = 4 * 2 * 0.25 = 2, MSE = 0: 10/3 / (10/3 + 2 * 2 / 4).
    assert icc(shifted, "ICC(2,1)").value == pytest.approx((10 / 3) / (10 / 3 + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_cover_the_truth_as_often_as_they_say(kind):
    """Over 2,000 simulated tables 95 % and 80 % of the intervals hold the planted correlation, within 2 %."""
    rng = np.random.default_rng(11)
    n, k, of_targets, of_raters, of_rest = 20, 5, 2.0, 0.5 if kind == "ICC(2,1)" else 0.0, 1.0
    tables = np.sqrt(of_targets) * rng.normal(size=(2000, n, 1)) + np.sqrt(of_raters) * rng.normal(size=(2000, 1, k))
    tables = tables + np.sqrt(of_rest) * rng.normal(size=(2000, n, k))
    truth = of_targets / (of_targets + of_raters + of_rest)
    for confidence in (0.95, 0.8):
        found = icc(tables, kind, confidence)
        covered = float(((found.low <= truth) & (truth <= found.high)).mean())
        assert covered == pytest.approx(confidence, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(-1e3, 1e3), st.floats(0.01, 100), st.sampled_from(KINDS))
def test_order_and_unit_do_not_matter(seed, shift, scale, kind):
    """Permuted targets and raters, and another unit, give the same correlation and limits."""
    values = ratings(seed, n=8, k=3)
    rng = np.random.default_rng(seed)
    other = shift + scale * values[rng.permutation(8)][:, rng.permutation(3)]
    a, b = icc(values, kind), icc(other, kind)
    assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high), rel=1e-6, abs=1e-7)
    assert a.low <= a.value <= a.high


def test_wrong_use_is_refused():
    """A vector, an unknown kind and an impossible confidence are told apart."""
    with pytest.raises(DatasetError, match="axes"):
        icc([1.0, 2.0])
    with pytest.raises(DatasetError, match="ICC\\(1,1\\)"):
        icc(JUDGES, "ICC(1,1)")
    with pytest.raises(DatasetError, match="confidence"):
        icc(JUDGES, confidence=95)
