"""External validation: one workspace teaches and chooses, others test, and nothing is on both sides."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from table_workspace import FEATURES, plugins_record, write_tables

from lungpipe.errors import DatasetError
from lungpipe.learn.baselines import baseline_keys
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.external import External, check_settings, check_sides, evaluate_external, read_external
from lungpipe.learn.models import Logistic
from lungpipe.learn.scores import write_scores
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table

DESIGN = Evaluation("generic", "malignant", "patient_id", ("logistic",), 3, 2, 1, 7)
REGIONS = [("otsu", "nodule", 0.0), ("otsu", "shell", 8.0)]
KEYS = [ConfigurationKey(*region, "logistic") for region in REGIONS]
NODULE, SHELL = KEYS


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Sixty nodules of which the first feature of the nodule tells."""
    return write_tables(tmp_path_factory.mktemp("own"))


def outside(folder, name="hospital-b", **options):
    options = {"n": 40, "seed": 1, "first": 1000} | options
    place = write_tables(folder, **options)
    return External(name, str(place), options.get("dataset", "generic"))


def scores(place, external=(), design=DESIGN):
    keys = KEYS + baseline_keys(REGIONS, design.classifiers)
    found = {key: evaluate_recorded(place, key, design) for key in keys}
    tested = {key: evaluate_external(place, key, design, external) for key in keys} if external else None
    write_scores(place, design, found, ("cohort/table-a", "cohort/table-b"), None, external, tested)
    return tuple(read_table(place, f"tables/{name}.parquet") for name in ("scores", "predictions"))


def matrix(place, region):
    """Features and labels in the order of the nodules' pseudonyms."""
    table = read_table(place, "tables/features.parquet").query("region == @region").set_index("nodule_id")
    labels = read_table(place, "tables/nodules.parquet").set_index("nodule_id")["malignant"]
    return table[list(FEATURES)].sort_index(), labels.sort_index().to_numpy(dtype=int)


def test_predictions_are_those_of_one_model_of_all_own_nodules(own, tmp_path):
    """Refitted with the chosen penalty to all own nodules by hand, the model gives the same probabilities and AUC."""
    other = outside(tmp_path)
    found = evaluate_external(own, NODULE, DESIGN, [other]).result
    x, y = matrix(own, "nodule")
    model = Logistic().pipeline(0).set_params(**found.hyper_parameters[0]).fit(x.to_numpy(), y)
    x_there, y_there = matrix(Place.at(tmp_path), "nodule")
    expected = pd.Series(model.predict_proba(x_there.to_numpy())[:, 1], x_there.index)
    table, predictions = scores(own, [other])
    rows = predictions.query("dataset == 'hospital-b' and region == 'nodule'").set_index("nodule_id")["p"]
    np.testing.assert_allclose(rows.reindex(expected.index), expected, rtol=0, atol=1e-6)
    row = table.query("dataset == 'hospital-b' and region == 'nodule' and selection == 'fixed'").iloc[0]
    assert row["auc"] == pytest.approx(roc_auc_score(y_there, expected))
    assert row["auc"] > 0.8
    assert (row["trained_on"], row["n"]) == ("generic", 40)


def test_the_other_sides_labels_have_no_part_in_any_choice(own, tmp_path):
    """With the test labels turned round, every probability, penalty and inner AUC is the same, and the AUC its complement."""
    right = outside(tmp_path / "right")
    turned = outside(tmp_path / "turned", labels=1 - np.arange(40) % 2, tells=())
    straight = outside(tmp_path / "straight", tells=())
    for key in KEYS:
        one, other = (evaluate_external(own, key, DESIGN, [side]).result for side in (turned, straight))
        np.testing.assert_array_equal(one.p, other.p)
        np.testing.assert_array_equal(one.inner_auc, other.inner_auc)
        assert one.hyper_parameters == other.hyper_parameters
    a, b = (scores(own, [side])[0].query("dataset == 'hospital-b'") for side in (turned, straight))
    assert (a["auc"] + b["auc"])[a["selection"] != "baseline"].to_numpy() == pytest.approx(1.0)
    assert scores(own, [right])[0].query("dataset == 'hospital-b'")["auc"].max() > 0.8


def test_the_choice_is_made_at_home(own, tmp_path):
    """Where only the shell tells abroad and only the nodule at home, the nodule is chosen and fails, as it should."""
    other = outside(tmp_path, tells=("shell",), n=60)
    table, _ = scores(own, [other])
    there = table[table["dataset"] == "hospital-b"].set_index("selection")
    (chosen,) = json.loads(there.loc["inside", "chosen"])
    assert (chosen["region"], chosen["radius_mm"]) == ("nodule", 0.0)
    assert abs(there.loc["inside", "auc"] - 0.5) < 0.2
    assert set(there.loc["baseline", "region"]) >= {"volume", "diameter", "shuffled-labels", "nodule-only"}


