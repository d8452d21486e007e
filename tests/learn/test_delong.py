"""Paired AUC comparison against definitions worked pair by pair, by hand and in simulation.

MLstatkit 0.1.91 (`Delong_test`) gave the same z and p, within 1e-14, on forty cohorts of fifty nodules, half with ties; some of
its digits and published examples are in test_delong_published.py.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, norm
from statsmodels.stats.multitest import multipletests

from lungpipe.errors import DatasetError
from lungpipe.learn.delong import compare_aucs, compare_with, holm


def psi(malignant, benign):
    """Return 1, 1/2 or 0 for right, tied and wrong order."""
    return 1.0 if malignant > benign else 0.5 if malignant == benign else 0.0


def placements(y, s):
    """Return DeLong's structural components of both classes, by a loop over pairs."""
    x, z = s[y == 1], s[y == 0]
    return (
        np.array([np.mean([psi(a, b) for b in z]) for a in x]),
        np.array([np.mean([psi(a, b) for a in x]) for b in z]),
    )


def delong_by_pairs(y, first, second):
    """Return difference and its variance with DeLong's covariance matrices S10 and S01."""
    v10, v01 = zip(placements(y, first), placements(y, second), strict=True)
    s = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    return v10[0].mean() - v10[1].mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


def obuchowski_by_sums(y, first, second, g):
    """Return the variance of the difference from Obuchowski's four sums, patient by patient and AUC by AUC."""
    patients = sorted(set(g))
    sums = []
    for s in (first, second):
        right, wrong = placements(y, s)
        auc = right.mean()
        sums.append(
            [(sum(right[g[y == 1] == i] - auc), sum(wrong[g[y == 0] == i] - auc)) for i in patients],
        )
    i10, i01, i = len(set(g[y == 1])), len(set(g[y == 0])), len(patients)
    m, n = (y == 1).sum(), (y == 0).sum()
    covariance = np.zeros((2, 2))
    for r, s in itertools.product(range(2), repeat=2):
        s10 = sum(a[0] * b[0] for a, b in zip(sums[r], sums[s], strict=True)) * i10 / (i10 - 1) / m
        s01 = sum(a[1] * b[1] for a, b in zip(sums[r], sums[s], strict=True)) * i01 / (i01 - 1) / n
        s11 = sum(a[0] * b[1] for a, b in zip(sums[r], sums[s], strict=True)) * i / (i - 1)
        s11_turned = sum(a[1] * b[0] for a, b in zip(sums[r], sums[s], strict=True)) * i / (i - 1)
        covariance[r, s] = s10 / m + s01 / n + s11 / m / n + s11_turned / m / n
    return covariance[0, 0] + covariance[1, 1] - covariance[0, 1] - covariance[1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_one_nodule_a_patient_is_delong_pair_by_pair(seed):
    """Difference, standard error, interval, z and p are DeLong's, ties included."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(50) % 3 == 0).astype(int)
    both = np.round(rng.normal(size=(2, 50)) + rng.normal(size=50) + y, 1)
    found = compare_aucs(y, *both)
    difference, variance = delong_by_pairs(y, *both)
    error = np.sqrt(variance)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-10)
    assert found.z == pytest.approx(difference / error, rel=1e-9)
    assert found.p == pytest.approx(2 * norm.sf(abs(difference / error)), rel=1e-8)
    assert (found.low, found.high) == pytest.approx(
        (difference - 1.959963984540054 * error, difference + 1.959963984540054 * error), abs=1e-10
    )


@pytest.mark.parametrize("seed", range(5))
def test_several_nodules_a_patient_is_obuchowski(seed):
    """With several nodules a patient, of one class or both, the variance is Obuchowski's."""
    rng = np.random.default_rng(seed)
    g, y = rng.integers(0, 15, 40), rng.permutation(np.arange(40) % 2)
    first, second = np.round(rng.normal(size=(2, 15))[:, g] + rng.normal(size=(2, 40)) + y, 1)
    found = compare_aucs(y, first, second, g)
    assert found.standard_error == pytest.approx(np.sqrt(obuchowski_by_sums(y, first, second, g)), rel=1e-10)


def test_hand_example():
    """Scores 3 1 | 2 0 have AUC 3/4, components (1, 1/2) and (1/2, 1); 3 2 | 1 0 have AUC 1 and no variance.

    The difference of components is (0, 1/2) and (1/2, 0), of variance 1/8 a class, so the variance is 1/16 + 1/16.
    """
    found = compare_aucs([1, 1, 0, 0], [3, 2, 1, 0], [3, 1, 2, 0])
    assert found.difference == 0.25
    assert found.standard_error == pytest.approx(np.sqrt(1 / 8))
    assert found.z == pytest.approx(0.25 * np.sqrt(8))
    assert (found.n, found.n_patients) == (4, 4)


def test_turned_round_it_changes_sign_only():
    """Second against first is the mirror of first against second."""
    rng = np.random.default_rng(3)
    y, g = np.arange(60) % 2, np.repeat(np.arange(30), 2)
    a, b = rng.normal(size=(2, 60)) + y
    one, other = compare_aucs(y, a, b, g), compare_aucs(y, b, a, g)
    assert (one.difference, one.z, one.low) == pytest.approx((-other.difference, -other.z, -other.high))
    assert one.p == pytest.approx(other.p)


def test_rows_that_one_lacks_are_left_out():
    """Rows missing from either, in any repeat, do not count."""
    rng = np.random.default_rng(4)
    y, g = np.arange(40) % 2, np.arange(40) // 2
    a, b = rng.normal(size=(2, 2, 40)) + y
    whole = compare_aucs(y[6:], a[:, 6:], b[:, 6:], g[6:])
    a[1, :3], b[0, 3:6] = np.nan, np.nan
    assert compare_aucs(y, a, b, g) == whole
    assert whole.n == 34


def test_repeats_are_averaged():
    """Equal repeats are as one; a configuration without repeats can be compared with one that has them."""
    rng = np.random.default_rng(2)
    y = np.arange(30) % 2
    a, b, c = rng.normal(size=(3, 30)) + y
    assert compare_aucs(y, [a, a], b).p == pytest.approx(compare_aucs(y, a, b).p)
    mean = (compare_aucs(y, a, b).difference + compare_aucs(y, c, b).difference) / 2
    assert compare_aucs(y, [a, c], b).difference == pytest.approx(mean)


def test_difference_without_variance():
    """Alike: p 1 and [0, 0]; both perfect: p 1, wide interval; perfect against constant: p NaN, interval above 0."""
    y, limit = np.array([0] * 9 + [1] * 5), 0.025**0.2
    s = np.random.default_rng(0).normal(size=14)
    alike = compare_aucs(y, s, np.exp(s))
    assert (alike.difference, alike.standard_error, alike.low, alike.high, alike.z, alike.p) == (0, 0, 0, 0, 0, 1)
    perfect = compare_aucs(y, np.arange(14), y)
    assert (perfect.difference, perfect.z, perfect.p) == (0, 0, 1)
    assert (perfect.low, perfect.high) == pytest.approx((limit - 1, 1 - limit))
    constant = compare_aucs(y, y, np.zeros(14))
    assert constant.difference == 0.5
    assert np.isnan([constant.z, constant.p]).all()
    assert (constant.low, constant.high) == pytest.approx((limit - 0.5, 0.5))


def test_one_patient_in_a_class_knows_nothing():
    """With all malignant nodules in one patient there is no test, and the interval is [-1, 1]."""
    found = compare_aucs([1, 1, 0, 0, 0], [3, 1, 2, 0, 0], [3, 1, 1, 0, 0], [9, 9, 1, 2, 3])
    assert (found.low, found.high) == (-1, 1)
    assert np.isnan([found.standard_error, found.z, found.p]).all()


def null_cohort(rng, n_patients=60):
    """Return two equally good scores of clustered pairs of nodules."""
    g = np.repeat(np.arange(n_patients), 2)
    y = rng.integers(0, 2, 2 * n_patients)
    shared = rng.normal(size=n_patients)[g] + rng.normal(size=2 * n_patients)
    return y, shared + rng.normal(size=2 * n_patients) + y, shared + rng.normal(size=2 * n_patients) + y, g


def test_p_values_are_uniform_and_intervals_cover_without_a_difference():
    """Over clustered cohorts with equally good scores, p is uniform and 92 to 98 % of the intervals hold 0."""
    rng = np.random.default_rng(17)
    found = [compare_aucs(*null_cohort(rng)) for _ in range(400)]
    assert kstest([one.p for one in found], "uniform").pvalue > 0.01
    assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.98


def test_interval_covers_a_true_difference():
    """Over clustered cohorts, 92 to 98 % of the intervals hold the true difference of AUCs."""
    rng = np.random.default_rng(18)
    g, covered = np.repeat(np.arange(50), 2), 0
    truth = norm.cdf(1.5 / 2) - norm.cdf(0.6 / 2)  # scores of variance 2 in each class
    for _ in range(400):
        y = rng.integers(0, 2, 100)
        shared = rng.normal(size=50)[g]
        a, b = shared + rng.normal(size=100) + 1.5 * y, shared + rng.normal(size=100) + 0.6 * y
        found = compare_aucs(y, a, b, g)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_ignoring_patients_would_be_too_sure():
    """Copies of each nodule within its patient leave p as it was; as patients of their own they would lower it."""
    y, a, b, g = null_cohort(np.random.default_rng(8))
    once = compare_aucs(y, a, b, g)
    copies = [np.repeat(one, 3) for one in (y, a, b, g)]
    assert compare_aucs(*copies).p == pytest.approx(once.p)
    assert compare_aucs(*copies[:3]).standard_error < 0.7 * once.standard_error


def test_ten_patients_still_have_a_wide_interval():
    """Ten patients, five malignant: figures are finite and the interval is wide."""
    rng = np.random.default_rng(1)
    y = np.arange(10) % 2
    found = compare_aucs(y, rng.normal(size=10) + y, rng.normal(size=10) + y)
    assert found.high - found.low > 0.3
    assert 0 < found.p <= 1


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.2, 0.2, 0.9], [0.5], [1.0, 1e-9, 0.02, 0.02, 0.7]])
def test_holm_is_statsmodels(p):
    """Adjusted p-values are those of statsmodels."""
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_by_hand():
    """0.005, 0.01, 0.03, 0.04: four, three, two, one times, never falling; NaN counts for nothing."""
    assert holm([0.01, np.nan, 0.04, 0.03, 0.005]) == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert len(holm([])) == 0
    with pytest.raises(DatasetError, match="within"):
        holm([0.1, 1.2])


