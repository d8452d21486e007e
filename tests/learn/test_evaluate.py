"""Nested cross-validation: no leak, no signal out of noise, and full marks for a strong signal."""

import pickle
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline

from lungpipe.errors import DatasetError
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.models import Logistic, NearestNeighbours, RandomForest

ALL = [Logistic(), RandomForest(trees=15), NearestNeighbours()]
IDS = [one.name for one in ALL]


def cohort(n=60, per_patient=1, seed=0, columns=8):
    """Return noise features, balanced labels, patients and five folds."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // per_patient
    labels = groups % 2
    return rng.normal(size=(n, columns)), labels, groups, grouped_folds(labels, groups, 5, seed)


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers the rows (by the id in column 0) that each fit and prediction saw."""

    log: ClassVar[list] = []

    def __init__(self, dummy=0):
        self.dummy = dummy

    def fit(self, X, y):  # noqa: N803  # scikit-learn's name
        self.classes_ = np.array([0, 1])
        Recorder.log.append(("fit", frozenset(X[:, 0].astype(int))))
        return self

    def predict_proba(self, X):  # noqa: N803  # scikit-learn's name
        Recorder.log.append(("predict", frozenset(X[:, 0].astype(int))))
        return np.full((len(X), 2), 0.5)


@dataclass(frozen=True)
class Recording:
    """A plug-in round the recorder."""

    name: ClassVar[str] = "recording"
    version: ClassVar[str] = "1"

    def pipeline(self, seed):
        return Pipeline([("nothing", "passthrough"), ("classifier", Recorder())])

    def grid(self):
        return {"classifier__dummy": [0, 1]}


def test_no_fit_sees_a_patient_that_it_is_tested_on():
    """In every outer and inner fold the patients fitted to and predicted for are disjoint, and no test row is tuned on."""
    features, labels, groups, folds = cohort(per_patient=3)
    features[:, 0] = np.arange(60)
    Recorder.log.clear()
    evaluate_configuration(features, labels, groups, Recording(), folds, 3, 1)
    pairs = list(zip(Recorder.log[::2], Recorder.log[1::2], strict=True))
    assert len(pairs) == 5 * (3 * 2 + 1)
    for number, fold in enumerate(folds):
        tested = set(groups[fold.test])
        *inner, (outer_fit, outer_predict) = pairs[number * 7 : number * 7 + 7]
        assert outer_fit[1] == frozenset(fold.train)
        assert outer_predict[1] == frozenset(fold.test)
        for fit, predict in inner:
            assert not set(groups[list(fit[1])]) & set(groups[list(predict[1])])
            assert not set(groups[list(fit[1] | predict[1])]) & tested


@pytest.mark.parametrize("classifier", ALL, ids=IDS)
def test_labels_of_test_rows_have_no_effect(classifier):
    """A column that is the label in the test rows, and says nothing in the training rows, changes no prediction."""
    features, labels, groups, folds = cohort()
    fold, column = folds[2], np.zeros(60)
    column[fold.test] = labels[fold.test]
    clean = evaluate_configuration(features, labels, groups, classifier, [fold], 3, 1)
    leaky = evaluate_configuration(np.column_stack([features, column]), labels, groups, classifier, [fold], 3, 1)
    np.testing.assert_array_equal(leaky.p, clean.p)
    assert leaky.hyper_parameters == clean.hyper_parameters
    assert leaky.inner_auc[0] == clean.inner_auc[0]


@pytest.mark.parametrize("classifier", ALL, ids=IDS)
def test_flipping_test_labels_leaves_their_predictions(classifier):
    """Predictions for a fold do not change when its rows' own labels do."""
    features, labels, groups, folds = cohort()
    flipped, fold = labels.copy(), folds[0]
    flipped[fold.test] = 1 - flipped[fold.test]
    one = evaluate_configuration(features, labels, groups, classifier, [fold], 3, 1)
    two = evaluate_configuration(features, flipped, groups, classifier, [fold], 3, 1)
    np.testing.assert_array_equal(one.p, two.p)


@pytest.mark.parametrize("classifier", [Logistic((0.01,)), NearestNeighbours((9,))], ids=["logistic", "knn"])
def test_noise_scores_a_half(classifier):
    """Over six cohorts of noise the mean AUC is within 0.09 of 0.5 (standard error about 0.03)."""
    found = []
    for seed in range(6):
        features, labels, groups, folds = cohort(seed=seed)
        result = evaluate_configuration(features, labels, groups, classifier, folds, 3, seed)
        found.append(auc_interval(labels, result.p, groups).auc)
    assert abs(np.mean(found) - 0.5) < 0.09


