"""What stands before a classifier is learned from training rows, and does what its name says."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lungpipe.errors import DatasetError
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.models import Logistic, RandomForest
from lungpipe.learn.preparation import Harmonise, Preparation


def test_steps_stand_in_their_order():
    """Batches first, then imputation, constant columns, scaling, what goes together, selection, the classifier."""
    every = Preparation(0.9, "mrmr", (5,), harmonise=True)
    assert list(every.pipeline(Logistic(), 0).named_steps) == [
        "harmonise", "impute", "vary", "scale", "decorrelate", "select", "classifier",
    ]  # fmt: skip
    assert list(Preparation().pipeline(Logistic(), 0).named_steps) == ["impute", "vary", "scale", "classifier"]
    assert Preparation().pipeline(Logistic(), 0)[-1].class_weight == "balanced"
    assert Preparation(balance="none").pipeline(RandomForest(), 0)[-1].class_weight is None


def test_numbers_of_features_are_part_of_the_grid():
    """Inner folds try numbers of features; Boruta finds its own."""
    assert Preparation(selection="lasso", n_features=(20, 5)).grid(Logistic())["select__n_features"] == [5, 20]
    assert Preparation(selection="boruta", n_features=(20, 5)).grid(Logistic())["select__n_features"] == [20]
    assert "select__n_features" not in Preparation().grid(Logistic())


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_correlation": 0.0},
        {"max_correlation": 1.5},
        {"selection": "best"},
        {"n_features": ()},
        {"n_features": (0,)},
    ],
)
def test_wrong_words_are_told(wrong):
    """Values that make no sense are refused with the recipe's key."""
    with pytest.raises(DatasetError, match=f"benchmark.{next(iter(wrong))}"):
        Preparation(**wrong)


def noise(n=80, p=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    return rng.normal(size=(n, p)), labels, np.arange(n)


@pytest.mark.parametrize("selection", ["mrmr", pytest.param("lasso", marks=pytest.mark.slow)])
def test_selection_outside_the_folds_is_what_leaks(selection):
    """Chosen among 400 columns of noise inside the folds nothing is found; chosen on all rows beforehand, much is."""
    honest, cheated = [], []
    for seed in range(4):
        features, labels, groups = noise(seed=seed)
        folds = grouped_folds(labels, groups, 5, seed)
        choice = Preparation(selection=selection, n_features=(10,))
        found = evaluate_configuration(features, labels, groups, Logistic((0.1,)), folds, 3, 0, choice)
        honest.append(roc_auc_score(labels, found.p[0]))
        assert json.dumps(found.hyper_parameters[0])
        step = choice.pipeline(Logistic(), 0)["select"].set_params(n_features=10).fit(features, labels)
        few = step.transform(features)
        found = evaluate_configuration(few, labels, groups, Logistic((0.1,)), folds, 3, 0)
        cheated.append(roc_auc_score(labels, found.p[0]))
    assert abs(np.mean(honest) - 0.5) < 0.12
    assert np.mean(cheated) > 0.75


def shifted(seed=0):
    """Features with one location a scanner, and labels that go with nothing."""
    rng = np.random.default_rng(seed)
    batch = np.arange(90) % 3
    return rng.normal(size=(90, 6)) + 4.0 * batch[:, None], rng.permutation(np.arange(90) % 2), batch


def test_batches_are_brought_together_by_training_rows():
    """Means of scanners agree after the step, for rows that it did not see too, and the batch is no feature."""
    features, _, batch = shifted()
    table = np.column_stack([batch, features])
    step = Harmonise().fit(table[:60])
    found = step.transform(table)
    assert found.shape == features.shape
    for rows in (slice(0, 60), slice(60, 90)):
        means = [found[rows][batch[rows] == b].mean() for b in range(3)]
        assert np.ptp(means) < 0.5
    assert np.ptp([features[batch == b].mean() for b in range(3)]) > 7


def test_what_teaches_nothing_of_a_batch_leaves_it():
    """A batch with too few training rows, or none, keeps its values; one batch alone too."""
    features, _, batch = shifted()
    table = np.column_stack([batch, features])
    held = table[(batch != 2) | (np.arange(90) < 9)]
    found = Harmonise().fit(held).transform(table)
    assert np.array_equal(found[batch == 2], features[batch == 2])
    assert not np.allclose(found[batch == 1], features[batch == 1])
    alone = Harmonise().fit(table[batch == 0]).transform(table)
    assert np.array_equal(alone, features)


def test_combat_needs_the_batch_of_each_row():
    """Without batches there is nothing to harmonise, and it is said."""
    features, labels, groups = noise(p=3)
    folds = grouped_folds(labels, groups, 5, 0)
    for batch in (None, np.zeros(3)):
        with pytest.raises(DatasetError, match="batch of each of the 80 rows"):
            evaluate_configuration(
                features, labels, groups, Logistic(), folds, 3, 0, Preparation(harmonise=True), batch
            )


def test_a_batch_alone_is_nothing_to_learn_from():
    """Where features are constant the scanner is not taken for one: no fold is trained."""
    _, labels, batch = shifted()
    folds = grouped_folds(labels, np.arange(90), 3, 0)
    constant = np.ones((90, 2))
    choice = Preparation(harmonise=True)
    found = evaluate_configuration(constant, labels, np.arange(90), Logistic(), folds, 3, 0, choice, batch)
    assert not found.trained.any()
    varies = constant.copy()
    varies[folds[0].train[0]] = 2.0  # in one training row, so that most inner folds are constant
    found = evaluate_configuration(varies, labels, np.arange(90), Logistic(), folds[:1], 3, 0, choice, batch)
    assert found.trained.all()


def test_test_rows_do_not_move_what_is_learned():
    """Features of the test rows may be anything: predictions of the other test rows stay, bit for bit."""
    features, labels, batch = shifted()
    groups = np.arange(90)
    folds = grouped_folds(labels, groups, 3, 0)
    choice = Preparation(0.9, "mrmr", (3,), harmonise=True)
    first = evaluate_configuration(features, labels, groups, Logistic(), folds[:1], 3, 0, choice, batch)
    changed = features.copy()
    gone = folds[0].test[:10]
    changed[gone] = 1e3 * labels[gone, None]  # copies of the label, in the test fold only
    second = evaluate_configuration(changed, labels, groups, Logistic(), folds[:1], 3, 0, choice, batch)
    kept = folds[0].test[10:]
    assert np.array_equal(first.p[0, kept], second.p[0, kept])
