"""The classifier ``mlp`` keeps the contract, and balances its classes."""

import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid

from lungpipe.learn.mlp import BalancedPerceptron, Perceptron
from lungpipe.learn.models import STEP, Classifier
from lungpipe.learn.preparation import Preparation


@pytest.fixture(scope="module")
def table():
    """Features with a NaN, an empty column and a constant one, and labels that the first column tells apart."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 6)), np.arange(30) % 2
    features[:, 0] += 6 * labels
    features[3, 1], features[:, 2], features[:, 3] = np.nan, np.nan, 7.0
    return features, labels


def test_plugin_is_a_frozen_named_value():
    """It is frozen, slotted, pickles, compares by value and carries a name and a version."""
    one = Perceptron()
    assert isinstance(one, Classifier)
    assert (one.name, one.version) == ("mlp", "1")
    assert pickle.loads(pickle.dumps(one)) == one == Perceptron()
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.hidden = 3


def test_every_grid_point_fits_and_predicts(table):
    """Each penalty fits a table with NaN, empty and constant columns, and gives probabilities that separate."""
    features, labels = table
    for point in ParameterGrid(Perceptron().grid()):
        model = clone(Perceptron().pipeline(1)).set_params(**point).fit(features, labels)
        p = model.predict_proba(features)
        assert p.shape == (30, 2)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert p[labels == 1, 1].mean() > p[labels == 0, 1].mean() + 0.1


def test_a_seed_gives_the_same_predictions(table):
    """Two pipelines with one seed predict the same numbers, one with another seed others."""
    features, labels = table
    one, two, other = (Perceptron().pipeline(s).fit(features, labels).predict_proba(features) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_pipeline_learns_scaling_from_training_rows_only(table):
    """The medians and means in a fitted pipeline are those of the rows that it was fitted to."""
    features, labels = table
    model = Perceptron().pipeline(0).fit(features[:20], labels[:20])
    np.testing.assert_allclose(model["impute"].statistics_[0], np.median(features[:20, 0]))
    np.testing.assert_allclose(model["scale"].mean_[0], features[:20, 0].mean())
    assert list(model.named_steps)[-1] == STEP


def test_it_learns_what_no_line_can():
    """Labels by the product of two features: a line is no better than chance, the perceptron is right."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    right = Perceptron().pipeline(0).set_params(classifier__alpha=0.3).fit(x, y).predict_proba(x)[:, 1] > 0.5
    assert (right == y).mean() > 0.9
    assert (LogisticRegression().fit(x, y).predict(x) == y).mean() < 0.7


def test_classes_weigh_the_same_unless_the_recipe_says_otherwise():
    """With one row in ten malignant and nothing to tell them by, the mean probability is one half; unweighted, one tenth."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 1)), (np.arange(300) % 10 == 0).astype(int)
    shares = [
        BalancedPerceptron(alpha=100.0, class_weight=weight).fit(x, y).predict_proba(x)[:, 1].mean()
        for weight in ("balanced", None)
    ]
    np.testing.assert_allclose(shares, [0.5, 0.1], atol=0.02)
    plain = Preparation(balance="none").pipeline(Perceptron(), 0)
    assert plain[STEP].class_weight is None
    assert Preparation().pipeline(Perceptron(), 0)[STEP].class_weight == "balanced"
