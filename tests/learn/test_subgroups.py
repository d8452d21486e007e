"""Subgroups against the single figures, the patient bootstrap, and in simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.bootstrap import patient_weights, weighted_auc
from lungpipe.learn.intervals import auc_interval, patient_components
from lungpipe.learn.proportion import clustered_proportion
from lungpipe.learn.subgroups import FIGURES, auc_gap, subgroup_table


def cohort(rng, n_patients=100, nodules=3, gain=1.0):
    """Return labels, scores and patients of clustered nodules."""
    g = np.repeat(np.arange(n_patients), nodules)
    y = rng.integers(0, 2, len(g))
    return y, (rng.normal(size=n_patients)[g] + rng.normal(size=len(g))) / np.sqrt(2) + gain * y, g


def test_figures_are_those_of_the_rows_alone():
    """AUC, sensitivity, specificity and counts are what the subgroup's rows give; the gap is to all others."""
    rng = np.random.default_rng(0)
    y, s, g = cohort(rng)
    size = np.array(["small", "large", "part-solid"])[rng.integers(0, 3, len(y))]
    table = subgroup_table(y, [s, s + 0.1], g, size, threshold=0.6).set_index("value")
    assert list(table.index) == ["large", "part-solid", "small"]
    assert table["n"].sum() == 300
    for value, row in table.iterrows():
        inside = size == value
        alone = auc_interval(y[inside], s[inside], g[inside])
        assert (row["auc"], row["auc_low"], row["auc_high"]) == pytest.approx((alone.auc, alone.low, alone.high))
        called = ((s >= 0.6) * 1.0 + (s + 0.1 >= 0.6))[inside & (y == 1)] / 2
        found = clustered_proportion(called, g[inside & (y == 1)])
        assert (row["sensitivity"], row["sensitivity_low"]) == pytest.approx((found.value, found.low))
        assert row["gap"] == pytest.approx(alone.auc - auc_interval(y[~inside], s[~inside], g[~inside]).auc)
        assert row["n_malignant"] == y[inside].sum()
        assert row["n_patients"] == len(set(g[inside]))
        assert not row["masked"]


def test_gap_of_whole_patients_is_of_independent_groups():
    """Where no patient is on both sides, the variance is the sum of the two."""
    y, s, g = cohort(np.random.default_rng(1))
    women = g % 2 == 0
    row = subgroup_table(y, s, g, women).set_index("value").loc[True]
    errors = [auc_interval(y[side], s[side], g[side]).standard_error for side in (women, ~women)]
    assert row["gap_high"] - row["gap"] == pytest.approx(norm.ppf(0.975) * np.hypot(*errors))


