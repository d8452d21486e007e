"""Neighbours on a line, percentiles of known distributions, and what distance has to do with error."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import brier_score_loss, roc_auc_score

from lungpipe.errors import DatasetError
from lungpipe.learn.neighbours import mean_distance, nearest, outlyingness, percentiles, relation_to_error

LINE = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])
OWNERS = np.array(["a", "b", "c", "d", "e"])


def test_neighbours_on_a_line_are_the_nearest_ones():
    """Positions and distances by hand, nearest first, of equals the earlier."""
    distances, positions = nearest(LINE, OWNERS, np.array([[1.25], [1.5]]), np.array(["x", "y"]), 3)
    assert positions.tolist() == [[1, 2, 0], [1, 2, 0]]
    assert distances == pytest.approx(np.array([[0.25, 0.75, 1.25], [0.5, 0.5, 1.5]]))


def test_nodules_of_the_same_patient_are_no_neighbours():
    distances, positions = nearest(LINE, np.array(["a", "b", "b", "d", "e"]), np.array([[1.25]]), np.array(["b"]), 2)
    assert positions.tolist() == [[0, 3]]
    assert distances == pytest.approx(np.array([[1.25, 1.75]]))


def test_distance_is_a_root_mean_square_over_features():
    """A copy of every column changes no distance; a difference of 3 and 4 is 5 over the root of 2."""
    one = nearest(np.zeros((1, 2)), OWNERS[:1], np.array([[3.0, 4.0]]), np.array(["x"]), 1)[0]
    two = nearest(np.zeros((1, 4)), OWNERS[:1], np.array([[3.0, 4.0, 3.0, 4.0]]), np.array(["x"]), 1)[0]
    assert one[0, 0] == pytest.approx(5 / np.sqrt(2))
    assert two == pytest.approx(one)


def test_too_few_neighbours_are_told():
    """Where others have fewer rows than asked for, the rest is infinite and the mean that of those there are."""
    distances, _ = nearest(LINE[:2], OWNERS[:2], LINE[:1], OWNERS[:1], 3)
    assert distances.tolist() == [[1.0, np.inf, np.inf]]
    assert mean_distance(distances).tolist() == [1.0]
    assert np.isnan(mean_distance(np.full((1, 2), np.inf))).all()


@pytest.mark.parametrize(
    ("train", "rows"), [(np.zeros((3, 0)), np.zeros((2, 0))), (np.zeros((3, 2)), np.zeros((2, 3)))]
)
def test_rows_of_other_features_are_refused(train, rows):
    with pytest.raises(DatasetError, match="same features"):
        nearest(train, OWNERS[:3], rows, np.array(["x", "y"]))


def test_percentiles_count_what_lies_below():
    reference = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    found = percentiles(np.array([0.0, 2.0, 2.5, 9.0, np.nan]), reference)
    assert found[:4].tolist() == [0.0, 37.5, 50.0, 100.0]
    assert np.isnan(found[4])
    assert np.isnan(percentiles(np.array([1.0]), np.array([np.nan]))).all()


def test_a_row_far_from_all_has_percentile_100_and_one_in_the_middle_a_low_one():
    rng = np.random.default_rng(0)
    train, owners = rng.normal(size=(200, 4)), np.arange(200)
    found = outlyingness(train, owners, np.array([[50.0, 0, 0, 0], [0.0, 0, 0, 0]]), np.array([-1, -2]))
    assert found.percentile[0] == 100
    assert found.percentile[1] < 25
    assert found.score[0] == pytest.approx((50 - np.sort(train[:, 0])[-5:].mean()) / 2, rel=0.05)


def test_rows_of_the_same_gaussian_have_evenly_spread_percentiles():
    """Leaving each training row's patient out makes training and test rows alike, also with few rows in many dimensions."""
    for n, q in ((400, 3), (60, 40)):
        found = []
        for seed in range(12):
            rng = np.random.default_rng((seed, q))
            train, rows = rng.normal(size=(n, q)), rng.normal(size=(40, q))
            found.append(outlyingness(train, np.arange(n), rows, -np.arange(1, 41)).percentile)
        values = np.concatenate(found)
        assert values.mean() == pytest.approx(50, abs=4)
        assert kstest(values[::4] / 100, "uniform").pvalue > 0.01
        rng = np.random.default_rng(q)
        wide = outlyingness(rng.normal(size=(n, q)), np.arange(n), 2 * rng.normal(size=(200, q)), -np.arange(1, 201))
        assert np.mean(wide.percentile > 90) > 0.3  # of another spread: more than the tenth that belongs there