def test_own_figures_stay_as_they_were(own, tmp_path):
    """Cross-validation at home is not touched by who else is tested; two others are two data sets."""
    alone = scores(own)
    others = [outside(tmp_path / "b"), outside(tmp_path / "c", "hospital-c", seed=2, first=2000)]
    for before, after in zip(alone, scores(own, others), strict=True):
        assert list(after["dataset"].unique()) == ["generic", "hospital-b", "hospital-c"]
        home = after[after["dataset"] == "generic"].reset_index(drop=True)
        pd.testing.assert_frame_equal(home, before, check_exact=True)
        assert (after["trained_on"] == "generic").all()
    both = {key: evaluate_external(own, key, DESIGN, others) for key in KEYS}
    assert all(one.reused for one in both.values())
    apart = evaluate_external(own, NODULE, DESIGN, others[1:]).result
    np.testing.assert_array_equal(apart.p[0, -40:], both[NODULE].result.p[0, -40:])


def test_kernels_are_brought_together_across_sides(own, tmp_path):
    """A batch has one number on both sides: other names of the kernels abroad give other probabilities."""
    design = replace(DESIGN, harmonise="kernel")
    one = outside(tmp_path)
    found = evaluate_external(own, NODULE, design, [one]).result
    plain = evaluate_external(own, NODULE, DESIGN, [one]).result
    assert np.isfinite(found.p[0, 60:]).all()
    assert not np.allclose(found.p[0, 60:], plain.p[0, 60:])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": np.ones(40, dtype=int)}, "benchmark.external.hospital-b: All 40 nodules are malignant"),
        ({"features": FEATURES[:1]}, "lacks 2 columns .* original_glcm_Contrast, original_shape_Sphericity"),
    ],
)
def test_a_side_that_cannot_test_is_refused(own, tmp_path, options, told):
    """One class, or features that are not there, end with what is missing."""
    with pytest.raises(DatasetError, match=told):
        evaluate_external(own, NODULE, DESIGN, [outside(tmp_path, **options)])


def test_what_is_no_finished_workspace_is_refused(tmp_path):
    """An empty folder, and a run without features, are told by the name in the recipe."""
    with pytest.raises(DatasetError, match=r"benchmark\.external\.b names .* no finished workspace"):
        read_external("b", str(tmp_path))
    place = write_tables(tmp_path)
    assert read_external("b", str(tmp_path))[0].dataset == "generic"
    place.remove("tables/features.parquet")
    with pytest.raises(DatasetError, match=r"lacks tables/features\.parquet"):
        read_external("b", str(tmp_path))


SIDES = ("patient_id", "series_uid", "source_sha256", "voxels_sha256")


def side(patient="p", series="s", source="f", voxels="v"):
    return pd.DataFrame([dict(zip(SIDES, (patient, series, source, voxels), strict=True))])


@pytest.mark.parametrize(
    ("shared", "same_key", "told"),
    [
        ({"patient": "p"}, True, "1 patients are in this cohort and in that one too, the first of patient p"),
        ({"series": "s"}, True, "1 series are"),
        ({"source": "f"}, True, "the same files"),
        ({"voxels": "v"}, True, "the same HU"),
        ({"source": "f"}, False, "the same files"),
        ({"voxels": "v"}, False, "the same HU"),
    ],
)
def test_what_is_on_both_sides_is_refused(shared, same_key, told):
    """A patient, a series, files or an image of the other cohort under whatever name."""
    own = side()
    apart = {"patient": "q", "series": "t", "source": "g", "voxels": "w"}
    check_sides("b", own, side(**apart), same_key=same_key)
    with pytest.raises(DatasetError, match=f"benchmark.external.b: .*{told}"):
        check_sides("b", own, side(**(apart | shared)), same_key=same_key)


def test_pseudonyms_of_two_keys_are_not_compared():
    """Equal pseudonyms of different keys mean nothing, and empty fingerprints are no image."""
    check_sides("b", side(), side(source="g", voxels="w"), same_key=False)
    check_sides("b", side(voxels=""), side("q", "t", "g", voxels=""), same_key=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"radiomics": {"bin_width_hu": 10.0, "texture": {"bin_width": 25.0}}}, "radiomics.bin_width_hu is 25.0 here"),
        ({"extractor": {"name": "pyradiomics", "version": "1", "parameters": {}}}, "extractor.name is 'nested' here"),
        ({"segmenters": {}}, r"segmenters\.otsu is .* here and None there"),
        ({"clip": "none"}, "clip is 'lung' here and 'none' there"),
        ({"regions": [{"kind": "nodule", "radius_mm": 0.0}]}, "region shell 8 mm is not there"),
        ({"versions": {"scan": "5", "region": "2"}}, r"versions\.scan is '6' here and '5' there"),
    ],
)
def test_features_made_differently_are_refused_by_key(changes, told):
    """Whatever a feature depends on is named where it differs."""
    with pytest.raises(DatasetError, match=f"benchmark.external.b: its features were made differently.*{told}"):
        check_settings("b", plugins_record(), plugins_record(**changes))


def test_more_segmenters_and_regions_abroad_do_no_harm():
    """The other side may have more than is asked for, and no controls; of a consensus all methods count."""
    more = plugins_record()
    more["segmenters"]["gmm"] = {"name": "gmm", "version": "1", "parameters": {}}
    more["regions"].append({"kind": "grown", "radius_mm": 2.0})
    own = plugins_record(versions={"scan": "6", "region": "2", "controls": "1"})
    check_settings("b", own, more)
    consensus = {"staple": {"name": "staple", "version": "1"}}
    with pytest.raises(DatasetError, match=r"segmenters is \['otsu'\] here"):
        check_settings("b", own | {"consensus": consensus}, more | {"consensus": consensus})
