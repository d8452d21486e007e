"""From a feature table to the tables of predictions and scores."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from lungpipe.errors import DatasetError
from lungpipe.learn.cohort import ConfigurationKey, RegionKey, feature_columns, feature_matrices, labelled_cohort
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.models import Logistic
from lungpipe.learn.select import choose_inside
from lungpipe.learn.tables import predictions_table, score_table


def nodule_rows():
    """Forty nodules of 30 patients under two segmenters; two nodules without a label."""
    ids = pd.DataFrame({"nodule_id": [f"n{i:02d}" for i in range(40)]})
    ids["dataset"], ids["patient_id"] = "phantom", [f"p{i % 30:02d}" for i in range(40)]
    ids["series_uid"] = "s" + ids["patient_id"]
    ids["malignant"] = pd.array([i % 2 for i in range(38)] + [None, None], dtype="Int64")
    return pd.concat([ids.assign(segmenter=name) for name in ("otsu", "gmm")], ignore_index=True)


def feature_rows(nodules):
    """Two features, one that tells, at two radii; one nodule missing for one segmenter."""
    rng = np.random.default_rng(0)
    parts = []
    for region, radius_mm in (("nodule", 0.0), ("shell", 8.0)):
        part = nodules.drop(columns="malignant").assign(region=region, radius_mm=radius_mm, n_voxels=9, mask_id="x")
        part["original_firstorder_Mean"] = rng.normal(size=len(part)) + 1.5 * nodules["malignant"].fillna(0).astype(
            float
        )
        part["original_glcm_Contrast"] = rng.normal(size=len(part))
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    return table[~((table["nodule_id"] == "n05") & (table["segmenter"] == "gmm"))]


@pytest.fixture(scope="module")
def benchmark():
    """Cohort, results, choice and both tables."""
    nodules = nodule_rows()
    cohort = labelled_cohort(nodules, dataset="phantom", outer_folds=4, inner_folds=2)
    matrices = feature_matrices(feature_rows(nodules), cohort)
    results = {
        ConfigurationKey(*key, "logistic"): evaluate_configuration(
            matrix, cohort.labels, cohort.groups, Logistic(strengths=(0.1,)), cohort.folds, 2, 1
        )
        for key, matrix in matrices.items()
    }
    inside = choose_inside(results, cohort.folds)
    return cohort, results, predictions_table(cohort, results, inside), score_table(cohort, results, inside)


def test_cohort_is_one_row_a_labelled_nodule_whatever_the_order():
    """Segmenters collapse, unlabelled nodules are set aside, and shuffled rows give the same cohort and folds."""
    nodules = nodule_rows()
    one = labelled_cohort(nodules, dataset="phantom", outer_folds=4, inner_folds=2)
    two = labelled_cohort(nodules.sample(frac=1, random_state=1), dataset="phantom", outer_folds=4, inner_folds=2)
    assert len(one.labels) == 38
    pd.testing.assert_frame_equal(one.identity, two.identity)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(one.folds, two.folds, strict=True))


def test_matrices_hold_each_nodule_in_its_row():
    """A matrix has the cohort's rows, NaN where a region lacks the nodule, and only the features as columns."""
    nodules = nodule_rows()
    cohort = labelled_cohort(nodules, dataset="phantom", outer_folds=4, inner_folds=2)
    features = feature_rows(nodules).sample(frac=1, random_state=2)
    matrices = feature_matrices(features, cohort)
    assert list(matrices) == [RegionKey(s, r, d) for s in ("gmm", "otsu") for r, d in (("nodule", 0.0), ("shell", 8.0))]
    assert feature_columns(features) == ["original_firstorder_Mean", "original_glcm_Contrast"]
    matrix = matrices[RegionKey("gmm", "shell", 8.0)]
    row = int(np.flatnonzero(cohort.identity["nodule_id"] == "n05")[0])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(matrix).all(axis=1)), [row])
    picked = features.query("segmenter == 'gmm' and region == 'shell' and nodule_id == 'n17'")
    row = int(np.flatnonzero(cohort.identity["nodule_id"] == "n17")[0])
    np.testing.assert_array_equal(matrix[row], picked[feature_columns(features)].to_numpy()[0])


