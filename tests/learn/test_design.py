"""Sides of an evaluation: a published split, and nothing on both."""

import numpy as np
import pandas as pd
import pytest

from lungpipe.errors import DatasetError
from lungpipe.learn.cohort import labelled_cohort
from lungpipe.learn.design import check_apart, split_fold
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.folds import Fold
from lungpipe.learn.models import Logistic


def nodules(n=30):
    """Nodules of as many patients, in three parts."""
    parts = ["train", "train", "train", "validation", "test"]
    return pd.DataFrame(
        {
            "patient_id": [f"p{k:02d}" for k in range(n)],
            "nodule_id": [f"n{k:02d}" for k in range(n)],
            "malignant": (np.arange(n) // 5) % 2,
            "split": [parts[k % 5] for k in range(n)],
            "voxels_sha256": [f"{k:064x}" for k in range(n)],
        }
    )


def cohort(table, design="split"):
    return labelled_cohort(table, dataset="d", design=design, outer_folds=3, inner_folds=2)


def test_a_published_split_is_one_fold():
    """Train and validation teach, the validation rows choose, test tests, and rows without a part take none."""
    table = nodules()
    table.loc[:4, "split"] = ""
    found = cohort(table)
    (fold,) = found.folds
    part = table.set_index("nodule_id")["split"].reindex(found.identity["nodule_id"]).to_numpy()
    assert set(part[fold.test]) == {"test"}
    assert set(part[fold.train]) == {"train", "validation"}
    assert set(part[fold.validation]) == {"validation"}
    assert len(fold.test) + len(fold.train) == 25


def test_hyper_parameters_are_chosen_on_the_validation_rows():
    """Where only the validation rows favour a strong penalty, it is taken; test rows are predicted, no others."""
    table = nodules(60)
    found = cohort(table)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2)) + found.labels[:, None]
    result = evaluate_configuration(features, found.labels, found.groups, Logistic((1e-6, 1.0)), found.folds, 2, 0)
    (fold,) = found.folds
    assert np.isfinite(result.p[0, fold.test]).all()
    assert np.isnan(np.delete(result.p[0], fold.test)).all()
    fit, check = np.setdiff1d(fold.train, fold.validation), fold.validation
    right = []
    for strength in (1e-6, 1.0):
        p = Logistic().pipeline(0).set_params(classifier__C=strength).fit(features[fit], found.labels[fit])
        p = p.predict_proba(features[check])[:, 1]
        pairs = p[found.labels[check] == 1][:, None] - p[found.labels[check] == 0]
        right.append(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert result.inner_auc[0] == pytest.approx(max(right))
    assert result.hyper_parameters[0]["classifier__C"] == (1e-6, 1.0)[int(np.argmax(right))]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.assign(split=""), "no benign or malignant nodule is in the part 'train'"),
        (lambda t: t.drop(columns="split"), "Fill the annotations' column split"),
        (lambda t: t.assign(split=t["split"].replace("test", "train")), "in the part 'test'"),
        (
            lambda t: t[(t["split"] != "validation") | (t["malignant"] == 1)],
            "no benign nodule is in the part 'validation'",
        ),
        (
            lambda t: t.assign(patient_id=t["patient_id"].replace("p04", "p00")),
            "1 patient on both sides of a fold, the first of p00",
        ),
        (
            lambda t: t.assign(voxels_sha256=t["voxels_sha256"].replace(f"{4:064x}", f"{0:064x}")),
            r"1 image \(the same HU, whatever its name\) on both sides of a fold, the first of p00, p04",
        ),
    ],
)
def test_sides_that_cannot_be_are_refused(change, told):
    """A part without a class, and patients or images on both sides, end before any work."""
    with pytest.raises(DatasetError, match=told):
        cohort(change(nodules()))


def test_one_image_under_two_patients_is_caught_in_cross_validation():
    """A scan that stands in the archive twice, under two patients, would test what taught; grouping cannot see it."""
    table = nodules()
    assert len(cohort(table, "cross-validation").folds) == 3
    twin = table.iloc[[0, 5, 10, 15]].assign(patient_id=["q1", "q2", "q3", "q4"], nodule_id=["m1", "m2", "m3", "m4"])
    with pytest.raises(DatasetError, match="the same HU"):
        cohort(pd.concat([table, twin], ignore_index=True), "cross-validation")


def test_rows_without_fingerprint_are_not_compared():
    """Tables of older workspaces, and rows of contours without CT, have no fingerprint."""
    fold = Fold(0, 0, np.array([0, 1]), np.array([2]))
    check_apart([fold], pd.Series(["a", "b", "c"]), pd.Series(["", "x", ""]))
    with pytest.raises(DatasetError):
        check_apart([fold], pd.Series(["a", "b", "c"]), pd.Series(["x", "y", "x"]))


def test_a_split_without_validation_is_tuned_by_inner_folds():
    """Then the fold has no validation rows."""
    labels = np.array([0, 1, 0, 1])
    assert split_fold(pd.Series(["train", "train", "test", "test"]), labels).validation is None
