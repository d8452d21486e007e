"""Thresholds against scikit-learn's ROC curve, by hand, and their behaviour."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_curve

from lungpipe.errors import DatasetError
from lungpipe.learn.operating import at_sensitivity, at_specificity, at_threshold


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 1.0])
def test_points_are_on_scikit_learns_curve(seed, target):
    """The sensitivity is the highest on the ROC curve with that specificity, and the reverse; the threshold gives both."""
    rng = np.random.default_rng(seed)
    y = np.arange(60) % 3 // 2
    s = np.round(rng.normal(size=60) + y, seed % 2 + 1)
    false, true, _ = roc_curve(y, s, drop_intermediate=False)
    one, other = at_specificity(y, s, target), at_sensitivity(y, s, target)
    assert one.sensitivity == pytest.approx(true[1 - false >= target - 1e-12].max())
    assert other.specificity == pytest.approx((1 - false)[true >= target - 1e-12].max())
    assert at_threshold(y, s, one.threshold) == one
    assert at_threshold(y, s, other.threshold) == other


def test_by_hand():
    """Ten benign 0..9 and malignant 3, 8.5, 9, 12: at 90 % specificity 9 is allowed, so the threshold is 8.5."""
    y, s = [0] * 10 + [1] * 4, [*range(10), 3, 8.5, 9, 12]
    found = at_specificity(y, s, 0.9)
    assert (found.threshold, found.sensitivity, found.specificity) == (8.5, 0.75, 0.9)
    found = at_specificity(y, s, 0.95)
    assert (found.threshold, found.sensitivity, found.specificity) == (12, 0.25, 1.0)
    found = at_sensitivity(y, s, 0.75)
    assert (found.threshold, found.sensitivity, found.specificity) == (8.5, 0.75, 0.9)
    assert at_sensitivity(y, s, 0.76).threshold == 3


def test_extreme_targets():
    """Specificity 0 calls all; specificity 1 with a benign nodule on top calls none; ties go together."""
    y, s = [0, 1, 1, 0], [0.9, 0.8, 0.3, 0.1]
    assert at_specificity(y, s, 0.0).sensitivity == 1
    none = at_specificity(y, s, 1.0)
    assert (none.sensitivity, none.specificity) == (0, 1)
    assert 0.9 < none.threshold < 0.91
    assert at_sensitivity(y, s, 0.0).specificity == 1
    tied = at_specificity([0, 1, 0, 1], [0.5] * 4, 0.5)
    assert (tied.sensitivity, tied.specificity) == (0, 1)
    perfect = at_specificity([0, 0, 1], [0.1, 0.2, 0.3], 0.95)
    assert (perfect.sensitivity, perfect.specificity, perfect.threshold) == (1, 1, 0.3)


def test_repeats_are_averaged_and_missing_rows_left_out():
    """Figures and threshold are means over repeats, on rows that all of them have."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    a, b = rng.normal(size=(2, 40)) + y
    both, one, other = (at_specificity(y, s, 0.9) for s in ([a, b], a, b))
    assert both.sensitivity == pytest.approx((one.sensitivity + other.sensitivity) / 2)
    assert both.threshold == pytest.approx((one.threshold + other.threshold) / 2)
    b[:4] = np.nan
    assert at_threshold(y, [a, b], 0.2) == at_threshold(y[4:], [a[4:], b[4:]], 0.2)


def test_balanced_accuracy_is_scikit_learns():
    """At a threshold it equals scikit-learn's."""
    rng = np.random.default_rng(1)
    y, p = np.arange(50) % 2, rng.random(50)
    assert at_threshold(y, p).balanced_accuracy == pytest.approx(balanced_accuracy_score(y, p >= 0.5))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=2, max_size=30), st.floats(0, 1))
def test_targets_are_met_whatever_the_scores(rows, target):
    """Specificity and sensitivity are never below what was asked for, and a rising function of scores changes nothing."""
    y, s = np.array(rows).T
    if len(set(y)) < 2:
        return
    one, other = at_specificity(y, s, target), at_sensitivity(y, s, target)
    assert one.specificity >= target - 1e-9
    assert other.sensitivity >= target - 1e-9
    moved = at_specificity(y, s**3 * 2 + 1, target)
    assert (moved.sensitivity, moved.specificity) == (one.sensitivity, one.specificity)


@pytest.mark.parametrize(
    ("labels", "scores", "target", "words"),
    [
        ([1, 1], [0.1, 0.2], 0.9, "Both classes"),
        ([0, 1], [0.1], 0.9, "a label, a patient and a score"),
        ([0, 1], [0.1, 0.2], 90, "within .0, 1., not 90"),
        ([0, 1], [0.1, np.nan], 0.9, "Both classes"),
    ],
)
def test_unusable_input_is_refused(labels, scores, target, words):
    """One class, unequal lengths and a target in per cent are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        at_specificity(labels, scores, target)
    with pytest.raises(DatasetError, match=words):
        at_sensitivity(labels, scores, target)
