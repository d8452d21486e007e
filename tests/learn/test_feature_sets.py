"""Sets of features: which names are in one, and that the choice among them is made inside."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from table_workspace import write_tables

from lungpipe.errors import DatasetError
from lungpipe.learn.baselines import baseline_keys
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.feature_sets import BUILT_IN, feature_sets, members
from lungpipe.learn.scores import write_scores
from lungpipe.store.tables import read_table

NAMES = [
    "original_shape_Sphericity",
    "original_firstorder_Mean",
    "original_glcm_Contrast",
    "original_ngtdm_Busyness",
    "wavelet-LLH_firstorder_Mean",
    "log-sigma-1-0-mm-3D_glcm_Contrast",
    "surroundings_DistanceVessel_mm",
]
DESIGN = Evaluation("generic", "malignant", "patient_id", ("logistic",), 3, 2, 1, 7)
REGION = ("otsu", "nodule", 0.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all", NAMES),
        ("shape", NAMES[:1]),
        ("first_order", NAMES[1:2]),
        ("texture", NAMES[2:4]),
        ("filtered", NAMES[4:6]),
    ],
)
def test_built_in_sets(name, expected):
    """By image and class; measures that are of no image are in no set but that of all."""
    assert members(BUILT_IN[name], NAMES) == expected


def test_a_recipes_own_sets_are_patterns():
    """One pattern or several, names taken out again; case counts."""
    found = dict(feature_sets({"wavelets": "wavelet-*", "means": ["*_Mean", "!wavelet-*"], "none": "*_mean"}))
    assert members(found["wavelets"], NAMES) == NAMES[4:5]
    assert members(found["means"], NAMES) == NAMES[1:2]
    assert members(found["none"], NAMES) == []
    assert feature_sets(["shape", "all"]) == (("shape", BUILT_IN["shape"]), ("all", ("*",)))


@pytest.mark.parametrize(
    ("given", "told"),
    [(["shapes"], "no set 'shapes'; built-in are all, shape"), (["all", "all"], "a set twice"), ([], "at least one"),
     ({"mine": []}, "at least one set with a pattern")],
)  # fmt: skip
def test_sets_that_cannot_be_are_refused(given, told):
    """Unknown, twice, or nothing."""
    with pytest.raises(DatasetError, match=told):
        feature_sets(given)


def tables(place, design):
    keys = [ConfigurationKey(*REGION, "logistic", name) for name, _ in design.feature_sets]
    keys += baseline_keys([REGION], design.classifiers)
    found = {key: evaluate_recorded(place, key, design) for key in keys}
    write_scores(place, design, found, ("cohort/table-a", "cohort/table-b"))
    return read_table(place, "tables/scores.parquet"), read_table(place, "tables/predictions.parquet")


def test_the_choice_is_made_inside_and_other_figures_stay(tmp_path):
    """The set that tells is chosen in every fold; figures of all features, and baselines, are those of a run with one set."""
    place = write_tables(tmp_path)
    before = tables(place, DESIGN)
    several = replace(DESIGN, feature_sets=feature_sets(["all", "first_order", "shape"]))
    scores, predictions = tables(place, several)
    fixed = scores[scores["selection"] == "fixed"].set_index("feature_set")
    assert list(fixed.index) == ["all", "first_order", "shape"]
    assert fixed.loc["first_order", "auc"] > 0.8
    assert abs(fixed.loc["shape", "auc"] - 0.5) < 0.25
    inside = scores[scores["selection"] == "inside"].iloc[0]
    assert {key["feature_set"] for key in json.loads(inside["chosen"])} <= {"all", "first_order"}
    assert inside["feature_set"] == "chosen"
    # The one value that depends on how many configurations there are is the interval over all of them, and Holm's p.
    same = ["auc", "auc_low", "auc_high", "inner_auc", "brier", "average_precision"]
    rows = [table[(table["feature_set"] == "all") & (table["selection"] == "fixed")] for table in (before[0], scores)]
    pd.testing.assert_frame_equal(*(r[same].reset_index(drop=True) for r in rows), check_exact=True)
    sizes = [
        table[table["region"].isin(["volume", "diameter", "shuffled-labels"])] for table in (before[1], predictions)
    ]
    pd.testing.assert_frame_equal(*(r.reset_index(drop=True) for r in sizes), check_exact=True)


def test_an_empty_set_is_told(tmp_path):
    """A set without a feature ends before a model is fitted, with what the features are called."""
    place = write_tables(tmp_path, 20)
    design = replace(DESIGN, feature_sets=feature_sets({"wavelets": "wavelet-*"}))
    with pytest.raises(
        DatasetError, match=r"set 'wavelets' \(wavelet-\*\); the features begin with original_firstorder_Mean"
    ):
        evaluate_recorded(place, ConfigurationKey(*REGION, "logistic", "wavelets"), design)
