"""Cohorts that nobody plans for: each gives a result that makes sense, or a refusal that says what to do."""

import time

import numpy as np
import pandas as pd
import pytest

from lungpipe import plugins
from lungpipe.errors import DatasetError
from lungpipe.learn.boosting import GradientBoosting
from lungpipe.learn.cohort import labelled_cohort
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.models import ElasticNet, Logistic, NearestNeighbours, RandomForest
from lungpipe.learn.preparation import Preparation
from lungpipe.learn.support_vectors import SupportVectors

#: Every built-in, with a small grid; the slow tests take them as they come.
CLASSIFIERS = {
    one.name: one
    for one in (
        Logistic((1.0,)), ElasticNet((0.5,), (0.5,)), SupportVectors((1.0,)), RandomForest(8, (1,)),
        GradientBoosting(10, (1,)), NearestNeighbours((3,)),
    )
}  # fmt: skip
PREPARATIONS = {
    "correlation": Preparation(max_correlation=0.9),
    "mrmr": Preparation(selection="mrmr", n_features=(3,)),
    "lasso": Preparation(selection="lasso", n_features=(3,)),
    "boruta": Preparation(selection="boruta", n_features=(3,)),
    "combat": Preparation(harmonise=True),
    "all": Preparation(0.9, "mrmr", (3,), harmonise=True),
}


@pytest.fixture
def few_forests(monkeypatch):
    """Boruta with two small forests."""
    monkeypatch.setattr("lungpipe.learn.reduce._ROUNDS", 2)
    monkeypatch.setattr("lungpipe.learn.reduce._TREES", 4)


