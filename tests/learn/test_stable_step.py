"""Stable features and drawn rows as steps of a benchmark: learned from training rows alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from table_workspace import FEATURES, write_tables

from lungpipe.errors import DatasetError
from lungpipe.learn.asked import asked
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.folds import grouped_folds
from lungpipe.learn.models import STEP, Logistic, NearestNeighbours
from lungpipe.learn.oversample import Oversampled, drawn
from lungpipe.learn.preparation import Preparation
from lungpipe.learn.stable_step import KeepStable, copies_of, read_copies
from lungpipe.store.tables import read_table

DESIGN = Evaluation("generic", "malignant", "patient_id", ("logistic",), 3, 2, 1, 7)
KEY = ConfigurationKey("otsu", "nodule", 0.0, "logistic")


def copies_table(patients, *, noise, seed=0, features=FEATURES):
    """Four copies of a nodule each; each feature of a copy is the nodule's own, and noise (standard deviation by feature)."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(len(patients), 1, len(features)))
    values = own + rng.normal(size=(len(patients), 4, len(features))) * np.asarray(noise)
    rows = pd.DataFrame(values.reshape(-1, len(features)), columns=list(features))
    rows.insert(0, "patient_id", np.repeat(patients, 4))
    rows.insert(1, "nodule_id", np.repeat([f"n{k}" for k in range(len(patients))], 4))
    rows.insert(2, "perturbation", np.tile(list("abcd"), len(patients)))
    return rows


def test_only_copies_of_training_patients_count():
    """A feature that is stable in the training patients and not in the others is kept, and the other way round is not."""
    half = [f"p{k:02d}" for k in range(20)]
    rest = [f"q{k:02d}" for k in range(20)]
    table = pd.concat(
        [copies_table(half, noise=[0.05, 2.0, 0.05]), copies_table(rest, noise=[2.0, 0.05, 0.05], seed=1)],
        ignore_index=True,
    )
    copies = copies_of(table, FEATURES, [*half, *rest], 0.75)
    step = KeepStable(copies, FEATURES)
    x = np.column_stack([np.arange(40), np.full((40, 3), 7.0)])
    assert step.fit(x[:20]).kept_.tolist() == [True, False, True]
    assert step.fit(x[20:]).kept_.tolist() == [False, True, True]
    assert step.transform(x).shape == (40, 2)
    # Changed copies of the patients who are tested change nothing.
    other = pd.concat([table[:80], copies_table(rest, noise=[9.0, 9.0, 9.0], seed=5)], ignore_index=True)
    again = KeepStable(copies_of(other, FEATURES, [*half, *rest], 0.75), FEATURES)
    assert again.fit(x[:20]).kept_.tolist() == [True, False, True]
    batch = KeepStable(copies, FEATURES, before=1).fit(np.column_stack([x[:20, :1], x[:20, :1], x[:20, 1:]]))
    assert batch.kept_.tolist() == [True, True, False, True]
    assert clone(step).copies is copies  # it is not copied for each of a thousand fits


def test_an_unstable_feature_is_not_used(tmp_path):
    """The feature that tells is left out where its copies disagree: nothing is found; where they agree, it is."""
    place = write_tables(tmp_path)
    patients = read_table(place, "tables/nodules.parquet")["patient_id"].astype(str).tolist()
    found = {}
    for name, noise in (("good", [0.05] * 3), ("bad", [3.0, 0.05, 0.05])):
        copies_table(patients, noise=noise).to_parquet(tmp_path / f"{name}.parquet")
        design = replace(DESIGN, stability=str(tmp_path / f"{name}.parquet"))
        found[name] = evaluate_recorded(place, KEY, design)
    cohort = DESIGN.cohort(read_table(place, "tables/nodules.parquet"))
    plain = evaluate_recorded(place, KEY, DESIGN).result
    np.testing.assert_array_equal(found["good"].result.p, plain.p)
    what = asked([(place, cohort)], KEY, DESIGN)
    without = evaluate_configuration(what.matrix[:, 1:], cohort.labels, cohort.groups, Logistic(), cohort.folds, 2, 7)
    np.testing.assert_array_equal(found["bad"].result.p, without.p)
    assert len({one.ref for one in found.values()}) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.drop(columns=FEATURES[1]), "the copies lack 1 of 3 features, the first original_glcm_Contrast"),
        (lambda t: t.assign(patient_id="P-AAAAAAAAAAA2"), "none of the copies is of a patient of this cohort"),
        (
            lambda t: t[[*FEATURES]],
            "lacks patient_id, nodule_id, perturbation; it must be what lungpipe stability wrote",
        ),
    ],
)
def test_copies_of_something_else_are_refused(tmp_path, change, told):
    """Other features, other people, and the table of flags."""
    change(copies_table(["a", "b"], noise=[1.0] * 3)).to_csv(tmp_path / "copies.csv", index=False)
    with pytest.raises(DatasetError, match=told):
        copies_of(read_copies(tmp_path / "copies.csv"), FEATURES, ["a", "b"], 0.75)


