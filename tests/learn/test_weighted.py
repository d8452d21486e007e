"""Figures of many draws against the plain functions on the rows drawn."""

import numpy as np
import pytest

from lungpipe.learn.figures import average_precision, brier_score, log_loss
from lungpipe.learn.operating import at_sensitivity, at_specificity, at_threshold
from lungpipe.learn.weighted import weighted_figures

PLAIN = {
    "sensitivity_at_90_specificity": lambda y, p: at_specificity(y, p, 0.9).sensitivity,
    "threshold_at_90_specificity": lambda y, p: at_specificity(y, p, 0.9).threshold,
    "sensitivity_at_95_specificity": lambda y, p: at_specificity(y, p, 0.95).sensitivity,
    "threshold_at_95_specificity": lambda y, p: at_specificity(y, p, 0.95).threshold,
    "specificity_at_90_sensitivity": lambda y, p: at_sensitivity(y, p, 0.9).specificity,
    "threshold_at_90_sensitivity": lambda y, p: at_sensitivity(y, p, 0.9).threshold,
    "specificity_at_95_sensitivity": lambda y, p: at_sensitivity(y, p, 0.95).specificity,
    "threshold_at_95_sensitivity": lambda y, p: at_sensitivity(y, p, 0.95).threshold,
    "balanced_accuracy": lambda y, p: at_threshold(y, p).balanced_accuracy,
    "brier": brier_score,
    "log_loss": log_loss,
    "average_precision": average_precision,
}


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("gain", [0.0, 0.2, 5.0])
def test_every_figure_is_that_of_the_rows_drawn(digits, gain):
    """Useless, fair and separating scores, with ties and repeats: each figure of each draw is the plain function's."""
    rng = np.random.default_rng(digits)
    y = np.arange(40) % 2
    p = np.round(np.clip(rng.beta(2, 3, (2, 40)) + gain * (y - 0.5), 0, 1), digits)
    weights = rng.integers(0, 4, (25, 40))
    found = weighted_figures(y, p, weights)
    assert list(found) == list(PLAIN)
    for name, plain in PLAIN.items():
        expected = [plain(np.repeat(y, w), np.repeat(p, w, axis=1)) for w in weights]
        assert found[name] == pytest.approx(np.array(expected), abs=1e-12), name


def test_constant_scores():
    """One value only: all are called, or none."""
    y = np.array([0, 0, 1, 1])
    found = weighted_figures(y, np.full((1, 4), 0.3), np.ones((1, 4), dtype=int))
    assert found["sensitivity_at_90_specificity"] == [0]
    assert found["threshold_at_90_specificity"] == [np.nextafter(0.3, 1)]
    assert found["specificity_at_90_sensitivity"] == [0]
    assert found["threshold_at_90_sensitivity"] == [0.3]
    assert found["balanced_accuracy"] == [0.5]
    assert found["average_precision"] == [0.5]
