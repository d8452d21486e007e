"""A fold explained: the model is the one that was evaluated, planted signals come first, and noise is not made out to matter."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from lungpipe.errors import DatasetError
from lungpipe.learn.asked import Asked
from lungpipe.learn.boosting import GradientBoosting
from lungpipe.learn.cohort import Cohort, ConfigurationKey
from lungpipe.learn.evaluate import ConfigurationResult, evaluate_configuration, refit
from lungpipe.learn.evaluation import Inputs
from lungpipe.learn.explain import clusters_of, explain_fold, explained_key, fold_model, lose_features
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.importance import mean_drop, permutations
from lungpipe.learn.models import ElasticNet, Logistic, NearestNeighbours, RandomForest
from lungpipe.learn.preparation import AS_IS, Preparation
from lungpipe.learn.support_vectors import SupportVectors

SEED = 5
LOGISTIC = Logistic(strengths=(0.01,))
#: Columns of the planted table: a signal and two that go with it, a signal of its own, and noise.
TOGETHER, ALONE, NOISE = [0, 1, 2], 3, range(4, 12)


@dataclass(frozen=True)
class Rotated:
    """A plug-in whose columns are no features."""

    name: ClassVar[str] = "rotated"
    version: ClassVar[str] = "1"

    def pipeline(self, seed):
        steps = [("impute", SimpleImputer()), ("rotate", PCA(4)), ("classifier", LogisticRegression())]
        return Pipeline(steps)

    def grid(self):
        return {"classifier__C": [1.0]}


def inputs_for(classifier, preparation=AS_IS, n=120, gaps=False):
    """Two nodules a patient; features planted as above, the last one constant."""
    rng = np.random.default_rng(11)
    groups = np.char.zfill((np.arange(n) // 2).astype(str), 9)
    labels = (np.arange(n) // 2) % 2
    signal = rng.normal(size=n) + 1.2 * labels
    matrix = rng.normal(size=(n, 13))
    matrix[:, TOGETHER] = signal[:, None] + 0.15 * matrix[:, TOGETHER]
    matrix[:, ALONE] += 0.9 * labels
    matrix[:, 12] = 4.0
    if gaps:
        matrix[rng.random(matrix.shape) < 0.1] = np.nan
        matrix[7] = np.nan  # a nodule that the configuration lacks
    folds = tuple(grouped_folds(labels, groups, 4, SEED, 2))
    identity = pd.DataFrame({"patient_id": groups, "nodule_id": [f"n{k}" for k in range(n)]})
    cohort = Cohort("d", identity, labels, groups, folds)
    batch = rng.integers(0, 2, n) if preparation.harmonise else None
    columns = tuple(f"f{k}" for k in range(13))
    return Inputs(cohort, Asked(matrix, columns, labels, classifier, preparation, batch))


def evaluated(inputs):
    cohort = inputs.cohort
    return evaluate_configuration(
        inputs.what.matrix, cohort.labels, cohort.groups, inputs.what.classifier, cohort.folds, 2, SEED, inputs.what.preparation, inputs.what.batch
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted():
    """Logistic regression on the planted table, every fold explained."""
    inputs = inputs_for(LOGISTIC)
    result = evaluated(inputs)
    return inputs, result, [explain_fold(inputs, result, k, SEED) for k in range(len(inputs.cohort.folds))]


@pytest.mark.parametrize(
    ("classifier", "preparation"),
    [
        (LOGISTIC, Preparation(max_correlation=0.9, selection="mrmr", n_features=(2, 4))),
        (ElasticNet((0.5,), (0.5,)), AS_IS),
        pytest.param(
            RandomForest(trees=8, leaf_sizes=(2,)),
            Preparation(selection="lasso", n_features=(3,)),
            marks=pytest.mark.slow,
        ),
        (NearestNeighbours((5,)), AS_IS),
        pytest.param(SupportVectors((1.0,)), AS_IS, marks=pytest.mark.slow),
        (GradientBoosting(trees=10, depths=(2,)), Preparation(balance="none")),
        (LOGISTIC, Preparation(harmonise=True)),
        (Rotated(), AS_IS),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_a_model_fitted_again_is_the_one_that_was_evaluated(classifier, preparation):
    """Same predictions to the last bit, and shuffling its columns is shuffling those of the table, for every kind of pipeline."""
    inputs = inputs_for(classifier, preparation, gaps=not preparation.harmonise)
    result = evaluated(inputs)
    fold = inputs.cohort.folds[1]
    again = refit(
        inputs.what.matrix, inputs.cohort.labels, inputs.cohort.groups, classifier, fold, SEED, result.hyper_parameters[1],
        preparation, inputs.what.batch,
    )  # fmt: skip
    p = again.pipeline.predict_proba(again.table[again.test])[:, 1]
    assert np.array_equal(p, result.p[fold.repeat, again.test])
    if preparation.harmonise:
        return  # what is shuffled then are harmonised values: the next test
    lost = lose_features(inputs, result, 1, SEED, [0, ALONE, 12])
    labels = inputs.cohort.labels[again.test]
    orders = permutations(len(labels), (SEED, fold.repeat, fold.number))
    for k, column in enumerate((0, ALONE, 12)):
        drops = []
        for order in orders:
            changed = again.table[again.test]
            changed[:, column] = changed[order, column]
            drops.append(
                roc_auc_score(labels, p) - roc_auc_score(labels, again.pipeline.predict_proba(changed)[:, 1].round(12))
            )
        pairs = labels.sum() * (1 - labels).sum()
        assert lost[k] / pairs == pytest.approx(np.mean(drops), abs=2e-9)


def test_a_model_keeps_the_feature_of_each_column():
    """After filters, selection and the batch taken away, each column of the model is its feature, scaled."""
    for preparation in (Preparation(selection="mrmr", n_features=(4,)), Preparation(harmonise=True)):
        inputs = inputs_for(LOGISTIC, preparation)
        model = fold_model(inputs, evaluated(inputs), 0, SEED)
        assert model.by_column
        assert len(model.columns) == model.test.shape[1] < 13
        for position, column in enumerate(model.columns):
            rows = inputs.what.matrix[model.test_rows, column]
            assert np.corrcoef(model.test[:, position], rows)[0, 1] > (0.9 if preparation.harmonise else 1 - 1e-9)
        assert 12 not in model.columns


def test_predictions_that_are_not_the_models_are_refused(planted):
    """Recorded predictions that the model does not give, or other hyper-parameters, cannot be explained."""
    inputs, result, _ = planted
    wrong = replace(result, p=np.where(np.isnan(result.p), result.p, np.clip(result.p + 0.01, 0, 1)))
    with pytest.raises(DatasetError, match="Fitted again, fold 0"):
        explain_fold(inputs, wrong, 0, SEED)
    other = replace(result, hyper_parameters=tuple({"classifier__C": 17.0} for _ in result.hyper_parameters))
    with pytest.raises(DatasetError, match="Evaluate anew"):
        explain_fold(inputs, other, 0, SEED)


def drops_of(folds, lost):
    ratio = float(np.mean([one.test_to_train for one in folds]))
    return [mean_drop(one, [fold.pairs for fold in folds], ratio) for one in np.transpose(lost)]


def test_planted_features_come_first_and_noise_covers_zero(planted):
    """The cluster with the stronger signal leads, its interval above 0; no cluster of noise stands out."""
    inputs, _, folds = planted
    clusters = clusters_of(inputs)
    assert clusters.of[TOGETHER].tolist() == [1, 1, 1]
    drops = drops_of(folds, [one.lost for one in folds])
    order = np.argsort([-drop.mean for drop in drops])
    assert (order[:2] + 1).tolist() == [1, clusters.of[ALONE]]
    assert drops[0].low > 0
    noise = [drops[clusters.of[k] - 1] for k in NOISE]
    assert all(drop.low <= 0 <= drop.high for drop in noise)
    size = np.sum([one.by_feature for one in folds], axis=0)
    assert set(np.argsort(-size)[:4]) == {*TOGETHER, ALONE}
    assert size[12] == 0


def test_features_that_go_together_share_importance(planted):
    """Shuffled alone, each of three copies costs less than half of what all of them do; the constant costs nothing."""
    inputs, result, folds = planted
    lost = [lose_features(inputs, result, k, SEED, [*TOGETHER, 12]) for k in range(len(folds))]
    single, whole = drops_of(folds, lost), drops_of(folds, [one.lost for one in folds])[0]
    assert max(drop.mean for drop in single[:3]) < 0.5 * whole.mean
    assert single[3].mean == 0


def test_neighbours_are_other_patients_training_nodules(planted):
    """No test nodule and no nodule of the same patient is a neighbour; every test row has a percentile."""
    inputs, _, folds = planted
    for fold, found in zip(inputs.cohort.folds, folds, strict=True):
        assert set(found.neighbours.ravel()) <= set(fold.train)
        assert (np.diff(found.distances, axis=1) >= 0).all()
        assert ((found.percentile >= 0) & (found.percentile <= 100)).all()
        assert np.array_equal(found.rows, fold.test)


def test_a_rotated_table_has_importance_but_no_contributions():
    """Where columns are no features, those of the table are shuffled; contributions would be of nothing that has a name."""
    inputs = inputs_for(Rotated())
    found = explain_fold(inputs, evaluated(inputs), 0, SEED)
    assert found.by_feature is None
    assert np.argmax(found.lost) == 0


def test_an_untrained_fold_and_one_without_test_rows_are_passed_over(planted):
    inputs, result, _ = planted
    assert explain_fold(inputs, replace(result, trained=np.zeros(8, dtype=bool)), 0, SEED) is None
    lacking = inputs.what.matrix.copy()
    lacking[inputs.cohort.folds[0].test] = np.nan
    inputs = inputs._replace(what=replace(inputs.what, matrix=lacking))
    assert explain_fold(inputs, evaluated(inputs), 0, SEED) is None
    assert lose_features(inputs, evaluated(inputs), 0, SEED, [0]) is None


def test_the_configuration_that_most_folds_chose_is_explained():
    """Most often chosen first, then the higher mean inner AUC, then the first; without any choice none."""
    _, labels, groups = None, np.arange(20) % 2, np.arange(20)
    folds = grouped_folds(labels, groups, 4, 0)
    keys = [ConfigurationKey("otsu", "shell", radius_mm, "knn") for radius_mm in (2.0, 4.0, 6.0)]

    def results(*inner):
        p = np.full((1, 20), 0.5)
        return {
            key: ConfigurationResult(p, np.array(row, dtype=float), ({},) * 4, np.ones(4, dtype=bool))
            for key, row in zip(keys, inner, strict=True)
        }

    assert explained_key(results([0.9, 0.9, 0.9, 0.1], [0.8] * 4, [0.7] * 4), folds) == keys[0]
    assert explained_key(results([0.9, 0.9, 0.1, 0.1], [0.8] * 4, [0.7] * 4), folds) == keys[1]
    assert explained_key(results([0.9, 0.9, 0.8, 0.8], [0.8, 0.8, 0.9, 0.9], [0.7] * 4), folds) == keys[0]
    nothing = [np.nan] * 4
    assert explained_key(results(nothing, nothing, nothing), folds) is None
