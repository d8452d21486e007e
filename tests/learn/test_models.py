"""Every classifier plug-in keeps the contract."""

import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from lungpipe.learn.boosting import GradientBoosting
from lungpipe.learn.models import STEP, Classifier, ElasticNet, Logistic, NearestNeighbours, RandomForest
from lungpipe.learn.support_vectors import SupportVectors

ALL = [Logistic, RandomForest, NearestNeighbours, ElasticNet, SupportVectors, GradientBoosting]


@pytest.fixture(scope="module")
def table():
    """Features with a NaN, an empty column and a constant one, and labels that the first column tells apart."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 6)), np.arange(30) % 2
    features[:, 0] += 6 * labels
    features[3, 1], features[:, 2], features[:, 3] = np.nan, np.nan, 7.0
    return features, labels


@pytest.mark.parametrize("plugin", ALL)
def test_plugin_is_a_frozen_named_value(plugin):
    """A plug-in is frozen, slotted, pickles, compares by value and carries a name and a version."""
    one = plugin()
    assert isinstance(one, Classifier)
    assert one.name
    assert one.version
    assert pickle.loads(pickle.dumps(one)) == one == plugin()
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(one)[0].name, None)


@pytest.mark.parametrize("plugin", ALL)
def test_every_grid_point_fits_and_predicts(plugin, table):
    """Each point of the grid fits a table with NaN, empty and constant columns, and gives probabilities that separate."""
    features, labels = table
    for point in ParameterGrid(plugin().grid()):
        model = clone(plugin().pipeline(1)).set_params(**point).fit(features, labels)
        p = model.predict_proba(features)
        assert p.shape == (30, 2)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert p[labels == 1, 1].mean() > p[labels == 0, 1].mean() + 1e-4


@pytest.mark.parametrize("plugin", ALL)
def test_a_seed_gives_the_same_predictions(plugin, table):
    """Two pipelines with one seed predict the same numbers."""
    features, labels = table
    one, two = (plugin().pipeline(5).fit(features, labels).predict_proba(features) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("plugin", ALL)
def test_pipeline_learns_scaling_from_training_rows_only(plugin, table):
    """The medians and means in a fitted pipeline are those of the rows that it was fitted to."""
    features, labels = table
    model = plugin().pipeline(0).fit(features[:20], labels[:20])
    np.testing.assert_allclose(model["impute"].statistics_[0], np.median(features[:20, 0]))
    np.testing.assert_allclose(model["scale"].mean_[0], features[:20, 0].mean())
    assert list(model.named_steps)[-1] == STEP


def test_more_neighbours_than_rows_means_all_rows(table):
    """With 15 neighbours asked of 6 training rows, every prediction is the share of malignant rows."""
    features, labels = table
    model = NearestNeighbours().pipeline(0).set_params(classifier__n_neighbors=15).fit(features[:6], labels[:6])
    np.testing.assert_allclose(model.predict_proba(features)[:, 1], 0.5)