def test_no_copies_and_no_stable_feature_are_told(tmp_path):
    """A file that is not there, and copies of which no feature is stable."""
    with pytest.raises(DatasetError, match=r"none\.parquet cannot be read"):
        read_copies(tmp_path / "none.parquet")
    people = [f"p{k}" for k in range(10)]
    copies = copies_of(copies_table(people, noise=[5.0] * 3), FEATURES, people, 0.75)
    with pytest.raises(DatasetError, match="no feature is stable"):
        KeepStable(copies, FEATURES).fit(np.column_stack([np.arange(10), np.zeros((10, 3))]))


def test_rows_of_the_rarer_class_are_drawn_again():
    """All rows stay, further ones are of the rarer class, as many as lack; the same seed draws the same."""
    labels = np.array([0] * 17 + [1] * 5)
    rows = drawn(labels, 3)
    assert rows[:22].tolist() == list(range(22))
    assert np.bincount(labels[rows]).tolist() == [17, 17]
    assert set(rows[22:]) <= set(range(17, 22))
    assert np.array_equal(rows, drawn(labels, 3))
    assert not np.array_equal(rows, drawn(labels, 4))
    assert drawn(np.array([0, 1, 0, 1]), 0).tolist() == [0, 1, 2, 3]


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers what it was fitted to."""

    seen: list = []  # noqa: RUF012  shared by clones

    def __init__(self, strength=1.0):
        self.strength = strength

    def fit(self, X, y):  # noqa: N803
        self.classes_ = np.unique(y)
        Recorder.seen.append((np.array(X), np.array(y)))
        return self

    def predict_proba(self, X):  # noqa: N803
        return np.full((len(X), 2), 0.5)


def test_drawn_rows_are_training_rows():
    """No row that is tested is among those that are fitted, drawn or not, and classes are as many in every fit."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 45 + [1] * 15)
    x = np.column_stack([np.arange(60.0), rng.normal(size=60)])
    Recorder.seen.clear()
    for fold in grouped_folds(labels, np.arange(60), 5, 0):
        model = Oversampled(Recorder(), 1).fit(x[fold.train], labels[fold.train])
        seen, y = Recorder.seen[-1]
        assert not set(seen[:, 0]) & set(x[fold.test, 0])
        assert np.bincount(y).tolist() == [36, 36]
        assert model.predict_proba(x[fold.test]).shape == (12, 2)


def test_neighbours_are_balanced_too():
    """Without it k nearest neighbours call nearly all benign where these are many; with it the classes are met alike."""
    labels = np.array([0] * 120 + [1] * 24)
    folds = grouped_folds(labels, np.arange(144), 4, 0)
    called = {"weights": [], "oversample": []}
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(144, 3)) + 0.8 * labels[:, None]
        for balance, shares in called.items():
            found = evaluate_configuration(
                x, labels, np.arange(144), NearestNeighbours((15,)), folds, 2, 0, Preparation(balance=balance)
            )
            shares.append((found.p[0, labels == 1] >= 0.5).mean())
    assert np.mean(called["weights"]) < 0.3
    assert np.mean(called["oversample"]) > 0.6


def test_hyper_parameters_reach_the_classifier_inside():
    """The grid is that of the classifier, under the name that it has inside; weights are off."""
    preparation = Preparation(balance="oversample")
    assert preparation.grid(Logistic((0.1, 1.0))) == {f"{STEP}__model__C": [0.1, 1.0]}
    pipeline = preparation.pipeline(Logistic(), 5).set_params(**{f"{STEP}__model__C": 0.5})
    assert (pipeline[-1].model.C, pipeline[-1].model.class_weight, pipeline[-1].seed) == (0.5, None, 5)
