"""AUC intervals against independent implementations, by hand and in simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.intervals import auc_interval, simultaneous_interval


def psi(malignant, benign):
    """Return 1, 1/2 or 0 for right, tied and wrong order."""
    return 1.0 if malignant > benign else 0.5 if malignant == benign else 0.0


def delong_by_hand(y, s):
    """Return AUC and standard error from DeLong's definition, pair by pair."""
    x, z = [v for v, k in zip(s, y, strict=True) if k], [v for v, k in zip(s, y, strict=True) if not k]
    auc = sum(psi(a, b) for a, b in itertools.product(x, z)) / len(x) / len(z)
    v10 = [sum(psi(a, b) for b in z) / len(z) for a in x]
    v01 = [sum(psi(a, b) for a in x) / len(x) for b in z]
    return auc, np.sqrt(np.var(v10, ddof=1) / len(x) + np.var(v01, ddof=1) / len(z))


def obuchowski_by_hand(y, s, g):
    """Return the standard error from Obuchowski's sums, patient by patient."""
    auc, _ = delong_by_hand(y, s)
    x, z = s[y == 1], s[y == 0]
    s10 = s01 = s11 = 0.0
    patients = sorted(set(g))
    for patient in patients:
        mine = g == patient
        a = sum(np.mean([psi(v, b) for b in z]) - auc for v in s[mine & (y == 1)])
        b = sum(np.mean([psi(m, v) for m in x]) - auc for v in s[mine & (y == 0)])
        s10, s01, s11 = s10 + a * a, s01 + b * b, s11 + a * b
    m, n, i = len(x), len(z), len(patients)
    i10, i01 = len(set(g[y == 1])), len(set(g[y == 0]))
    s10, s01, s11 = s10 * i10 / (i10 - 1) / m, s01 * i01 / (i01 - 1) / n, s11 * i / (i - 1)
    return np.sqrt(s10 / m + s01 / n + 2 * s11 / m / n)


@pytest.mark.parametrize("seed", range(4))
def test_one_nodule_a_patient_is_delong(seed):
    """With one nodule a patient the AUC and its standard error are DeLong's, ties included."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(40) % 3 == 0).astype(int)
    s = np.round(rng.normal(size=40) + y, 1)
    found = auc_interval(y, s, np.arange(40))
    auc, error = delong_by_hand(y, s)
    assert found.auc == pytest.approx(auc, rel=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    half = 1.959963985 * error / auc / (1 - auc)
    assert np.log(found.high / (1 - found.high)) == pytest.approx(np.log(auc / (1 - auc)) + half, rel=1e-6)
    assert np.log(found.low / (1 - found.low)) == pytest.approx(np.log(auc / (1 - auc)) - half, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_several_nodules_a_patient_is_obuchowski(seed):
    """With several nodules a patient, of one class or both, the standard error is Obuchowski's."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 15, 40)
    y = rng.permutation(np.arange(40) % 2)
    s = rng.normal(size=15)[g] + rng.normal(size=40) + y
    assert auc_interval(y, s, g).standard_error == pytest.approx(obuchowski_by_hand(y, s, g), rel=1e-12)


def test_hand_example():
    """Malignant 3, 1 against benign 2, 0: AUC 3/4, components (1, 1/2) and (1/2, 1), variance 1/16 + 1/16."""
    found = auc_interval([1, 1, 0, 0], [3, 1, 2, 0], [1, 2, 3, 4])
    assert found.auc == 0.75
    assert found.standard_error == pytest.approx(np.sqrt(1 / 8))
    assert 0 < found.low < 0.75 < found.high < 1


def test_copies_of_a_nodule_bring_no_certainty():
    """Copying every nodule within its patient widens nothing and narrows nothing, beyond the factor for few patients."""
    rng = np.random.default_rng(5)
    y = np.arange(60) % 2
    s, g = rng.normal(size=60) + y, np.arange(60)
    once, thrice = auc_interval(y, s, g), auc_interval(np.repeat(y, 3), np.repeat(s, 3), np.repeat(g, 3))
    assert thrice.auc == pytest.approx(once.auc)
    assert thrice.standard_error == pytest.approx(once.standard_error)


def test_repeats_are_averaged():
    """Equal repeats give the interval of one; different ones the mean AUC."""
    rng = np.random.default_rng(2)
    y, g = np.arange(30) % 2, np.arange(30)
    a, b = rng.normal(size=(2, 30)) + y
    assert auc_interval(y, [a, a], g) == auc_interval(y, a, g)
    mean = (auc_interval(y, a, g).auc + auc_interval(y, b, g).auc) / 2
    assert auc_interval(y, [a, b], g).auc == pytest.approx(mean)


