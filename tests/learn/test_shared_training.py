"""The variance of a cross-validated AUC against simulation: what is trained on the rows that others test moves with them."""

import numpy as np
import pytest
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.delong import compare_aucs
from lungpipe.learn.intervals import auc_interval, simultaneous_interval
from lungpipe.learn.power import cohort_power
from lungpipe.learn.shared_training import variance_factor
from lungpipe.learn.subgroups import subgroup_table

FOLDS = 5


def cross_validated(rng, n, columns, apart=0.0):
    """Labels, and scores by the difference of class means, each learned without the row's fold."""
    y = np.arange(n) % 2
    x = rng.normal(size=(n, columns))
    x[:, 0] += apart * y
    fold, scores = np.empty(n, dtype=int), np.empty(n)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(y == label))
        fold[rows] = np.arange(len(rows)) % FOLDS
    for k in range(FOLDS):
        test, train = fold == k, fold != k
        direction = x[train & (y == 1)].mean(axis=0) - x[train & (y == 0)].mean(axis=0)
        scores[test] = (x[test] - x[train].mean(axis=0)) @ direction / np.linalg.norm(direction)
    return y, scores


def simulated(n, columns, apart, cohorts=300):
    """Mean AUC of many cohorts, its standard deviation, and the share of intervals that hold it without and with the factor."""
    rng = np.random.default_rng((n, columns))
    made = [cross_validated(rng, n, columns, apart) for _ in range(cohorts)]
    found = {k: [auc_interval(y, s, np.arange(n), n_models=k) for y, s in made] for k in (1, FOLDS)}
    aucs = np.array([one.auc for one in found[1]])
    truth = 0.5 if apart == 0 else aucs.mean()
    covered = {k: np.mean([one.low <= truth <= one.high for one in found[k]]) for k in found}
    fixed = np.sqrt(np.mean([one.standard_error**2 for one in found[1]]))
    return aucs, fixed, covered


def test_factor():
    """1 for one model, 1.5 for two, 1.8 for five, and 2 for as many as there are rows."""
    assert [variance_factor(k) for k in (1, 2, 5)] == [1, 1.5, 1.8]
    assert variance_factor(10**6) == pytest.approx(2, abs=1e-5)
    with pytest.raises(DatasetError, match="at least 1"):
        variance_factor(0)


def test_pairs_count_twice_where_nothing_is_to_be_learned():
    """With a symmetric kernel and random labels, the variance of the sum over rows is twice that of its terms, whatever it is."""
    rng = np.random.default_rng(0)
    n = 40
    fold = np.arange(n) % FOLDS
    x = rng.normal(size=(n, 6))
    kernel = np.where(fold[:, None] != fold, x @ x.T, 0.0)
    labels = rng.choice([-1, 1], (20_000, n))
    terms = labels * (labels @ kernel)
    assert terms.sum(axis=1).var() == pytest.approx(2 * (terms**2).mean(axis=0).sum(), rel=0.05)


@pytest.mark.parametrize(("n", "columns"), [(60, 10), (100, 30)])
def test_without_signal_intervals_cover_a_half_only_with_the_factor(n, columns):
    """DeLong's variance of fixed scores leaves a half out of one interval in ten or more; with the factor, of few."""
    aucs, fixed, covered = simulated(n, columns, 0.0)
    assert abs(aucs.mean() - 0.5) < 0.02
    assert 1.2 < aucs.std() / fixed < 1.5
    assert covered[1] < 0.91
    assert 0.92 <= covered[FOLDS] <= 0.99


@pytest.mark.parametrize("apart", [0.8, 2.2])
def test_with_signal_too(apart):
    """For a weak signal the factor is needed as much; for a strong one it is careful: no interval is too short."""
    aucs, _, covered = simulated(80, 10, apart)
    known = norm.cdf(apart / np.sqrt(2))  # of the direction, were it known
    assert known - 0.1 < aucs.mean() < known
    assert covered[1] < covered[FOLDS]
    assert 0.92 <= covered[FOLDS] <= 1.0


def test_every_interval_has_the_factor():
    """Standard errors of an AUC, the best of several, a difference and a gap grow by its root; estimates stay."""
    rng = np.random.default_rng(3)
    y, a = cross_validated(rng, 120, 4, 1.0)
    b, patients = a + rng.normal(size=120), np.arange(120)
    one, five = (auc_interval(y, a, patients, n_models=k) for k in (1, FOLDS))
    assert five.auc == one.auc
    assert five.standard_error == pytest.approx(np.sqrt(1.8) * one.standard_error)
    first, second = (simultaneous_interval(y, [a, b], patients, n_models=k) for k in (1, FOLDS))
    assert second.critical_value == first.critical_value
    assert second.intervals[0].standard_error == pytest.approx(np.sqrt(1.8) * first.intervals[0].standard_error)
    before, after = (compare_aucs(y, a, b, patients, n_models=k) for k in (1, FOLDS))
    assert after.z == pytest.approx(before.z / np.sqrt(1.8))
    assert after.p > before.p
    half = np.where(np.arange(120) % 4 < 2, "x", "y")
    plain, wide = (subgroup_table(y, a, patients, half, n_models=k).iloc[0] for k in (1, FOLDS))
    assert wide["gap"] == plain["gap"]
    assert wide["gap_high"] - wide["gap"] == pytest.approx(np.sqrt(1.8) * (plain["gap_high"] - plain["gap"]))
    assert wide["auc_high"] - wide["auc_low"] > plain["auc_high"] - plain["auc_low"]
    small = cohort_power(y, patients, n_features=4, n_models=FOLDS)
    assert small.smallest_auc > cohort_power(y, patients, n_features=4).smallest_auc
