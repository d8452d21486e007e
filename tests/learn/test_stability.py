"""Stability tables hold the correlations of each feature, and the selector learns from training patients alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from lungpipe.errors import DatasetError
from lungpipe.learn.icc import icc
from lungpipe.learn.stability import GOOD, StableFeatures, stability_table

COPIES = ("none", "noise 1", "rotation 3", "volume +0.1")
NAMES = ["original_shape_Firm", "original_glcm_Loose", "original_ngtdm_Flat"]


def source(n=20, seed=0, spread=(1.0, 0.1, 0.0), noise=(0.05, 1.0, 0.0)):
    """Two nodules a patient; the first feature is the nodule's, the second the copy's, the third is constant."""
    rng = np.random.default_rng(seed)
    of_nodule = rng.normal(size=(n, 1, 3)) * spread
    values = of_nodule + rng.normal(size=(n, len(COPIES), 3)) * noise + 4.0
    rows = [
        {"dataset": "d", "patient_id": f"P{k // 2:02}", "series_uid": f"S{k // 2:02}", "nodule_id": f"N{k:02}"}
        | {"radius_mm": 0.0, "n_voxels": 100 + j, "dice": 1.0, "perturbation": copy}
        | dict(zip(NAMES, values[k, j], strict=True))
        for k in range(n)
        for j, copy in enumerate(COPIES)
    ]
    return pd.DataFrame(rows), values


def test_each_feature_has_its_correlation():
    """Values are those of icc() over nodules and copies; flat features have no correlation, and a reason."""
    table, values = source()
    found = stability_table(table.sample(frac=1, random_state=3))
    assert found["feature"].tolist() == [name for name in NAMES for _ in range(2)]
    assert found["kind"].tolist() == ["ICC(2,1)", "ICC(3,1)"] * 3
    for kind, rows in found.groupby("kind"):
        expected = icc(values.transpose(2, 0, 1), kind)
        np.testing.assert_allclose(rows[["icc", "low", "high"]].T, [expected.value, expected.low, expected.high])
    assert (found["n_nodules"] == 20).all()
    assert (found["n_perturbations"] == 4).all()
    assert found["stable"].tolist() == [True, True, False, False, False, False]
    assert found["reason"].tolist() == ["", "", "", "", "no_variance", "no_variance"]


def test_stable_is_the_lower_limit_and_not_the_correlation():
    """Of few nodules a correlation above the threshold is not enough: its interval decides."""
    table, _ = source(n=6, noise=(0.4, 1.0, 0.0), seed=2)
    first = stability_table(table, ("ICC(2,1)",)).iloc[0]
    assert first["low"] < GOOD < first["icc"]
    assert not first["stable"]
    assert stability_table(table, ("ICC(2,1)",), threshold=first["low"]).iloc[0]["stable"]


def test_nodules_without_a_copy_are_left_out_feature_by_feature():
    """A missing row or value drops its nodule, and only where it is missing."""
    table, _ = source()
    table = table.drop(index=5)
    table.loc[12, NAMES[1]] = np.nan
    found = stability_table(table, ("ICC(3,1)",))
    assert found["n_nodules"].tolist() == [19, 18, 19]
    assert found["n_dropped"].tolist() == [1, 2, 1]


def test_a_source_that_is_none_is_refused():
    """Missing columns, repeated rows and tables without features are told apart."""
    table, _ = source()
    with pytest.raises(DatasetError, match="lacks perturbation"):
        stability_table(table.drop(columns="perturbation"))
    with pytest.raises(DatasetError, match="4 rows of the stability source repeat"):
        stability_table(pd.concat([table, table.head(4)]))
    with pytest.raises(DatasetError, match="no numeric feature"):
        stability_table(table.drop(columns=NAMES))
    with pytest.raises(DatasetError, match="lacks other"):
        stability_table(table, features=["other"])


def training(patients, per_patient=2):
    groups = np.repeat(patients, per_patient)
    return np.random.default_rng(1).normal(size=(len(groups), 3)), groups


def test_the_selector_keeps_the_stable_columns():
    """Columns come in the order of X, by name or by the names given."""
    table, _ = source()
    x, groups = training(sorted(table["patient_id"].unique()))
    model = StableFeatures(table, NAMES).fit(x, groups=groups)
    np.testing.assert_array_equal(model.transform(x), x[:, :1])
    assert list(model.get_feature_names_out(NAMES)) == NAMES[:1]
    frame = pd.DataFrame(x, columns=NAMES)[NAMES[::-1]]
    model = clone(StableFeatures(table)).fit(frame, groups=groups)
    assert model.get_support().tolist() == [False, False, True]
    assert list(model.get_feature_names_out()) == NAMES[:1]


def test_patients_outside_the_training_rows_are_refused_or_dropped():
    """Flags come from training patients alone: with others dropped they are those of a source without them."""
    table, _ = source()
    patients = sorted(table["patient_id"].unique())
    x, groups = training(patients[:6])
    with pytest.raises(DatasetError, match="32 rows of 4 patients who are not among the training rows"):
        StableFeatures(table, NAMES).fit(x, groups=groups)
    model = StableFeatures(table, NAMES, outside="drop").fit(x, groups=groups)
    assert model.n_outside_ == 32
    only = table[table["patient_id"].isin(patients[:6])]
    pd.testing.assert_frame_equal(model.table_, stability_table(only, ("ICC(2,1)",), features=NAMES))


def test_what_happens_to_test_patients_changes_no_flag():
    """A feature that is stable in the test patients only stays out, and one unstable there only stays in."""
    table, _ = source()
    patients = sorted(table["patient_id"].unique())
    x, groups = training(patients[:6])
    poisoned = table.copy()
    there = ~poisoned["patient_id"].isin(patients[:6])
    rng = np.random.default_rng(5)
    poisoned.loc[there, NAMES[0]] = 1e6 * rng.normal(size=there.sum())
    poisoned.loc[there, NAMES[1]] = poisoned.loc[there, "nodule_id"].str[1:].astype(float) * 1e6
    kept = [
        StableFeatures(one, NAMES, outside="drop").fit(x, groups=groups).get_support().tolist()
        for one in (table, poisoned)
    ]
    assert kept == [[True, False, False]] * 2
    leaked = stability_table(poisoned, ("ICC(2,1)",))["stable"].tolist()
    assert leaked == [False, True, False]


def test_it_works_in_a_pipeline_that_passes_groups_on():
    """scikit-learn hands the patients of the training rows to the selector, and the labels do not count."""
    table, _ = source()
    x, groups = training(sorted(table["patient_id"].unique()))
    y = np.arange(len(groups)) % 2
    with config_context(enable_metadata_routing=True):
        steps = [("stable", StableFeatures(table, NAMES).set_fit_request(groups=True)), ("model", LogisticRegression())]
        model = Pipeline(steps).fit(x, y, groups=groups)
        assert model["model"].n_features_in_ == 1
        assert model.predict(x).shape == y.shape


def test_wrong_use_is_refused():
    """Without groups, names, training patients or stable features there is no selection."""
    table, _ = source()
    x, groups = training(sorted(table["patient_id"].unique()))
    for model, rows, who, match in (
        (StableFeatures(table, NAMES), x, None, "needs groups="),
        (StableFeatures(table), x, groups, "names of the columns"),
        (StableFeatures(table, NAMES[:2]), x, groups, "knows 2 columns, found 3"),
        (StableFeatures(table, NAMES), pd.DataFrame(x, columns=NAMES[::-1]), groups, "not those"),
        (StableFeatures(table, NAMES, outside="drop"), x, np.full(len(x), "X"), "none of the training patients"),
        (StableFeatures(table, NAMES, outside="keep"), x, groups, "refuse, drop"),
        (StableFeatures(table, NAMES, group="site"), x, groups, "no column 'site'"),
        (StableFeatures(table, NAMES, threshold=0.9999), x, groups, "no feature is stable"),
    ):
        with pytest.raises(DatasetError, match=match):
            model.fit(rows, groups=who)
