"""Stability tables hold the correlations of each feature, and the selector learns from training patients alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from lungpipe.errors import DatasetError
from lungpipe.learn.stability import GOOD, StableFeatures, feature_names, stability_table

N, COPIES = 24, 5


@pytest.fixture
def source():
    """A feature that is the nodule's, one that is the copy's, one that is neither, and one that is constant."""
    rng = np.random.default_rng(3)
    own, drawn = rng.normal(size=N), rng.normal(size=(N, COPIES))
    rows = [
        {
            "dataset": "d", "patient_id": f"P{k // 2}", "series_uid": f"S{k // 2}", "nodule_id": f"N{k}",
            "perturbation": f"copy {c}", "dice": 0.9, "n_voxels": 100,
            "steady": own[k] + 0.05 * drawn[k, c], "shaky": own[k] + 1.5 * drawn[k, c],
            "noise": drawn[k, c], "constant": 1.0,
        }
        for k in range(N)
        for c in range(COPIES)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_correlations_and_flags_by_feature(source):
    """Each feature has the consistency of an analysis of variance (tests/learn/test_icc.py has the rest), and its flag."""
    found = stability_table(source).set_index(["feature", "kind"])
    assert feature_names(source) == ["steady", "shaky", "noise", "constant"]
    for feature in ("steady", "shaky", "noise"):
        values = source.pivot_table(index="nodule_id", columns="perturbation", values=feature).to_numpy()
        rows, columns, whole = values.mean(axis=1), values.mean(axis=0), values.mean()
        between = COPIES * ((rows - whole) ** 2).sum() / (N - 1)
        rest = ((values - rows[:, None] - columns + whole) ** 2).sum() / ((N - 1) * (COPIES - 1))
        expected = (between - rest) / (between + (COPIES - 1) * rest)
        assert found.loc[(feature, "ICC(3,1)"), "icc"] == pytest.approx(expected, abs=1e-12)
    flags = stability_table(source, ("ICC(2,1)",)).set_index("feature")["stable"]
    assert flags.to_dict() == {"steady": True, "shaky": False, "noise": False, "constant": False}
    assert found.loc[("constant", "ICC(2,1)"), "reason"]


def test_nodules_without_a_copy_are_left_out_and_counted(source):
    """A nodule that lacks a value of one copy does not count, and the table says how many such there are."""
    some = source[~((source["nodule_id"] == "N3") & (source["perturbation"] == "copy 2"))]
    row = stability_table(some, ("ICC(2,1)",)).iloc[0]
    assert (row["n_nodules"], row["n_dropped"], row["n_perturbations"]) == (N - 1, 1, COPIES)


def test_stable_is_the_lower_limit_and_not_the_correlation(source):
    """Of few nodules a correlation above the threshold is not enough: its interval decides."""
    few = source[source["nodule_id"].isin([f"N{k}" for k in range(6)])].copy()
    few["steady"] += np.random.default_rng(2).normal(0, 0.55, len(few))
    row = stability_table(few, ("ICC(2,1)",), features=["steady"]).iloc[0]
    assert row["low"] < GOOD < row["icc"]
    assert not row["stable"]
    assert stability_table(few, ("ICC(2,1)",), threshold=row["low"], features=["steady"]).iloc[0]["stable"]


def test_order_of_rows_does_not_matter(source):
    """A shuffled source gives the same table."""
    pd.testing.assert_frame_equal(stability_table(source.sample(frac=1, random_state=3)), stability_table(source))


def test_a_source_that_is_none_is_refused(source):
    """Missing columns, repeated rows and tables without features are told apart."""
    with pytest.raises(DatasetError, match="lacks perturbation"):
        stability_table(source.drop(columns="perturbation"))
    with pytest.raises(DatasetError, match="4 rows of the stability source repeat"):
        stability_table(pd.concat([source, source.head(4)]))
    with pytest.raises(DatasetError, match="no numeric feature"):
        stability_table(source.drop(columns=["steady", "shaky", "noise", "constant"]))
    with pytest.raises(DatasetError, match="lacks other"):
        stability_table(source, features=["other"])


def test_selector_learns_of_training_patients_only(source):
    """Flags come from the copies of training patients; others in the source are refused, or dropped where that is asked for."""
    training = [f"P{k}" for k in range(8)]
    x = source[source["perturbation"] == "copy 0"].set_index("patient_id").loc[training]
    names = ["steady", "shaky", "noise"]
    with pytest.raises(DatasetError, match="leaks"):
        StableFeatures(source).fit(x[names], groups=x.index)
    chosen = StableFeatures(source, outside="drop").fit(x[names], groups=x.index)
    assert chosen.get_feature_names_out().tolist() == ["steady"]
    assert chosen.n_outside_ == COPIES * (N - len(x))
    spoilt = source.copy()  # whatever the others' copies say, the flags are the same
    others = ~spoilt["patient_id"].isin(training)
    spoilt.loc[others, "noise"], spoilt.loc[others, "steady"] = 5.0, np.random.default_rng(1).normal(size=others.sum())
    again = StableFeatures(spoilt, outside="drop").fit(x[names], groups=x.index)
    pd.testing.assert_frame_equal(again.table_, chosen.table_)


def test_selector_needs_to_know_whose_rows_it_has(source):
    """Without the patients of the training rows it cannot tell a leak, and stops."""
    x = source[source["perturbation"] == "copy 0"]
    with pytest.raises(DatasetError, match="needs groups="):
        StableFeatures(source).fit(x[["steady"]])
    with pytest.raises(DatasetError, match="no feature is stable"):
        StableFeatures(source).fit(x[["noise"]], groups=x["patient_id"])


def test_selector_in_a_pipeline(source):
    """It is a step of scikit-learn's pipelines."""
    x = source[source["perturbation"] == "copy 0"]
    steps = make_pipeline(StableFeatures(source), StandardScaler())
    out = steps.fit_transform(x[["steady", "noise"]], stablefeatures__groups=x["patient_id"])
    assert out.shape == (N, 1)


