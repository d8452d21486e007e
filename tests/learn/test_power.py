"""Power against Hanley and McNeil's example, the equations themselves, and simulated cohorts."""

import numpy as np
import pytest
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.delong import compare_aucs
from lungpipe.learn.detectable import hanley_mcneil_variance, smallest_auc, smallest_difference
from lungpipe.learn.power import cohort_power, design_effect, events_per_variable


def test_published_standard_error():
    """Hanley and McNeil (1982): 0.032 for an AUC of 0.893 of 51 abnormal and 58 normal images, there from the ratings.

    Their form from the AUC alone, which is what is tested, comes to within 0.001 of it.
    """
    assert np.sqrt(hanley_mcneil_variance(0.893, 51, 58)) == pytest.approx(0.032, abs=1e-3)


def test_variance_is_exact_for_a_useless_and_an_exponential_score():
    """At 0.5 it is (m + n + 1) / 12 m n, Mann-Whitney's; for exponential scores it is what simulation gives."""
    assert hanley_mcneil_variance(0.5, 30, 50) == pytest.approx(81 / 12 / 1500)
    rng = np.random.default_rng(0)
    sick, well = rng.exponential(3, (4000, 20)), rng.exponential(1, (4000, 30))  # AUC 3 / (3 + 1)
    aucs = (sick[:, :, None] > well[:, None, :]).mean(axis=(1, 2))
    assert aucs.mean() == pytest.approx(0.75, abs=0.005)
    assert aucs.var() == pytest.approx(hanley_mcneil_variance(0.75, 20, 30), rel=0.07)


@pytest.mark.parametrize(("malignant", "benign"), [(30, 50), (200, 700)])
def test_roots_solve_their_equations(malignant, benign):
    """The equations hold at what is returned; more power or a stricter level needs more, correlation less."""
    auc = smallest_auc(malignant, benign)
    spread = [np.sqrt(hanley_mcneil_variance(value, malignant, benign)) for value in (0.5, auc)]
    assert auc - 0.5 == pytest.approx(1.959963985 * spread[0] + 0.841621234 * spread[1], rel=1e-6)
    gain = smallest_difference(malignant, benign, auc=0.75, auc_correlation=0.3)
    v1, v2 = hanley_mcneil_variance(0.75, malignant, benign), hanley_mcneil_variance(0.75 + gain, malignant, benign)
    error = np.sqrt(v1 + v2 - 0.6 * np.sqrt(v1 * v2))
    assert gain == pytest.approx(1.959963985 * np.sqrt(1.4 * v1) + 0.841621234 * error, rel=1e-6)
    assert smallest_auc(malignant, benign, power=0.9) > auc
    assert smallest_auc(malignant, benign, alpha=0.01) > auc
    assert smallest_difference(malignant, benign, auc=0.75, auc_correlation=0.7) < gain


def test_a_cohort_with_the_smallest_auc_finds_it_four_times_of_five():
    """Exponential scores of the AUC returned are told from 0.5 by Mann-Whitney's test in about 80 % of cohorts."""
    m, n = 40, 60
    auc, rng = smallest_auc(m, n), np.random.default_rng(1)
    sick, well = rng.exponential(auc / (1 - auc), (3000, m)), rng.exponential(1, (3000, n))
    found = (sick[:, :, None] > well[:, None, :]).mean(axis=(1, 2))
    z = (found - 0.5) / np.sqrt((m + n + 1) / 12 / m / n)
    assert (z > norm.ppf(0.975)).mean() == pytest.approx(0.8, abs=0.03)


def test_a_cohort_with_the_smallest_difference_finds_it_about_four_times_of_five():
    """Exponential scores with the gain returned, and no correlation, differ by DeLong's test in about 80 % of cohorts."""
    m, n = 100, 100
    gain = smallest_difference(m, n, auc=0.7, auc_correlation=0.0)
    y, rng, found = np.repeat([1, 0], [m, n]), np.random.default_rng(2), 0
    for _ in range(400):
        one, other = (rng.exponential(np.where(y == 1, auc / (1 - auc), 1.0)) for auc in (0.7 + gain, 0.7))
        found += compare_aucs(y, one, other).p < 0.05
    assert found / 400 == pytest.approx(0.8, abs=0.06)


def test_no_auc_is_large_enough_for_a_handful():
    """Two malignant and three benign nodules show nothing, nor any gain over 0.95 with few nodules."""
    assert np.isnan(smallest_auc(2, 3))
    assert np.isnan(smallest_difference(10, 10, auc=0.95, auc_correlation=0.0))


def test_design_effect_by_hand():
    """Equal patients of 3 nodules, correlation 0.5: 2; sizes 1 and 3: m = 10 / 4; single nodules: 1."""
    assert design_effect([3, 3, 3], 0.5) == 2
    assert design_effect([1, 3], 1.0) == pytest.approx(2.5)
    assert design_effect([1, 1], 0.9) == 1


def test_cohort():
    """A hundred patients of two nodules count as 200 over 1.5; copies of nodules that are all alike add nothing."""
    y, g = np.arange(200) // 2 % 2, np.arange(200) // 2
    found = cohort_power(y, g, n_features=20, auc=0.75, auc_correlation=0.4)
    assert (found.n_malignant, found.n_benign, found.n_patients) == (100, 100, 100)
    assert found.events_per_variable == events_per_variable(100, 100, 20) == 5
    assert found.design_effect == 1.5
    assert found.smallest_auc == smallest_auc(100 / 1.5, 100 / 1.5)
    assert found.smallest_difference == smallest_difference(100 / 1.5, 100 / 1.5, auc=0.75, auc_correlation=0.4)
    assert cohort_power(y, n_features=20).smallest_auc < found.smallest_auc
    copies = cohort_power(np.repeat(y, 50), np.repeat(g, 50), n_features=20, within_patient=1.0)
    assert copies.smallest_auc == pytest.approx(smallest_auc(50, 50))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: events_per_variable(5, 5, 0), "a feature"),
        (lambda: smallest_auc(0, 5), "Both classes"),
        (lambda: smallest_auc(5, 5, power=80), "Power must be"),
        (lambda: smallest_auc(5, 5, alpha=0), "alpha must be"),
        (lambda: smallest_difference(5, 5, auc=0.3), "improve on"),
        (lambda: smallest_difference(5, 5, auc_correlation=-1), "correlation of the AUCs"),
        (lambda: hanley_mcneil_variance(1.2, 5, 5), "An AUC"),
        (lambda: design_effect([1], 2), "within patients"),
        (lambda: cohort_power([1, 1], n_features=1), "Both classes"),
    ],
)
def test_unusable_input_is_refused(call, words):
    """Figures outside their range and empty classes are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        call()