def test_gap_with_shared_patients_is_that_of_the_bootstrap():
    """Where patients have nodules on both sides, the width is about that of the patient bootstrap, far from independence."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(150), 2)
    y = np.repeat(np.arange(150) % 2, 2)
    s, upper = 2 * rng.normal(size=150)[g] + 0.5 * rng.normal(size=300) + 1.5 * y, np.arange(300) % 2 == 0
    _, low, high = auc_gap(*(patient_components(y[side], s[side], g[side]) for side in (upper, ~upper)))
    weights = np.concatenate(list(patient_weights(y, g, 3000, 0)))
    drawn = [weighted_auc(y[side], s[None, side], weights[:, side]) for side in (upper, ~upper)]
    error = (high - low) / 2 / norm.ppf(0.975)
    assert error == pytest.approx((drawn[0] - drawn[1]).std(), rel=0.1)
    apart = np.hypot(*(auc_interval(y[side], s[side], g[side]).standard_error for side in (upper, ~upper)))
    assert error < 0.6 * apart


def test_gap_covers():
    """Over cohorts of patients with nodules on both sides, 92 to 98 % of the intervals hold the true gap."""
    rng, covered = np.random.default_rng(3), 0
    truth = norm.cdf(1.4 / np.sqrt(2)) - norm.cdf(0.7 / np.sqrt(2))
    for _ in range(400):
        upper = np.arange(240) % 3 == 0
        y, s, g = cohort(rng, 80, gain=0.7)
        s = s + 0.7 * y * upper
        _, low, high = auc_gap(*(patient_components(y[side], s[side], g[side]) for side in (upper, ~upper)))
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_small_groups_are_masked():
    """Nine patients with a malignant nodule are too few for figures; ten will do."""
    rng = np.random.default_rng(4)
    y = np.array([1] * 9 + [0] * 30 + [1] * 10 + [0] * 30)
    values = np.repeat(["a", "b"], [39, 40])
    table = subgroup_table(y, rng.normal(size=79) + y, np.arange(79), values).set_index("value")
    assert table.loc["a", "masked"]
    assert table.loc["a", list(FIGURES)].isna().all()
    assert (table.loc["a", "n"], table.loc["a", "n_malignant"]) == (39, 9)
    assert not table.loc["b", "masked"]
    assert np.isfinite(table.loc["b", "auc"])
    assert np.isnan(table.loc["b", "gap"])  # the rest is too small to be compared with
    copies = subgroup_table(np.repeat(y, 3), np.repeat(y, 3), np.repeat(np.arange(79), 3), np.repeat(values, 3))
    assert list(copies["masked"]) == [True, False]  # patients count, not nodules


def test_hidden_counts_cannot_be_had_by_subtraction():
    """A masked group's counts are text, and so are those of the next smallest; two masked groups hide each other."""
    rng = np.random.default_rng(5)
    values = np.repeat(["a", "b", "c"], [12, 40, 60])
    y = np.concatenate([np.arange(12) < 4, np.arange(40) % 2, np.arange(60) % 2]).astype(int)
    table = subgroup_table(y, rng.normal(size=112), np.arange(112), values, hide_counts=True).set_index("value")
    assert list(table.loc["a", ["n", "n_patients", "n_malignant"]]) == [">=10", ">=10", "<10"]
    assert list(table.loc["b", ["n", "n_malignant"]]) == [">=10", ">=10"]
    assert np.isfinite(table.loc["b", "auc"])
    assert table.loc["c", "n"] == 60
    two = subgroup_table(y, y, np.arange(112), np.repeat(["a", "b", "c"], [6, 6, 100]), hide_counts=True)
    assert list(two["n"]) == ["<10", "<10", 100]
    plain = subgroup_table(y, y, np.arange(112), values)
    assert list(plain["n"]) == [12, 40, 60]


def test_order_and_missing_values():
    """A categorical keeps its order, numbers are sorted, and nodules without a value come last."""
    y, s, g = cohort(np.random.default_rng(6))
    bands = pd.cut(
        pd.Series(np.arange(300) % 90, index=np.arange(300) + 7), [-1, 40, 60, 100], labels=["<=40", "41-60", ">60"]
    )
    bands.iloc[:50] = np.nan
    table = subgroup_table(y, s, g, bands)
    assert list(table["value"]) == ["<=40", "41-60", ">60", "missing"]
    assert table["n"].iloc[-1] == 50
    assert list(subgroup_table(y, s, g, np.arange(300) % 3)["value"]) == [0, 1, 2]
    everybody = subgroup_table(y, s, g, np.zeros(300)).iloc[0]
    assert np.isnan(everybody["gap"])
    assert everybody["auc"] == pytest.approx(auc_interval(y, s, g).auc)


def test_rows_without_a_score_are_left_out():
    """NaN in any repeat leaves the row out, its value with it."""
    y, s, g = cohort(np.random.default_rng(7))
    values = np.where(np.arange(300) < 30, "x", np.where(np.arange(300) % 2, "a", "b"))
    other = s.copy()
    other[:30] = np.nan
    pd.testing.assert_frame_equal(
        subgroup_table(y, [s, other], g, values),
        subgroup_table(y[30:], [s[30:], s[30:]], g[30:], values[30:]),
    )


def test_perfect_scores_have_no_gap():
    """Separated on both sides: AUC 1 each, gap 0."""
    y = np.arange(80) % 2
    table = subgroup_table(y, y, np.arange(80), np.arange(80) // 40)
    assert list(table["auc"]) == [1, 1]
    assert list(table["gap"]) == [0, 0]
    assert auc_gap(*(patient_components([0, 1], [0.1, 0.2], [1, 2]) for _ in range(2))) == (0, -1, 1)


@pytest.mark.parametrize(
    ("labels", "scores", "values", "words"),
    [
        ([1, 1], [0.1, 0.2], ["a", "b"], "Both classes"),
        ([0, 1], [0.1], ["a", "b"], "a label, a patient and a score"),
        ([0, 1], [0.1, 0.2], ["a"], "Every row needs a value"),
        ([0, 1], [0.1, np.nan], ["a", "b"], "Both classes"),
    ],
)
def test_unusable_input_is_refused(labels, scores, values, words):
    """One class and unequal lengths are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        subgroup_table(labels, scores, [1, 2], values)
