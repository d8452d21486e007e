"""Folds keep patients whole, cover every row, and refuse cohorts that cannot be divided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import DatasetError
from lungpipe.learn.folds import check_cohort, grouped_folds


@st.composite
def cohorts(draw):
    """Labels and patients, at least five patients with a nodule of each class, some with several nodules."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=10, max_size=30))
    groups = np.repeat([f"patient-{i:02d}" for i in range(len(sizes))], sizes)
    labels = np.repeat(np.arange(len(sizes)) % 2, sizes)
    flip = draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels)))
    first = np.unique(groups, return_index=True)[1]
    changeable = np.setdiff1d(np.arange(len(labels)), first)
    labels[changeable] ^= np.array(flip)[changeable]
    return labels, groups


@settings(max_examples=60, deadline=None)
@given(cohorts(), st.integers(2, 5), st.integers(0, 1000), st.integers(1, 3))
def test_folds_keep_patients_whole_and_test_every_row_once(cohort, n_folds, seed, repeats):
    """No patient is on both sides of a fold, and in each repeat every row is tested exactly once."""
    labels, groups = cohort
    folds = grouped_folds(labels, groups, n_folds, seed, repeats)
    assert len(folds) == n_folds * repeats
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.test])), np.arange(len(labels)))
    for repeat in range(repeats):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        np.testing.assert_array_equal(np.sort(tested), np.arange(len(labels)))


@settings(max_examples=40, deadline=None)
@given(cohorts(), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_row_order(cohort, seed, random):
    """Shuffling the rows leaves every patient in the fold that tested it."""
    labels, groups = cohort
    order = np.array(random.sample(range(len(labels)), len(labels)))
    before = [set(groups[fold.test]) for fold in grouped_folds(labels, groups, 4, seed)]
    after = [set(groups[order][fold.test]) for fold in grouped_folds(labels[order], groups[order], 4, seed)]
    assert before == after


@pytest.mark.parametrize("n_malignant", [10, 20, 33])
def test_folds_share_out_the_classes(n_malignant):
    """With one nodule a patient, every fold has its share of malignant nodules to within one."""
    labels = (np.arange(50) < n_malignant).astype(int)
    for fold in grouped_folds(labels, np.arange(50), 5, seed=3):
        assert abs(labels[fold.test].sum() - n_malignant / 5) <= 1


def test_seed_and_repeat_change_the_deal():
    """The same seed deals the same folds; another seed or repeat deals others."""
    labels, groups = np.arange(40) % 2, np.arange(40)
    first, again = grouped_folds(labels, groups, 5, 1, 2), grouped_folds(labels, groups, 5, 1, 2)
    other = grouped_folds(labels, groups, 5, 2, 2)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(first, other, strict=True))
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(first[:5], first[5:], strict=True))


GOOD = [0, 1] * 10
REFUSED = {
    "one class": ([1] * 20, range(20), 5, 3, "one class only"),
    "no rows": ([], [], 5, 3, "nothing to benchmark"),
    "missing label": ([*GOOD[:-1], float("nan")], range(20), 5, 3, "1 of 20 nodules have no label"),
    "missing patient": (GOOD, [None, *range(19)], 5, 3, "1 of 20 nodules have no patient"),
    "label of neither class": ([*GOOD[:-1], 3], range(20), 5, 3, "found 3"),
    "unequal lengths": (GOOD, range(19), 5, 3, "one length"),
    "patients fewer than folds": ([0] * 20 + [1] * 8, [*range(20), *[20, 21, 22, 23] * 2], 5, 2, "at most 4"),
    "too few to tune on": ([0] * 20 + [1] * 3, range(23), 3, 3, "2 of them are left"),
    "one outer fold": (GOOD, range(20), 1, 3, "outer_folds must be at least 2"),
    "one inner fold": (GOOD, range(20), 5, 1, "inner_folds must be at least 2"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_unusable_cohort_is_refused(case):
    """A cohort that cannot be cross-validated is refused with a sentence that names the trouble."""
    labels, groups, n_outer, n_inner, words = case
    with pytest.raises(DatasetError, match=words):
        check_cohort(labels, list(groups), n_outer, n_inner)


def test_usable_cohort_passes():
    """Booleans, floats and patients' names as text are all taken."""
    check_cohort([True, False] * 10, [f"p{i}" for i in range(20)], 5, 3)
    check_cohort([1.0, 0.0] * 10, range(20), 5, 3)


def test_no_repeat_is_refused():
    """Zero repeats give no folds and are refused."""
    with pytest.raises(DatasetError, match="repeats"):
        grouped_folds(GOOD, range(20), 5, 1, repeats=0)
