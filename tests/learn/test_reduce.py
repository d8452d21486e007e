"""Steps that leave features out, on tables in which it is known which tell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import DatasetError
from lungpipe.learn.reduce import CorrelationFilter, Select


def planted(n=160, noise=30, seed=0):
    """Two features that tell, an echo of the first, and noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.normal(size=(n, 3 + noise))
    features[:, 0] += 1.6 * labels
    features[:, 1] += 1.2 * labels
    features[:, 2] = features[:, 0] + 0.05 * rng.normal(size=n)
    return (features - features.mean(axis=0)) / features.std(axis=0), labels


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 12), most=st.sampled_from([0.3, 0.7, 0.95]), seed=st.integers(0, 2**31))
def test_no_two_kept_features_go_together(n, most, seed):
    """What is kept has no correlation above the limit, and each that is left out has one with an earlier one kept."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(40, 3))
    features = base[:, rng.integers(0, 3, n)] + rng.choice([0.01, 0.5, 3]) * rng.normal(size=(40, n))
    kept = CorrelationFilter(most).fit(features).get_support()
    together = np.abs(np.corrcoef(features.T))
    inside = together[np.ix_(kept, kept)] - np.eye(kept.sum())
    assert inside.max() <= most + 1e-12
    assert kept[0]
    for k in np.flatnonzero(~kept):
        assert (together[k, :k][kept[:k]] > most - 1e-12).any()


def test_a_constant_feature_goes_with_none():
    """A column without variance has no correlation, and no warning comes of it."""
    features, _ = planted()
    features[:, 5] = 3.0
    assert CorrelationFilter(0.9).fit(features).get_support()[5]


@pytest.mark.parametrize("method", ["mrmr", "lasso", "boruta"])
def test_what_tells_is_chosen(method):
    """The features that tell are among the first; the other rows of the table have no part in it."""
    features, labels = planted()
    step = Select(method, 3, seed=1).fit(features, labels)
    assert {0, 1} & set(step.order_[:2].tolist())
    assert 1 in step.order_
    assert step.transform(features).shape[1] <= 3
    again = Select(method, 3, seed=1).fit(features, labels)
    assert np.array_equal(step.order_, again.order_)


def test_an_echo_is_not_chosen_before_something_new():
    """mRMR takes the second feature that tells before a copy of the first."""
    features, labels = planted()
    assert set(Select("mrmr", 2).fit(features, labels).order_.tolist()) in ({0, 1}, {1, 2})


@pytest.mark.parametrize("method", ["mrmr", "lasso", "boruta"])
def test_noise_leaves_something(method):
    """Without anything that tells, a feature is kept all the same, so that a classifier can be fitted."""
    rng = np.random.default_rng(3)
    assert Select(method, 5).fit(rng.normal(size=(40, 12)), np.arange(40) % 2).get_support().any()


@pytest.mark.parametrize(("method", "n"), [("best", 3), ("mrmr", 0)])
def test_wrong_words_are_told(method, n):
    """An unknown method, and a choice of nothing, are refused."""
    with pytest.raises(DatasetError, match="expected one of mrmr, lasso, boruta"):
        Select(method, n).fit(*planted())
