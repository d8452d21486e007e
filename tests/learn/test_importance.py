"""Clusters of features, pairs lost by shuffling, and the interval of a drop: all against figures that can be reckoned by hand."""

from itertools import permutations as every_order

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lungpipe.errors import DatasetError
from lungpipe.learn import importance
from lungpipe.learn.importance import feature_clusters, mean_drop, pairs_lost, permutations

LABELS = np.array([0, 0, 0, 1, 1, 1])


def by_first(rows):
    """A model that looks at its first column alone."""
    return np.column_stack([1 - rows[:, 0], rows[:, 0]])


def test_features_of_one_order_share_a_cluster():
    """Monotone and reversed copies go together whatever their scale; noise and a constant stand alone; numbers go by place."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200))
    table = np.column_stack([b, a, np.exp(3 * a), -(a**3), np.full(200, 7.0), a + rng.normal(size=200) * 0.1])
    found = feature_clusters(table)
    assert found.of.tolist() == [1, 2, 2, 2, 3, 2]
    assert found.centre.tolist() == [0, 1, 1, 1, 4, 1]


def test_average_linkage_cuts_where_the_mean_distance_is():
    """Ranks with |rho| 0.8 join below a cut of 0.2 and not above; three features join at the mean of two distances."""
    # Spearman without ties: 1 - 6 sum d^2 / (n (n^2 - 1)); n = 5, so 1 - sum d^2 / 20.
    one, two, three = [1, 2, 3, 4, 5], [2, 1, 4, 3, 5], [2, 3, 1, 4, 5]  # sum d^2 = 4, 6 and 14 - ...
    table = np.array([one, two], dtype=float).T
    assert feature_clusters(table, 0.21).of.tolist() == [1, 1]
    assert feature_clusters(table, 0.19).of.tolist() == [1, 2]
    # rho(one, three) = 0.7, rho(two, three) = 1 - (0 + 4 + 9 + 1 + 0) / 20 = 0.3: they join at (0.3 + 0.7) / 2 = 0.5.
    table = np.array([one, two, three], dtype=float).T
    assert feature_clusters(table, 0.49).of.tolist() == [1, 1, 2]
    assert feature_clusters(table, 0.51).of.tolist() == [1, 1, 1]


def test_gaps_count_as_the_median_and_one_feature_is_a_cluster():
    table = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0], [4.0, np.inf], [5.0, 5.0]])
    assert feature_clusters(table).of.tolist() == [1, 1]  # ranks 1 3 3 3 5 of the second: rho 0.894
    assert feature_clusters(table[:, :1]).of.tolist() == [1]


@pytest.mark.parametrize(("table", "cut"), [(np.zeros((3, 0)), 0.3), (np.zeros(3), 0.3), (np.zeros((3, 2)), 1.2)])
def test_no_columns_or_an_impossible_height_are_refused(table, cut):
    with pytest.raises(DatasetError, match="height within"):
        feature_clusters(table, cut)


def test_over_all_orders_a_model_of_one_feature_loses_half_of_what_it_had():
    """Shuffled predictions have an AUC of 0.5 on average, so the mean loss is the pairs ordered rightly less half of all."""
    orders = np.array(list(every_order(range(6))))
    inputs = np.column_stack([[0.1, 0.5, 0.3, 0.2, 0.8, 0.9], [9.0, 1.0, 4.0, 2.0, 2.0, 7.0]])
    found = pairs_lost(
        by_first, inputs, LABELS, [np.array([0]), np.array([1]), np.array([0, 1]), np.array([], int)], orders
    )
    assert (found.pairs, found.right) == (9, 7.0)  # 0.2 is below 0.3 and 0.5
    assert found.lost.mean(axis=1) == pytest.approx([7 - 4.5, 0, 7 - 4.5, 0])


def test_columns_of_a_set_are_shuffled_together():
    """Rows that a model is asked for keep the values of a set beside each other, and the other columns where they were."""
    inputs = np.arange(18.0).reshape(6, 3)
    orders = permutations(6, (7,))
    asked = []

    def spy(rows):
        asked.append(rows)
        return by_first(rows / 100)

    pairs_lost(spy, inputs, LABELS, [np.array([0, 2])], orders)
    rows = asked[-1].reshape(len(orders), 6, 3)
    assert (rows[:, :, 2] - rows[:, :, 0] == 2).all()
    assert (rows[:, :, 1] == inputs[:, 1]).all()
    assert any((one[:, 0] != inputs[:, 0]).any() for one in rows)
    assert all(sorted(one[:, 0]) == sorted(inputs[:, 0]) for one in rows)


def test_pairs_are_those_of_scikit_learn_and_do_not_depend_on_the_parcels(monkeypatch):
    """Loss of each order is the difference of two AUCs with ties, whether sets are predicted at once or one after another."""
    rng = np.random.default_rng(1)
    inputs, labels = np.round(rng.random((20, 3)), 1), np.arange(20) % 2
    orders = permutations(20, (1, 2))

    def model(rows):
        p = np.round(rows @ [0.5, 0.3, 0.2], 1)
        return np.column_stack([1 - p, p])

    sets = [np.array([0]), np.array([1, 2])]
    found = pairs_lost(model, inputs, labels, sets, orders)
    for k, columns in enumerate(sets):
        for b, order in enumerate(orders):
            changed = inputs.copy()
            changed[:, columns] = inputs[order][:, columns]
            drop = roc_auc_score(labels, model(inputs)[:, 1]) - roc_auc_score(labels, model(changed)[:, 1])
            assert found.lost[k, b] / found.pairs == pytest.approx(drop)
    monkeypatch.setattr(importance, "_CELLS", 1)
    assert np.array_equal(pairs_lost(model, inputs, labels, sets, orders).lost, found.lost)


def test_a_fold_of_one_class_has_no_pairs():
    found = pairs_lost(by_first, np.ones((4, 1)), np.ones(4, dtype=int), [np.array([0])], permutations(4, (0,)))
    assert found.pairs == 0
    assert (found.lost == 0).all()


def test_orders_are_drawn_with_their_seed_and_are_more_where_rows_are_few():
    assert [permutations(n, (0,)).shape for n in (9, 60, 1000)] == [(30, 9), (10, 60), (5, 1000)]
    assert np.array_equal(permutations(30, (1, 2)), permutations(30, (1, 2)))
    assert not np.array_equal(permutations(30, (1, 2)), permutations(30, (2, 1)))


def test_an_interval_reckons_with_training_rows_that_folds_share():
    """Five equal folds: s^2 = 0.005, (1/5 + 1/4) s^2 is the variance, and 2.776 is Student's t of 4 degrees of freedom."""
    found = mean_drop(np.array([0.1, 0.2, 0.3, 0.2, 0.2]) * 50, np.full(5, 50.0), 0.25)
    half = 2.7764451051977934 * np.sqrt(0.45 * 0.005)
    assert found == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    naive = 2.7764451051977934 * np.sqrt(0.005 / 5)
    assert found.high - found.mean > 1.4 * naive


def test_folds_weigh_their_pairs():
    """Unequal folds give the pooled drop; those without pairs have no part; one fold has no interval, none has no figure."""
    found = mean_drop([10.0, 0.0, 3.0], [100.0, 0.0, 10.0], 0.25)
    assert found.mean == pytest.approx(13 / 110)
    assert found.low < found.mean < found.high
    assert mean_drop([10.0], [100.0], 0.2)[:1] == (0.1,)
    assert np.isnan(mean_drop([10.0], [100.0], 0.2)[1:]).all()
    assert np.isnan(mean_drop([0.0], [0.0], 0.2)).all()
