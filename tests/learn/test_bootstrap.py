"""The patient bootstrap against scikit-learn, against what theory says of its draws, and in simulation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from lungpipe.errors import DatasetError
from lungpipe.learn.bootstrap import bootstrap_interval, patient_weights, row_by_row, weighted_auc
from lungpipe.learn.intervals import auc_interval


def cohort(rng, n_patients=40, nodules=2, gain=1.0):
    """Return labels, scores and patients of clustered nodules."""
    g = np.repeat(np.arange(n_patients), nodules)
    y = rng.integers(0, 2, len(g))
    return y, (rng.normal(size=n_patients)[g] + rng.normal(size=len(g))) / np.sqrt(2) + gain * y, g


def drawn(y, g, draws, seed=0):
    """Return all weights in one table."""
    return np.concatenate(list(patient_weights(np.asarray(y), np.asarray(g), draws, seed)))


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_weighted_auc_is_that_of_the_copied_rows(digits):
    """Each draw's AUC is scikit-learn's of the rows drawn, ties and repeats included."""
    rng = np.random.default_rng(digits)
    y = np.arange(30) % 2
    s = np.round(rng.normal(size=(3, 30)) + y, digits)
    weights = rng.integers(0, 4, (20, 30))
    expected = [np.mean([roc_auc_score(np.repeat(y, w), np.repeat(one, w)) for one in s]) for w in weights]
    assert weighted_auc(y, s, weights) == pytest.approx(np.array(expected), abs=1e-12)
    assert row_by_row(roc_auc_score)(y, s, weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_auc_of_a_draw_of_one_class_is_nan():
    """Without a pair there is no AUC."""
    assert np.isnan(weighted_auc(np.array([0, 1]), np.array([[0.1, 0.2]]), np.array([[2, 0], [0, 2]]))).all()


def test_draws_keep_patients_whole_and_strata_as_large():
    """A patient's nodules come equally often; patients with and without a malignant nodule are as many as there were."""
    g = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5])
    y = np.array([1, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    weights = drawn(y, g, 500)
    first = np.unique(g, return_index=True)[1]
    counts = weights[:, first]
    assert (weights == counts[:, g]).all()
    assert (counts[:, :3].sum(axis=1) == 3).all()
    assert (counts[:, 3:].sum(axis=1) == 3).all()
    assert len(weights) == 500
    assert counts.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)
    assert counts.var(axis=0) == pytest.approx(np.full(6, 2 / 3), abs=0.15)  # binomial: 3 draws of 1/3


def test_a_draw_without_benign_nodules_is_drawn_anew():
    """Where a single patient of three has the benign nodules, every draw holds that patient."""
    weights = drawn([1, 0, 1, 1], [0, 0, 1, 2], 300)
    assert len(weights) == 300
    assert (weights[:, 0] > 0).all()


def test_seed_decides_and_parcels_do_not(monkeypatch):
    """Equal seeds give equal intervals, whatever the memory held at once; another seed gives others."""
    y, s, g = cohort(np.random.default_rng(0))
    one = bootstrap_interval(weighted_auc, y, s, g, draws=300, seed=1)
    monkeypatch.setattr("lungpipe.learn.bootstrap._AT_ONCE", 500)
    assert bootstrap_interval(weighted_auc, y, s, g, draws=300, seed=1) == one
    assert bootstrap_interval(weighted_auc, y, s, g, draws=300, seed=2) != one
    assert one.draws == 300


def test_standard_error_is_about_that_of_the_components():
    """For many patients the bootstrap's standard error of the AUC is Obuchowski's within a tenth."""
    y, s, g = cohort(np.random.default_rng(1), n_patients=150)
    found = bootstrap_interval(weighted_auc, y, s, g, draws=3000)
    assert found.standard_error == pytest.approx(auc_interval(y, s, g).standard_error, rel=0.1)
    assert found.value == pytest.approx(auc_interval(y, s, g).auc)


def test_interval_of_a_mean_is_that_of_theory():
    """The mean of independent scores has limits about 1.96 standard errors away."""
    rng = np.random.default_rng(2)
    y, s = np.arange(400) % 2, rng.normal(size=400)
    mean = row_by_row(lambda labels, scores: float(scores.mean()))
    found = bootstrap_interval(mean, y, s, draws=4000)
    half = 1.96 * s.std() / 20
    assert (found.low, found.high) == pytest.approx((s.mean() - half, s.mean() + half), abs=0.1 * half)


def test_clustered_interval_covers():
    """Over clustered cohorts, 92 to 98 % of the AUC's 95 % intervals hold the truth."""
    rng, covered, truth = np.random.default_rng(11), 0, norm.cdf(1 / np.sqrt(2))
    for seed in range(300):
        found = bootstrap_interval(weighted_auc, *cohort(rng, 60), draws=400, seed=seed)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 300 <= 0.98


def test_missing_rows_and_undefined_draws_are_left_out():
    """NaN rows take no part; draws whose figure is NaN do not count, and if all are, neither do limits."""
    y, s, g = cohort(np.random.default_rng(3))
    whole = bootstrap_interval(weighted_auc, y[5:], s[5:], g[5:], draws=100)
    s[:5] = np.nan
    assert bootstrap_interval(weighted_auc, y, s, g, draws=100) == whole
    never = bootstrap_interval(lambda labels, scores, weights: np.full(len(weights), np.nan), y, s, g, draws=20)
    assert np.isnan([never.value, never.low, never.high]).all()
    assert never.draws == 0


def test_perfect_separation_has_no_width():
    """Every draw of separated scores is separated: [1, 1]; `auc_interval` is the honest one there."""
    y = np.arange(20) % 2
    found = bootstrap_interval(weighted_auc, y, y * 1.0, draws=50)
    assert (found.value, found.low, found.high, found.standard_error) == (1, 1, 1, 0)


def test_ten_patients_and_a_metric_of_scikit_learn():
    """Ten patients: limits enclose the figure; any metric of labels and scores will do."""
    rng = np.random.default_rng(9)
    y, s, g = cohort(rng, 10)
    found = bootstrap_interval(row_by_row(average_precision_score), y, s, g, draws=200)
    assert 0 <= found.low < found.value < found.high <= 1


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "words"),
    [
        ([1, 1], [0.1, 0.2], [1, 2], "Both classes"),
        ([0, 1], [0.1], [1, 2], "a label, a patient and a score"),
        ([0, 1], [np.nan, np.nan], [1, 2], "Both classes"),
    ],
)
def test_unusable_input_is_refused(labels, scores, groups, words):
    """One class, unequal lengths and rows without scores are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        bootstrap_interval(weighted_auc, labels, scores, groups)


def test_no_draws_are_refused():
    """An interval needs a draw."""
    with pytest.raises(DatasetError, match="draws"):
        bootstrap_interval(weighted_auc, [0, 1], [0.1, 0.2], draws=0)