def test_two_nodules_of_a_patient_do_not_vouch_for_each_other():
    """A training row is scored without its own patient: twins far away are as odd as one of them."""
    rng = np.random.default_rng(3)
    train = np.vstack([rng.normal(size=(50, 2)), [[9.0, 9.0], [9.0, 9.01]]])
    owners = np.append(np.arange(50), [99, 99])
    found = outlyingness(train, owners, np.array([[6.0, 6.0]]), np.array([-1]), k=1)
    assert found.percentile[0] == pytest.approx(100 * 50 / 52)
    apart = outlyingness(train, np.arange(52), np.array([[6.0, 6.0]]), np.array([-1]), k=1)
    assert apart.percentile[0] == 100


def cohort(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return rng, y, rng.uniform(0, 100, n), np.arange(n)


def test_error_that_grows_with_distance_is_found():
    """Predictions that fade to chance with the percentile: rho is 1, and the far ones are told apart worse."""
    _, y, far, patients = cohort()
    p = np.where(y == 1, 1, 0) * (1 - far / 150) + (1 - y) * far / 150
    found = relation_to_error(far, y, p, patients, draws=100)
    assert (found.n, found.rho, found.low, found.high) == pytest.approx((200, 1, 1, 1))
    assert found.near.n + found.far.n == 200


def test_error_without_relation_is_told_so_and_the_sides_are_those_of_scikit_learn():
    """The interval covers 0, and the figures on either side are what other code gives."""
    rng, y, _, patients = cohort(400)
    far = rng.permutation(400) / 4 + 0.1
    p = np.clip(0.5 + 0.2 * (y - 0.5) + rng.normal(0, 0.2, (2, 400)), 0.01, 0.99)
    found = relation_to_error(far, y, p, patients, draws=200)
    assert found.low < 0 < found.high
    for side, here in ((found.near, far <= 90), (found.far, far > 90)):
        assert (side.n, side.n_malignant) == (here.sum(), y[here].sum())
        assert side.auc == pytest.approx(np.mean([roc_auc_score(y[here], one[here]) for one in p]))
        assert side.brier == pytest.approx(np.mean([brier_score_loss(y[here], one[here]) for one in p]))
        assert side.auc_low < side.auc < side.auc_high


def test_patients_are_drawn_and_not_nodules():
    """Every nodule twice under its patient: the same limits; under patients of their own: closer ones."""
    rng, y, far, patients = cohort(60)
    p = rng.random(60)
    once = relation_to_error(far, y, p, patients, draws=200)
    twice = [np.repeat(one, 2) for one in (far, y, p)]
    same = relation_to_error(*twice, np.repeat(patients, 2), draws=200)
    assert (same.rho, same.low, same.high) == pytest.approx((once.rho, once.low, once.high))
    apart = relation_to_error(*twice, np.arange(120), draws=200)
    assert apart.high - apart.low < 0.85 * (once.high - once.low)


def test_few_far_nodules_are_masked_and_missing_ones_left_out():
    rng, y, far, patients = cohort(60)
    far[:10] = np.nan
    found = relation_to_error(far, y, rng.random(60), patients, draws=50)
    assert found.n == 50
    assert np.isnan(found.far.auc)
    assert found.far.n == (far > 90).sum()
    with pytest.raises(DatasetError, match="Both classes"):
        relation_to_error(far, np.ones(60, dtype=int), rng.random(60), patients)