def plain(n=30, columns=5):
    """Two features that tell and noise, balanced labels, a patient each."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    return rng.normal(size=(n, columns)) + labels[:, None] * (np.arange(columns) < 2), labels, np.arange(n)


def malignant_in_two_patients():
    x, _, _ = plain()
    return x, np.r_[np.zeros(20, int), np.ones(10, int)], np.r_[np.arange(20), [20] * 5, [21] * 5]


def half_in_one_patient():
    x, y, _ = plain()
    return x, y, np.r_[[0] * 15, np.arange(1, 16)]


def changed(change, **size):
    """A plain cohort whose features are changed."""

    def make():
        x, y, g = plain(**size)
        return change(x, y), y, g

    return make


def at(x, rows, columns, values):
    x[rows, columns] = values
    return x


def missing(x, y):
    return np.where(np.random.default_rng(1).random(x.shape) < 0.4, np.nan, x)


def duplicated():
    x, y, g = plain(10)
    return np.repeat(x, 3, axis=0), np.repeat(y, 3), np.repeat(g, 3)


#: Cohorts of which every row is predicted; folds are two where the malignant patients are.
COHORTS = {
    "malignant in two patients": malignant_in_two_patients,
    "ten patients": lambda: plain(10),
    "half in one patient": half_in_one_patient,
    "copies of rows": duplicated,
    "constant feature": changed(lambda x, y: at(x, slice(None), 2, 7.0)),
    "40 % missing": changed(missing),
    "two columns without a value": changed(lambda x, y: at(x, slice(None), slice(0, 2), np.nan)),
    "infinite values": changed(lambda x, y: at(at(x, slice(0, None, 5), 1, np.inf), 1, 2, -np.inf)),
    "1e300": changed(lambda x, y: at(at(x, 3, 1, 1e300), 5, 1, -1e300)),
    "1e90": changed(lambda x, y: at(at(x, 3, 1, 1e90), 5, 1, -1e90)),
    "1e-300 in one column": changed(lambda x, y: at(x, slice(None), 0, 1e-300 * x[:, 0])),
    "small beside its offset": changed(lambda x, y: at(x, slice(None), 1, 1e9 + 1e-6 * x[:, 1])),
    "one feature": changed(lambda x, y: x[:, :1]),
    "one feature many times": changed(lambda x, y: np.repeat(x[:, :1], 5, axis=1)),
    "parted by one feature": changed(lambda x, y: at(x, slice(None), 0, 100.0 * y)),
}


def result_of(cohort, classifier, preparation=None, every_fold=False):
    """Evaluate in one outer fold, or all; the batches are three, by turns."""
    x, y, groups = COHORTS[cohort]()
    folds = grouped_folds(y, groups, 2, 0)
    preparation = preparation or Preparation()
    batch = np.arange(len(y)) % 3 if preparation.harmonise else None
    folds = folds if every_fold else folds[:1]
    result = evaluate_configuration(x, y, groups, classifier, folds, 2, 0, preparation, batch)
    return result, folds, ~np.isnan(x).all(axis=1)


def check(result, folds, with_values):
    """Every test row with a value has a probability, and the models were trained."""
    for fold in folds:
        p = result.p[fold.repeat, fold.test]
        assert np.array_equal((p >= 0) & (p <= 1), with_values[fold.test])
    assert result.trained.all()


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_classifier_predicts(classifier, cohort):
    """No warning, no gap, and no probability outside [0, 1]."""
    check(*result_of(cohort, CLASSIFIERS[classifier]))


@pytest.mark.usefixtures("few_forests")
@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_every_preparation_leaves_something(preparation, cohort):
    """Filters, selections and ComBat stand them too."""
    check(*result_of(cohort, Logistic((1.0,)), PREPARATIONS[preparation]))


@pytest.mark.slow
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_classifier_as_it_comes(classifier):
    """With their own grids, in every fold of every cohort."""
    for cohort in COHORTS:
        check(*result_of(cohort, plugins.find("classifiers", classifier)(), every_fold=True))


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_separable_classes_have_an_auc_of_1(classifier):
    """Twenty of a class, four standard deviations and more apart: AUC 1 with a finite lower limit, whatever the model."""
    y = np.arange(40) % 2
    x = np.random.default_rng(0).uniform(-1, 1, (40, 3)) + 8.0 * y[:, None]
    folds = grouped_folds(y, np.arange(40), 2, 0)
    result = evaluate_configuration(x, y, np.arange(40), CLASSIFIERS[classifier], folds, 2, 0)
    found = auc_interval(y, result.p, np.arange(40), n_models=2)
    assert (found.auc, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert np.isfinite(result.p).all()


@pytest.mark.parametrize("classifier", [Logistic((0.0001, 1.0, 1e4)), ElasticNet()], ids=["logistic", "elastic_net"])
def test_penalties_converge_where_classes_part(classifier):
    """Without a penalty coefficients would grow for ever; with every penalty on offer the solver ends before its last step."""
    x, y, _ = plain(60, 40)
    x[:, 0] += 10 * y
    for key, values in classifier.grid().items():
        for value in values:
            model = classifier.pipeline(0).set_params(**{key: value}).fit(x, y)["classifier"]
            assert model.n_iter_.max() < model.max_iter
            assert np.isfinite(model.coef_).all()


def test_features_that_are_all_too_large_are_no_features():
    """Where nothing is left, the configuration lacks the rows; that is not an opinion of 0.5."""
    x, y, groups = plain()
    folds = grouped_folds(y, groups, 2, 0)
    assert np.isnan(evaluate_configuration(x * 1e300, y, groups, Logistic(), folds, 2, 0).p).all()
    tiny = evaluate_configuration(x * 1e-300, y, groups, Logistic(), folds, 2, 0)
    assert not tiny.trained.any()
    assert set(tiny.p.ravel()) == {0.5}


@pytest.mark.parametrize("preparation", ["correlation", "mrmr", "lasso", "combat"])
def test_five_thousand_features_of_sixty_patients(preparation):
    """One outer fold takes seconds of CPU, not minutes."""
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=(60, 5000)) + y[:, None] * (np.arange(5000) < 5)
    fold = grouped_folds(y, np.arange(60), 5, 0)[0]
    start = time.process_time()
    preparation = PREPARATIONS[preparation]
    batch = np.arange(60) % 3 if preparation.harmonise else None
    result = evaluate_configuration(x, y, np.arange(60), Logistic((0.01,)), [fold], 2, 0, preparation, batch)
    assert time.process_time() - start < 20
    check(result, [fold], np.full(60, True))


@pytest.mark.slow
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_five_thousand_features_for_every_classifier(classifier):
    """As they come, one outer fold within a minute of CPU."""
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=(60, 5000)) + y[:, None] * (np.arange(5000) < 5)
    fold = grouped_folds(y, np.arange(60), 5, 0)[0]
    start = time.process_time()
    result = evaluate_configuration(x, y, np.arange(60), plugins.find("classifiers", classifier)(), [fold], 3, 0)
    check(result, [fold], np.full(60, True))
    assert time.process_time() - start < 60


def nodules(labels, patients):
    return pd.DataFrame(
        {"patient_id": patients, "nodule_id": [f"n{k:02d}" for k in range(len(labels))], "malignant": labels}
    )


REFUSED = {
    "two nodules": ([0, 1], ["a", "b"], "1 patients have a benign nodule, fewer than the 5 folds.*add benign cases"),
    "two nodules of one patient": ([0, 1], ["a", "a"], "Lower benchmark.outer_folds to at most 1"),
    "malignant in two patients": (
        [0] * 9 + [1] * 6,
        [*"abcdefghi", *"jjjkkk"],
        "2 patients have a malignant.*at most 2",
    ),
    "malignant in one patient": ([0] * 9 + [1] * 6, [*"abcdefghi", *"zzzzzz"], "1 patients have a malignant"),
    "no label": ([None] * 8, list("abcdefgh"), "No nodule has a label.*Fill the label column"),
    "one class": ([1] * 8, list("abcdefgh"), "All 8 nodules are malignant.*Add cases of the other class"),
    "a label of another kind": (
        [0, 1, 2] * 4,
        [f"p{k}" for k in range(12)],
        "must be 0 .benign. or 1 .malignant.; found 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_allows_no_benchmark_is_refused_with_what_to_do(case):
    """The message names what was found, what was needed and what to change."""
    labels, patients, told = REFUSED[case]
    with pytest.raises(DatasetError, match=told):
        labelled_cohort(nodules(labels, patients), dataset="d")


def test_ten_patients_are_enough_for_five_folds():
    """Five of each class: one of either in every fold, and four to tune on."""
    cohort = labelled_cohort(nodules([0, 1] * 5, [f"p{k}" for k in range(10)]), dataset="d")
    assert all(cohort.labels[fold.test].sum() == 1 for fold in cohort.folds)
    assert cohort.n_models == 5
