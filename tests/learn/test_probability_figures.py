"""Figures of probabilities against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from lungpipe.errors import DatasetError
from lungpipe.learn.bootstrap import bootstrap_interval
from lungpipe.learn.figures import average_precision, brier_score, figure_table, log_loss
from lungpipe.learn.operating import at_sensitivity, at_specificity


def nodules(n=60, seed=0):
    """Return labels and two repeats of probabilities, rounded so that some are equal."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3 // 2
    return y, np.round(np.clip(rng.beta(2, 3, (2, n)) + 0.2 * y, 0.01, 0.99), 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(brier_score, brier_score_loss), (log_loss, sklearn_log_loss), (average_precision, average_precision_score)],
)
def test_figures_are_scikit_learns(ours, theirs):
    """Each repeat's figure is scikit-learn's, and that of repeats their mean, on the rows that all have."""
    y, p = nodules()
    single = [theirs(y, one) for one in p]
    assert ours(y, p[0]) == pytest.approx(single[0], rel=1e-12)
    assert ours(y, p) == pytest.approx(np.mean(single), rel=1e-12)
    p[1, :7] = np.nan
    assert ours(y, p) == pytest.approx(np.mean([theirs(y[7:], one[7:]) for one in p]), rel=1e-12)


def test_by_hand():
    """0.8 for malignant, 0.4 for benign: Brier (0.04 + 0.16) / 2, log loss -(log 0.8 + log 0.6) / 2."""
    assert brier_score([1, 0], [0.8, 0.4]) == pytest.approx(0.1)
    assert log_loss([1, 0], [0.8, 0.4]) == pytest.approx(-np.log(0.48) / 2)


def test_certain_and_wrong_costs_a_finite_amount():
    """One of two certain predictions wrong: half of -log(1e-15)."""
    assert log_loss([1, 0], [0.0, 0.0]) == pytest.approx(-np.log(1e-15) / 2)


def test_table_holds_every_figure_between_its_limits():
    """One row a figure; the values are those of the functions, and most lie within their limits."""
    y, p = nodules()
    table = figure_table(y, p, np.arange(60) // 2, draws=100).set_index("figure")
    assert len(table) == 12
    assert table.loc["brier", "value"] == pytest.approx(brier_score(y, p))
    assert table.loc["average_precision", "value"] == pytest.approx(average_precision(y, p))
    assert table.loc["sensitivity_at_90_specificity", "value"] == at_specificity(y, p, 0.9).sensitivity
    assert table.loc["threshold_at_95_sensitivity", "value"] == at_sensitivity(y, p, 0.95).threshold
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).mean() > 0.9


def test_brier_interval_covers():
    """Over cohorts of calibrated predictions, 92 to 98 % of the intervals hold the expected Brier score."""

    def brier(y, p, w):
        return (w * (p[0] - y) ** 2).sum(axis=1) / w.sum(axis=1)

    rng, covered, truth = np.random.default_rng(4), 0, 0.5 - 1 / 3  # E p(1-p) of uniform p
    for seed in range(300):
        p = rng.random(120)
        found = bootstrap_interval(brier, rng.random(120) < p, p, draws=300, seed=seed)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 300 <= 0.98


@pytest.mark.parametrize("figure", [brier_score, log_loss, figure_table])
def test_decision_values_are_refused(figure):
    """Scores that are no probabilities have no Brier score; average precision takes them."""
    with pytest.raises(DatasetError, match="no probabilities"):
        figure([0, 1], [-1.0, 2.0])
    assert average_precision([0, 1], [-1.0, 2.0]) == 1


@pytest.mark.parametrize("figure", [brier_score, log_loss, average_precision, figure_table])
def test_unusable_input_is_refused(figure):
    """One class and unequal lengths are refused with a reason."""
    with pytest.raises(DatasetError, match="Both classes"):
        figure([1, 1], [0.1, 0.2])
    with pytest.raises(DatasetError, match="a label, a patient and a score"):
        figure([0, 1], [0.1])