def test_predictions_have_a_row_a_nodule_and_configuration(benchmark):
    """Each configuration has the nodules it could measure, in the fold that tested them, and the choice has all."""
    cohort, results, predictions, _ = benchmark
    counts = predictions.groupby("segmenter").size()
    assert counts.to_dict() == {"chosen": 38, "gmm": 74, "otsu": 76}
    keys = [
        "dataset",
        "patient_id",
        "nodule_id",
        "segmenter",
        "region",
        "radius_mm",
        "classifier",
        "repeat",
        "fold",
        "y",
        "p",
    ]
    assert set(keys) <= set(predictions.columns)
    row = predictions.iloc[50]
    key = ConfigurationKey(row["segmenter"], row["region"], row["radius_mm"], row["classifier"])
    position = int(np.flatnonzero(cohort.identity["nodule_id"] == row["nodule_id"])[0])
    assert row["p"] == results[key].p[0, position]
    assert position in next(fold.test for fold in cohort.folds if fold.number == row["fold"])
    assert predictions.groupby("patient_id")["fold"].nunique().max() == 1


def test_scores_agree_with_scikit_learn(benchmark):
    """AUC, Brier score and balanced accuracy are those that scikit-learn computes from the table of predictions."""
    *_, predictions, scores = benchmark
    for (segmenter, radius_mm), rows in predictions.groupby(["segmenter", "radius_mm"]):
        score = scores[(scores["segmenter"] == segmenter) & (scores["radius_mm"] == radius_mm)].iloc[0]
        assert score["auc"] == pytest.approx(roc_auc_score(rows["y"], rows["p"]))
        assert score["brier"] == pytest.approx(brier_score_loss(rows["y"], rows["p"]))
        assert score["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(rows["y"], rows["p"] >= 0.5))
        assert (score["n"], score["n_malignant"]) == (len(rows), rows["y"].sum())
        assert score["auc_low_all"] <= score["auc_low"] < score["auc"] < score["auc_high"] <= score["auc_high_all"]


def test_inside_row_names_what_each_fold_chose(benchmark):
    """The last row is the choice inside the folds: keys "chosen", no radius, and a configuration a fold."""
    cohort, results, _, scores = benchmark
    row = scores.iloc[-1]
    assert row[["segmenter", "region", "classifier", "selection"]].tolist() == ["chosen", "chosen", "chosen", "inside"]
    assert np.isnan(row["radius_mm"])
    chosen = [ConfigurationKey(**one) for one in json.loads(row["chosen"])]
    assert len(chosen) == 4
    assert set(chosen) <= set(results)
    assert (scores["selection"] == "inside").sum() == 1
    assert row["n"] == len(cohort.labels)


def test_configuration_of_one_class_has_no_figures(benchmark):
    """Where a configuration has nodules of one class only, its figures are NaN and the others stand."""
    cohort, results, _, scores = benchmark
    key = next(iter(results))
    p = results[key].p.copy()
    p[:, cohort.labels == 1] = np.nan
    poor = {
        **results,
        key: type(results[key])(p, results[key].inner_auc, results[key].hyper_parameters, results[key].trained),
    }
    table = score_table(cohort, poor)
    assert np.isnan(table.loc[0, ["auc", "auc_low", "auc_high_all", "brier"]].astype(float)).all()
    assert table.loc[1, "auc"] == scores.loc[1, "auc"]


def test_missing_column_second_label_and_repeated_row_are_refused():
    """A table without the label column, a nodule with two labels and a repeated feature row stop the run."""
    nodules = nodule_rows()
    with pytest.raises(DatasetError, match="no column malign"):
        labelled_cohort(nodules, dataset="phantom", label="malign")
    torn = nodules.copy()
    torn.loc[0, "malignant"] = 1
    with pytest.raises(DatasetError, match="1 nodules have more than one malignant"):
        labelled_cohort(torn, dataset="phantom")
    cohort = labelled_cohort(nodules, dataset="phantom", outer_folds=4, inner_folds=2)
    features = feature_rows(nodules)
    with pytest.raises(DatasetError, match="more than one row"):
        feature_matrices(pd.concat([features, features.head(1)]), cohort)
    with pytest.raises(DatasetError, match="no numeric feature"):
        feature_matrices(features[["patient_id", "nodule_id", "segmenter", "region", "radius_mm"]], cohort)