@pytest.mark.parametrize("classifier", ALL, ids=IDS)
def test_strong_signal_is_found(classifier):
    """Among four features two that are four standard deviations apart (AUC 0.998 each) score above 0.95."""
    features, labels, groups, folds = cohort(columns=4)
    features[:, :2] += 4 * labels[:, np.newaxis]
    result = evaluate_configuration(features, labels, groups, classifier, folds, 3, 1)
    assert auc_interval(labels, result.p, groups).auc > 0.95
    assert (result.inner_auc > 0.9).all()
    assert result.trained.all()


@pytest.mark.parametrize("classifier", ALL, ids=IDS)
def test_evaluation_is_deterministic_and_pickles(classifier):
    """A second run, its input and output pickled, gives the same bits."""
    arguments = (*cohort()[:3], classifier, cohort()[3], 3, 9)
    one = evaluate_configuration(*arguments)
    two = pickle.loads(pickle.dumps(evaluate_configuration(*pickle.loads(pickle.dumps(arguments)))))
    np.testing.assert_array_equal(one.p, two.p)
    np.testing.assert_array_equal(one.inner_auc, two.inner_auc)
    assert one.hyper_parameters == two.hyper_parameters


def test_missing_rows_take_no_part():
    """A row without any value gets no prediction and does not move the others; infinity counts as missing."""
    features, labels, groups, folds = cohort()
    features[[4, 9]], features[7, 2] = np.nan, np.inf
    one = evaluate_configuration(features, labels, groups, Logistic(), folds, 3, 1)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(one.p[0])), [4, 9])
    kept = np.delete(np.arange(60), [4, 9])
    without = [fold for fold in folds if not set(fold.test) & {4, 9}]
    assert without
    assert np.isfinite(one.p[0, kept]).all()


def test_empty_and_constant_columns_change_nothing():
    """Columns without a value, or with a single one, are as if they were not there."""
    features, labels, groups, folds = cohort()
    more = np.column_stack([features, np.full(60, np.nan), np.full(60, 3.0)])
    for classifier in (Logistic(), NearestNeighbours()):
        one = evaluate_configuration(features, labels, groups, classifier, folds, 3, 1)
        two = evaluate_configuration(more, labels, groups, classifier, folds, 3, 1)
        np.testing.assert_allclose(one.p, two.p, atol=1e-9)


def test_nothing_to_learn_from_is_no_opinion():
    """Where training rows are of one class, or no column varies, p is 0.5 and there is no inner AUC."""
    features, labels, groups, folds = cohort()
    one_class = features.copy()
    one_class[labels == 1] = np.nan
    for table in (np.ones((60, 3)), one_class):
        result = evaluate_configuration(table, labels, groups, Logistic(), folds, 3, 1)
        assert not result.trained.any()
        assert np.isnan(result.inner_auc).all()
        assert set(result.p[np.isfinite(result.p)]) == {0.5}


def test_repeats_give_a_row_of_predictions_each():
    """With two repeats every row is predicted twice."""
    features, labels, groups, _ = cohort()
    folds = grouped_folds(labels, groups, 5, 1, repeats=2)
    result = evaluate_configuration(features, labels, groups, Logistic(), folds, 3, 1)
    assert result.p.shape == (2, 60)
    assert np.isfinite(result.p).all()
    assert len(result.inner_auc) == len(result.hyper_parameters) == 10


def test_few_inner_patients_lower_the_number_of_inner_folds():
    """With two malignant training patients, three inner folds become two; with one, the first grid point is taken."""
    rng = np.random.default_rng(0)
    labels, groups = np.array([0] * 20 + [1] * 4), np.arange(24)
    folds = grouped_folds(labels, groups, 2, 0)
    result = evaluate_configuration(rng.normal(size=(24, 3)), labels, groups, Logistic(), folds, 3, 1)
    assert np.isfinite(result.inner_auc).all()
    labels[20:22] = 0
    folds = grouped_folds(labels, groups, 2, 0)
    result = evaluate_configuration(rng.normal(size=(24, 3)), labels, groups, Logistic(), folds, 3, 1)
    assert np.isnan(result.inner_auc).all()
    assert result.hyper_parameters == ({"classifier__C": 0.0001},) * 2


def test_wrong_shapes_are_refused():
    """Features of another length, or no folds, are refused."""
    features, labels, groups, folds = cohort()
    with pytest.raises(DatasetError, match="a row for each"):
        evaluate_configuration(features[:-1], labels, groups, Logistic(), folds, 3, 1)
    with pytest.raises(DatasetError, match="No folds"):
        evaluate_configuration(features, labels, groups, Logistic(), [], 3, 1)