def test_selector_gets_groups_by_metadata_routing(source):
    """A pipeline that routes metadata hands the patients on, and the labels do not count."""
    x = source[source["perturbation"] == "copy 0"]
    y = np.arange(N) % 2
    with config_context(enable_metadata_routing=True):
        selector = StableFeatures(source).set_fit_request(groups=True)
        model = Pipeline([("stable", selector), ("model", LogisticRegression())])
        model.fit(x[["steady", "noise"]], y, groups=x["patient_id"])
    assert model["model"].n_features_in_ == 1
    other = StableFeatures(source).fit(x[["steady", "noise"]], 1 - y, groups=x["patient_id"])
    pd.testing.assert_frame_equal(other.table_, model["stable"].table_)


@pytest.mark.parametrize(
    ("settings", "columns", "told"),
    [
        ({"features": ["steady"]}, ["steady", "noise"], "not those"),
        ({"outside": "keep"}, ["steady"], "refuse, drop"),
        ({"group": "site"}, ["steady"], "no column 'site'"),
        ({"threshold": 0.99999}, ["steady"], "no feature is stable"),
        ({}, ["steady", "other"], "lacks other"),
    ],
)
def test_wrong_use_of_the_selector_is_told(source, settings, columns, told):
    """Other columns than it was told of, unknown words and an unreachable threshold are told apart."""
    x = source[source["perturbation"] == "copy 0"].assign(other=1.0)
    with pytest.raises(DatasetError, match=told):
        StableFeatures(source, **settings).fit(x[columns], groups=x["patient_id"])


def test_an_array_needs_names(source):
    """An array has no names of its own: they are given, and must be as many as its columns."""
    x = source[source["perturbation"] == "copy 0"]
    values, patients = x[["noise", "steady"]].to_numpy(), x["patient_id"]
    with pytest.raises(DatasetError, match="names of the columns"):
        StableFeatures(source).fit(values, groups=patients)
    with pytest.raises(DatasetError, match="knows 1 columns, found 2"):
        StableFeatures(source, ["steady"]).fit(values, groups=patients)
    model = StableFeatures(source, ["noise", "steady"]).fit(values, groups=patients)
    np.testing.assert_array_equal(model.transform(values), values[:, 1:])
    with pytest.raises(DatasetError, match="none of the training patients"):
        StableFeatures(source, ["noise", "steady"], outside="drop").fit(values, groups=np.full(N, "X"))