def test_perfect_separation_has_the_exact_lower_limit():
    """With AUC 1 and 5 patients in the smaller class the lower limit is 0.025 ** (1/5); AUC 0 mirrors it."""
    y, g = [0] * 9 + [1] * 5, range(14)
    right, wrong = auc_interval(y, y, g), auc_interval(y, -np.array(y), g)
    assert (right.auc, right.high) == (1.0, 1.0)
    assert right.low == pytest.approx(0.025**0.2)
    assert (wrong.auc, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - 0.025**0.2)


def test_one_patient_in_a_class_knows_nothing():
    """With all malignant nodules in one patient the variance is undefined and the interval is [0, 1]."""
    found = auc_interval([1, 1, 0, 0, 0], [3, 1, 2, 0, 0], [9, 9, 1, 2, 3])
    assert (found.low, found.high) == (0.0, 1.0)
    assert np.isnan(found.standard_error)


def test_clustered_interval_covers():
    """Over simulated cohorts of correlated pairs, the 95 % interval covers the true AUC 92 to 98.5 % of the time."""
    rng = np.random.default_rng(11)
    g, covered, truth = np.repeat(np.arange(40), 2), 0, norm.cdf(1 / np.sqrt(2))
    for _ in range(500):
        y = rng.integers(0, 2, 80)
        s = (rng.normal(size=40)[g] + rng.normal(size=80)) / np.sqrt(2) + y
        found = auc_interval(y, s, g)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 500 <= 0.985


def test_best_of_many_covers_where_a_single_interval_does_not():
    """Of 20 useless scores, the best one's simultaneous interval holds 0.5 at least 92 % of the time, its own far less."""
    rng = np.random.default_rng(3)
    y, g, simultaneous, single = np.arange(60) % 2, np.arange(60), 0, 0
    for seed in range(75):
        scores = rng.normal(size=(20, 60))
        found = simultaneous_interval(y, scores, g, draws=1000, seed=seed)
        best = found.intervals[found.best]
        simultaneous += best.low <= 0.5 <= best.high
        alone = auc_interval(y, scores[found.best], g)
        single += alone.low <= 0.5 <= alone.high
    assert simultaneous / 75 >= 0.92
    assert single / 75 < 0.8


def test_simultaneous_interval_of_independent_scores_has_the_known_critical_value():
    """For many patients and 10 independent scores the critical value is that of 10 independent normals."""
    rng = np.random.default_rng(4)
    found = simultaneous_interval(np.arange(2000) % 2, rng.normal(size=(10, 2000)), np.arange(2000), draws=4000)
    assert found.critical_value == pytest.approx(norm.ppf((1 + 0.95**0.1) / 2), abs=0.06)


def test_simultaneous_interval_of_one_is_the_plain_interval():
    """Copies of one score leave nothing to choose, so the interval is about the plain one, and never narrower."""
    rng = np.random.default_rng(6)
    y, g = np.arange(60) % 2, np.arange(60)
    s = rng.normal(size=60) + y
    family, alone = simultaneous_interval(y, [s, s, s], g), auc_interval(y, s, g)
    assert alone.low - 0.02 <= family.intervals[0].low <= alone.low


def test_missing_rows_and_lost_configurations():
    """A configuration is judged on the rows it has; one that has a single class gets NaN and is never best."""
    y, g = np.array([0, 1] * 10), np.arange(20)
    s = np.random.default_rng(8).normal(size=20) + y
    partial, lost = s.copy(), s.copy()
    partial[:4], lost[y == 1] = np.nan, np.nan
    found = simultaneous_interval(y, [lost, s, partial], g)
    assert np.isnan(found.intervals[0].auc)
    assert found.best in (1, 2)
    assert found.intervals[2].auc == auc_interval(y[4:], s[4:], g[4:]).auc


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "words"),
    [
        ([1, 1], [0.1, 0.2], [1, 2], "both classes"),
        ([0, 2], [0.1, 0.2], [1, 2], "0 .benign. and 1"),
        ([0, 1], [0.1], [1, 2], "a score and a patient for every label"),
        ([0, 1], [0.1, 0.3], [1], "a score and a patient for every label"),
        ([0, 1], [0.1, np.nan], [1, 2], "1 scores are not finite"),
    ],
)
def test_unusable_input_is_refused(labels, scores, groups, words):
    """One class, foreign labels, unequal lengths and NaN are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        auc_interval(labels, scores, groups)


def test_family_without_an_auc_is_refused():
    """A family in which no configuration has both classes is refused, as are scores of another length."""
    with pytest.raises(DatasetError, match="No configuration"):
        simultaneous_interval([0, 1], [[0.1, np.nan]], [1, 2])
    with pytest.raises(DatasetError, match="scores for 3 rows"):
        simultaneous_interval([0, 1], [[0.1, 0.2, 0.3]], [1, 2])
