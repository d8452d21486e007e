import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lungpipe.errors import DatasetError
from lungpipe.learn.copies import of_outlines, of_series
from lungpipe.learn.stability import StableFeatures, feature_names, stability_table

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


def tables():
    """Two series of one study with one nodule 2 mm apart, one that is in the first only, and another study."""
    nodules = pd.DataFrame(
        [
            ("T1", "S1", "A", 0.0), ("T1", "S2", "B", 2.0), ("T1", "S1", "C", 60.0), ("T2", "S3", "D", 0.0),
        ],
        columns=["study_uid", "series_uid", "nodule_id", "x_mm"],
    )  # fmt: skip
    nodules = nodules.assign(y_mm=0.0, z_mm=0.0, volume_mm3=500.0, segmenter="otsu", patient_id="P")
    series = nodules[["series_uid", "study_uid"]].drop_duplicates()
    series = series.assign(kernel=series["series_uid"].map({"S1": "B70f", "S2": "B30f", "S3": "B30f"}))
    features = nodules[["patient_id", "series_uid", "nodule_id", "segmenter"]].assign(
        dataset="d", region="nodule", radius_mm=0.0, codes="", f=[1.0, 2.0, 3.0, 4.0]
    )
    return features, nodules, series


def test_kernels_of_a_study_pair_nodules_by_place():
    """Nodules of two series of a study are one where their centres are closer than the smaller one's radius."""
    features, nodules, series = tables()
    found = of_series(features, nodules, series, "otsu", "nodule", 0.0)
    assert found[["nodule_id", "perturbation", "f"]].to_numpy().tolist() == [["B", "first", 2.0], ["B", "second", 1.0]]
    far = nodules.assign(x_mm=[0.0, 6.0, 60.0, 0.0])  # beyond the radius of 4.9 mm
    with pytest.raises(DatasetError, match="no nodule was found in two series"):
        of_series(features, far, series, "otsu", "nodule", 0.0)


def test_outlines_of_segmenters_are_copies():
    """Masks of two segmenters are two copies of a nodule; one alone is refused."""
    features, _, _ = tables()
    both = pd.concat([features, features.assign(segmenter="rater-1", f=features["f"] + 1)])
    found = of_outlines(both, ["otsu", "rater-1"], "nodule", 0.0)
    assert sorted(found["perturbation"].unique()) == ["otsu", "rater-1"]
    assert len(found) == 8
    with pytest.raises(DatasetError, match="two segmenters or more"):
        of_outlines(both, ["otsu"], "nodule", 0.0)