def test_table_against_a_reference():
    """Each row is the single comparison on shared rows; one without a class is NaN and not counted by Holm."""
    rng = np.random.default_rng(5)
    y, g = np.arange(80) % 2, np.arange(80) // 2
    reference, close, far, lost = rng.normal(size=(4, 80)) + y
    far += 3 * y
    lost[y == 1] = np.nan
    far[:10] = np.nan
    table = compare_with(y, reference, {("a", 1): close, ("b", 2): far, "lost": lost, "none": np.full(80, np.nan)}, g)
    assert list(table["configuration"]) == [("a", 1), ("b", 2), "lost", "none"]
    assert list(table["n"]) == [80, 70, 40, 0]
    single = compare_aucs(y, far, reference, g)
    row = table.iloc[1]
    assert (row["difference"], row["p"], row["low"]) == (single.difference, single.p, single.low)
    assert (row["auc"], row["auc_reference"]) == (single.first, single.second)
    assert table["p_holm"].iloc[:2].to_numpy() == pytest.approx(holm(table["p"].iloc[:2]))
    assert table.iloc[2:][["auc", "p", "p_holm"]].isna().all(axis=None)
    assert pd.api.types.is_float_dtype(table["p_holm"])


@pytest.mark.parametrize(
    ("labels", "first", "second", "groups", "words"),
    [
        ([1, 1], [0.1, 0.2], [0.1, 0.2], [1, 2], "Both classes"),
        ([0, 1], [0.1, np.nan], [0.1, 0.2], [1, 2], "Both classes"),
        ([0, 2], [0.1, 0.2], [0.1, 0.2], [1, 2], "0 .benign. and 1"),
        ([0, 1], [0.1], [0.1, 0.2], [1, 2], "a label, a patient and a score"),
        ([0, 1], [0.1, 0.2], [0.1, 0.2], [1], "a label, a patient and a score"),
        ([0, 1], [0.1, np.inf], [0.1, 0.2], [1, 2], "1 scores are infinite"),
        ([0, 1], [0.1, 0.3], [0.1, 0.2], [1, None], "1 rows have no patient"),
    ],
)
def test_unusable_input_is_refused(labels, first, second, groups, words):
    """One class, foreign labels, unequal lengths, infinite scores and nameless patients are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        compare_aucs(labels, first, second, groups)


def test_no_configuration_is_refused():
    """A table needs something to compare."""
    with pytest.raises(DatasetError, match="No configuration"):
        compare_with([0, 1], [0.1, 0.2], {})
