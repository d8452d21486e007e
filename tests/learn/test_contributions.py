"""What features add to a prediction: it adds up, row by row, and is what the definition of Shapley values gives."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lungpipe.learn.boosting import GradientBoosting
from lungpipe.learn.contributions import contributions
from lungpipe.learn.models import ElasticNet, Logistic, NearestNeighbours, RandomForest
from lungpipe.learn.support_vectors import SupportVectors


@pytest.fixture(scope="module")
def rows():
    """Two hundred rows of eight features; the label depends on the third, and less on the sixth."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8))
    y = (2.0 * x[:, 2] - 1.0 * x[:, 5] + rng.normal(size=200) > 0).astype(int)
    return x, y


def fitted(plugin, rows):
    return plugin.pipeline(0)[-1].fit(rows[0][:150], rows[1][:150])


@pytest.mark.parametrize("plugin", [Logistic(), ElasticNet()])
def test_those_of_a_linear_model_add_up_to_its_log_odds(plugin, rows):
    model = fitted(plugin, rows)
    found = contributions(model, rows[0][:150], rows[0][150:])
    expected = model.decision_function(rows[0][150:])
    assert found.values.sum(axis=1) + found.base == pytest.approx(expected, abs=1e-12)
    assert np.abs(found.values.sum(axis=1) - expected).max() > 1e-3  # the base has its part


@pytest.mark.parametrize("depth", [1, 3])
def test_those_of_boosted_trees_add_up_to_their_margin(depth, rows):
    model = GradientBoosting().pipeline(0)[-1].set_params(max_depth=depth).fit(rows[0][:150], rows[1][:150])
    found = contributions(model, rows[0][:150], rows[0][150:])
    p = model.predict_proba(rows[0][150:])[:, 1]
    assert found.values.shape == (50, 8)
    # XGBoost reckons in single precision.
    assert found.values.sum(axis=1) + found.base == pytest.approx(np.log(p / (1 - p)), abs=2e-5)
    assert np.ptp(found.base) == 0


@pytest.mark.parametrize("plugin", [Logistic(), ElasticNet(), GradientBoosting()])
def test_a_planted_feature_contributes_most(plugin, rows):
    found = contributions(fitted(plugin, rows), rows[0][:150], rows[0][150:])
    size = np.abs(found.values).mean(axis=0)
    assert np.argsort(-size)[:2].tolist() == [2, 5]


def test_a_linear_models_are_the_shapley_values_of_their_definition(rows):
    """Mean over all orders of entry of what a feature adds, the absent ones at their training mean; and the formula by hand."""
    x, y = rows[0][:, [1, 2, 5]] * [1.0, 3.0, 0.5] + [0.0, 10.0, -2.0], rows[1]
    model = LogisticRegression().fit(x[:150], y[:150])
    mean = x[:150].mean(axis=0)
    found = contributions(model, x[:150], x[150:])
    for row, values in zip(x[150:155], found.values, strict=False):
        expected = np.zeros(3)
        for order in permutations(range(3)):
            now = mean.copy()
            for k in order:
                before = model.decision_function([now])[0]
                now[k] = row[k]
                expected[k] += (model.decision_function([now])[0] - before) / 6
        assert values == pytest.approx(expected, abs=1e-9)
        assert values == pytest.approx(model.coef_[0] * (row - mean), abs=1e-12)


@pytest.mark.parametrize("plugin", [RandomForest(trees=4), NearestNeighbours(), SupportVectors()])
def test_other_classifiers_have_none(plugin, rows):
    assert contributions(fitted(plugin, rows), rows[0][:150], rows[0][150:]) is None
