"""Statistics and the page's section of predictions that say little: nothing raises, and what cannot be worked out is NaN."""

import numpy as np
import pandas as pd
import pytest

from lungpipe.learn.calibration import calibration_curve, expected_calibration_error, recalibrate
from lungpipe.learn.decision import decision_curve
from lungpipe.learn.figures import figure_table
from lungpipe.learn.power import cohort_power
from lungpipe.learn.subgroups import subgroup_table
from lungpipe.report import evaluation

Y, P, G = np.arange(20) % 2, np.random.default_rng(0).random(20), np.arange(20)
#: Labels, predictions and patients.
ODD = {
    "no opinion": (Y, np.full(20, 0.5), G),
    "certain and right": (Y, 1.0 * Y, G),
    "certain and wrong": (Y, 1.0 - Y, G),
    "all 0": (Y, np.zeros(20), G),
    "all 1": (Y, np.ones(20), G),
    "hardly above 0": (Y, 1e-310 * P, G),
    "ten patients": (Y[:10], P[:10], G[:10]),
    "two nodules": (Y[:2], P[:2], G[:2]),
    "two nodules of one patient": (Y[:2], P[:2], [0, 0]),
    "half in one patient": (Y, P, np.r_[[0] * 10, G[10:]]),
    "all in one patient": (Y, P, np.zeros(20, int)),
    "malignant in one patient": (np.r_[[1] * 5, [0] * 15], P, np.r_[[0] * 5, G[5:]]),
    "benign in one patient who has both": (np.r_[[0, 0, 1], [1] * 17], P, np.r_[[0, 0, 0], G[3:]]),
    "one malignant": (np.r_[1, np.zeros(19, int)], P, G),
    "copies": (np.repeat(Y, 3), np.repeat(P, 3), np.repeat(G, 3)),
}


def content(y, p, patients):
    """The page's section for one data set whose choice predicted this."""
    ids = pd.DataFrame(
        {
            "patient_id": [f"p{k:02d}" for k in patients],
            "series_uid": [f"s{k:02d}" for k in range(len(y))],
            "nodule_id": [f"n{k:02d}" for k in range(len(y))],
        }
    )
    predictions = ids.assign(y=y, p=p, repeat=0, fold=np.arange(len(y)) % 5, dataset="d", segmenter="chosen")
    nodules = ids.assign(size_class=np.where(np.arange(len(y)) % 3, "2", "4A"))
    series = ids[["patient_id", "series_uid"]].assign(
        manufacturer=np.where(np.arange(len(y)) % 2, "A", ""), kernel="", slice_thickness_mm=np.nan
    )
    scores = pd.DataFrame({"dataset": ["d"]})
    return evaluation.evaluation_content(scores, predictions, nodules, series, None, simulated=True)


@pytest.mark.parametrize("case", ODD)
def test_every_figure_is_a_number_within_its_limits_or_nan(case):
    """Limits hold their value; probabilities and shares are within [0, 1]."""
    y, p, patients = (np.asarray(one) for one in ODD[case])
    table = figure_table(y, p, patients, draws=50).set_index("figure")
    shares = [name for name in table.index if name.startswith(("sens", "spec", "bal", "brier", "average"))]
    assert table.loc[shares].stack().between(0, 1).all()
    curve = calibration_curve(y, p, patients, bins=4)
    assert curve["n"].sum() == pytest.approx(len(y))
    assert ((curve["low"] <= curve["observed"]) & (curve["observed"] <= curve["high"])).all()
    assert 0 <= expected_calibration_error(y, p) <= 1
    fit = recalibrate(y, p, patients)
    assert np.isnan(fit.slope) or np.isfinite(fit.slope)
    assert np.isfinite(fit.intercept)
    gain = decision_curve(y, p, patients)
    assert np.isfinite(gain["model"]).all()
    subgroups = subgroup_table(y, p, patients, np.arange(len(y)) % 2)
    assert subgroups.loc[subgroups["masked"], "auc"].isna().all()
    assert subgroups["masked"].all() == (case != "copies")  # of which each half has ten patients of either class
    power = cohort_power(y, patients, n_features=100, n_models=5)
    assert np.isnan(power.smallest_auc) or 0.5 < power.smallest_auc <= 1


@pytest.mark.parametrize("case", ["no opinion", "certain and wrong", "two nodules", "all in one patient"])
def test_the_section_says_what_it_can(case, monkeypatch):
    """Words and pictures for every one of them; subgroups too small for figures have none."""
    monkeypatch.setattr(evaluation, "DRAWS", 50)
    found = content(*ODD[case])
    assert found["n"] == len(ODD[case][0])
    for part in ("calibration", "decision"):
        assert found[part]["src"].startswith("data:image/svg+xml")
        assert found[part]["alt"]
    assert found["subgroups"] is None or all(row["masked"] for row in found["subgroups"]["rows"])


def test_where_no_slope_is_to_be_had_none_is_given():
    """Constant predictions, and classes that are parted, have no finite slope; one patient gives no limits."""
    for case in ("no opinion", "certain and right", "all 0"):
        assert np.isnan(recalibrate(*ODD[case]).slope)
    alone = recalibrate(*ODD["all in one patient"])
    assert np.isnan([alone.slope_low, alone.intercept_high]).all()
    assert np.isnan(decision_curve(*ODD["all in one patient"])["model_low"]).all()


def test_a_cohort_of_one_class_has_no_section():
    """Then there is nothing to be measured."""
    assert content(np.ones(5, int), P[:5], G[:5]) is None
