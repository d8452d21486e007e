"""Choosing inside the training folds is honest; choosing on the test rows is not."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline

from lungpipe.errors import DatasetError
from lungpipe.learn.evaluate import ConfigurationResult, evaluate_configuration
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.select import choose_inside


class MeanDifference(ClassifierMixin, BaseEstimator):
    """Projects on the difference between the class means: quick, and as blind to noise as any."""

    def __init__(self, dummy=0):
        self.dummy = dummy

    def fit(self, X, y):  # noqa: N803  # scikit-learn's name
        self.classes_ = np.array([0, 1])
        self.mean_, self.direction_ = X.mean(axis=0), X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
        return self

    def predict_proba(self, X):  # noqa: N803  # scikit-learn's name
        p = 1 / (1 + np.exp(-(X - self.mean_) @ self.direction_))
        return np.column_stack([1 - p, p])


@dataclass(frozen=True)
class Quick:
    """A plug-in round it."""

    name: ClassVar[str] = "quick"
    version: ClassVar[str] = "1"

    def pipeline(self, seed):
        return Pipeline([("nothing", "passthrough"), ("classifier", MeanDifference())])

    def grid(self):
        return {"classifier__dummy": [0]}


def result(p, inner_auc):
    """Return a result with these predictions and inner AUCs."""
    inner = np.array(inner_auc, dtype=float)
    return ConfigurationResult(np.atleast_2d(p), inner, ({},) * len(inner), np.isfinite(inner))


def test_each_fold_takes_the_configuration_with_the_best_inner_auc():
    """Predictions come fold by fold from the best inner AUC, the first of equals, whatever the test rows say."""
    labels = np.arange(20) % 2
    folds = grouped_folds(labels, np.arange(20), 2, 0)
    results = {"a": result(np.full(20, 0.1), [0.8, 0.5]), "b": result(np.full(20, 0.2), [0.6, 0.5])}
    results["c"] = result(np.full(20, 0.3), [np.nan, 0.9])
    chosen = choose_inside(results, folds)
    assert chosen.keys == ("a", "c")
    np.testing.assert_array_equal(chosen.p[0, folds[0].test], 0.1)
    np.testing.assert_array_equal(chosen.p[0, folds[1].test], 0.3)
    np.testing.assert_array_equal(chosen.inner_auc, [0.8, 0.9])
    tie = choose_inside({"a": results["a"], "b": results["b"]}, folds)
    assert tie.keys == ("a", "a")


def test_row_that_the_choice_lacks_goes_to_the_next_best():
    """A nodule that the chosen configuration could not segment is predicted by the next best that could."""
    folds = grouped_folds(np.arange(20) % 2, np.arange(20), 2, 0)
    row = folds[0].test[0]
    best, second, third = np.full(20, 0.1), np.full(20, 0.2), np.full(20, 0.3)
    best[row] = np.nan
    results = {
        "third": result(third, [0.5, 0.5]),
        "best": result(best, [0.9, 0.9]),
        "second": result(second, [0.7] * 2),
    }
    chosen = choose_inside(results, folds)
    assert chosen.p[0, row] == 0.2
    assert np.delete(chosen.p[0], row) == pytest.approx(0.1)


def test_fold_without_any_inner_auc_names_no_choice():
    """Where no configuration could be tuned, the key is None and the inner AUC is NaN."""
    folds = grouped_folds(np.arange(20) % 2, np.arange(20), 2, 0)
    chosen = choose_inside({"a": result(np.full(20, 0.5), [np.nan, 0.6])}, folds)
    assert chosen.keys == (None, "a")
    np.testing.assert_array_equal(chosen.inner_auc, [np.nan, 0.6])


def test_best_on_test_is_optimistic_and_chosen_inside_is_not():
    """Among 25 configurations of noise the best on test beats 0.5 by far; the one chosen inside is 0.5 on average."""
    rng = np.random.default_rng(0)
    labels, groups = np.arange(50) % 2, np.arange(50)
    optimistic, honest = [], []
    for seed in range(5):
        folds = grouped_folds(labels, groups, 5, seed)
        results = {
            number: evaluate_configuration(rng.normal(size=(50, 4)), labels, groups, Quick(), folds, 3, seed)
            for number in range(25)
        }
        optimistic.append(max(auc_interval(labels, one.p, groups).auc for one in results.values()))
        honest.append(auc_interval(labels, choose_inside(results, folds).p, groups).auc)
    assert np.mean(optimistic) > 0.6
    assert abs(np.mean(honest) - 0.5) < 0.1
    assert np.mean(optimistic) - np.mean(honest) > 0.08


def test_unfit_results_are_refused():
    """No results, or results made with other folds, are refused."""
    folds = grouped_folds(np.arange(20) % 2, np.arange(20), 2, 0)
    with pytest.raises(DatasetError, match="No configuration"):
        choose_inside({}, folds)
    with pytest.raises(DatasetError, match="these 2 folds"):
        choose_inside({"a": result(np.full(20, 0.1), [0.8, 0.5, 0.5])}, folds)
