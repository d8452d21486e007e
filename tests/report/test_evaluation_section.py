"""The section on the honest choice: figures that other code gives too, masked subgroups, and baselines in words."""

import base64

import numpy as np
import pandas as pd
import pytest
from report_tables import make_scores
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from lungpipe.report.evaluation import baselines, better_at, chosen_of, evaluation_content
from lungpipe.report.page import report_html


def tables(n=160, seed=0):
    """Predictions of two repeats of a choice over nodules of as many patients on two scanners, and the other tables."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    ids = pd.DataFrame(
        {name: [f"{name[0]}{k:03d}" for k in range(n)] for name in ("patient_id", "series_uid", "nodule_id")}
    )
    parts = [
        ids.assign(y=y, p=np.clip(0.5 + 0.25 * (y - 0.5) + rng.normal(0, 0.2, n), 0.01, 0.99), repeat=repeat)
        for repeat in (0, 1)
    ]
    predictions = pd.concat(parts, ignore_index=True).assign(dataset="phantom", segmenter="chosen")
    order = rng.permutation(len(predictions))
    nodules = ids.assign(size_class=np.where(np.arange(n) < 100, "2", np.where(np.arange(n) < 150, "3", "4A")))
    series = ids[["patient_id", "series_uid"]].assign(
        manufacturer=np.where(np.arange(n) < 80, "A", "B"), slice_thickness_mm=1.25
    )
    return predictions.iloc[order].reset_index(drop=True), nodules, series


@pytest.fixture(scope="module")
def content():
    predictions, nodules, series = tables()
    return evaluation_content(make_scores(), predictions, nodules, series, None, simulated=True)


def test_figures_are_those_of_scikit_learn(content):
    """Means over the repeats, nodules in any order, within their intervals."""
    predictions, _, _ = tables()
    found = {name: (value, low, high) for name, value, low, high in content["figures"]}
    for name, figure in (("Brier score", brier_score_loss), ("Average precision", average_precision_score)):
        expected = np.mean([figure(part["y"], part["p"]) for _, part in predictions.groupby("repeat")])
        value, low, high = found[name]
        assert value == pytest.approx(expected)
        assert low < value < high
    assert content["n"] == 160


def test_pictures_have_words_and_numbers(content):
    """Every picture has a text that tells what it shows, and a table to download with as many rows."""
    for part in (content["calibration"], content["decision"], content["subgroups"]):
        assert part["src"].startswith("data:image/svg+xml;base64,")
        assert len(part["alt"]) > 60
        csv = base64.b64decode(part["csv"].split(",")[1]).decode().splitlines()
        assert len(csv) > 3


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ([0.4, 0.3, 0.1, -0.1, 0.05], "thresholds of 0.10 to 0.30, 0.50"),
        ([0.1, 0.3, 0.1, 0.05, 0.0], "thresholds of 0.20 to 0.40"),
        ([0.1, 0.0, 0.0, 0.0, -0.1], "no threshold"),
    ],
)
def test_gain_is_said_where_it_is(model, told):
    """A gap between thresholds at which the model gains is not passed over."""
    curve = pd.DataFrame(
        {"threshold": [0.1, 0.2, 0.3, 0.4, 0.5], "model": model, "treat_all": [0.2, 0.1, 0.0, -0.2, -0.5]}
    )
    assert better_at(curve) == told


def test_small_subgroups_are_masked(content):
    """Ten nodules of one size class, five of a class, have no figures; the others have; one thickness divides nothing."""
    rows = pd.DataFrame(content["subgroups"]["rows"])
    assert set(rows["by"]) == {"size class (Lung-RADS)", "manufacturer"}
    by = rows.set_index("value")
    assert by.loc["4A", "masked"]
    assert np.isnan(by.loc["4A", "auc"])
    for value in ("2", "A", "B"):
        assert 0.5 < by.loc[value, "auc"] < 1
    assert by.loc["A", "gap"] == pytest.approx(-by.loc["B", "gap"])


def test_nothing_to_say_without_a_choice():
    """No benchmark, no choice, or one class only: no section."""
    predictions, nodules, series = tables()
    assert evaluation_content(None, None, nodules, series, None, simulated=False) is None
    assert chosen_of(predictions, "another") is None
    assert chosen_of(predictions[predictions["y"] == 1], "phantom") is None


def test_baselines_say_what_they_are():
    """Rows of baselines, the highest first, in words; rows without an AUC are left out."""
    row = {"selection": "baseline", "segmenter": "baseline", "auc_low": 0.4, "auc_high": 0.9}
    scores = pd.DataFrame(
        [
            row | {"region": "volume", "auc": 0.6},
            row | {"region": "shuffled-voxels", "auc": 0.7},
            row | {"region": "diameter", "auc": np.nan},
            row | {"region": "nodule", "selection": "fixed", "auc": 0.99},
        ]
    )
    found = baselines(scores)
    assert [one["region"] for one in found] == ["shuffled-voxels", "volume"]
    assert "no texture" in found[0]["meaning"]


def test_clinical_columns_divide_the_nodules():
    """Sex, age by class, and the type of nodule by the rating of texture; limits belong to the class above."""
    predictions, nodules, series = tables()
    k = np.arange(160)
    nodules = nodules.drop(columns="size_class").assign(
        clinical_sex=np.where(k % 40 == 0, "", np.where(k % 4 < 2, "F", "M")),
        clinical_age=np.array([54.9, 55.0, 74.9, 75.0])[k // 2 % 4],
        rating_texture=np.array([1.99, 2.0, 3.99, 4.0])[k // 2 % 4],
    )
    content = evaluation_content(make_scores(), predictions, nodules, series.iloc[:, :2], None, simulated=True)
    rows = pd.DataFrame(content["subgroups"]["rows"]).set_index(["by", "value"])["n"]
    assert rows["age (years)"].to_dict() == {"below 55": 40, "55 to 64": 40, "65 to 74": 40, "75 and above": 40}
    assert rows["nodule type"].to_dict() == {"ground glass": 40, "part-solid": 80, "solid": 40}
    # The four without a sex are too few to be counted, and so are the next fewest, which would tell.
    assert rows["sex"].to_dict() == {"F": ">=10", "M": 80, "missing": "<10"}


def test_data_sets_stand_beside_each_other():
    """The data set at home and one that it was tested on have the figures of their own rows, and a gap between them."""
    predictions, nodules, series = tables()
    other, _, _ = tables(n=120, seed=3)
    rng = np.random.default_rng(0)
    other = other[other["repeat"] == 0].assign(dataset="hospital-b", p=rng.random(120))
    scores = pd.concat(
        [make_scores().assign(trained_on="phantom"), make_scores().assign(dataset="hospital-b", trained_on="phantom")],
        ignore_index=True,
    )
    both = pd.concat([predictions, other], ignore_index=True)
    content = evaluation_content(scores, both, nodules, series, None, simulated=True)
    rows = pd.DataFrame(content["subgroups"]["rows"]).query("by == 'data set'").set_index("value")
    assert rows["n"].to_dict() == {"phantom": 160, "hospital-b": 120}
    assert rows.loc["hospital-b", "auc"] == pytest.approx(roc_auc_score(other["y"], other["p"]))
    expected = [roc_auc_score(part["y"], part["p"]) for _, part in predictions.groupby("repeat")]
    assert rows.loc["phantom", "auc"] == pytest.approx(np.mean(expected))
    assert rows.loc["phantom", "gap"] == pytest.approx(np.mean(expected) - rows.loc["hospital-b", "auc"])
    assert rows.loc["phantom", "gap_low"] > 0


@pytest.mark.slow
def test_external_validation_is_named_and_its_warnings_stand_in_the_verdict(make_report):
    """A data set that another one taught has its own verdict, said to be external, with what speaks against it."""
    scores = make_scores()
    abroad = scores.assign(dataset="hospital-b", trained_on="phantom")
    both = pd.concat([scores.assign(trained_on="phantom"), abroad], ignore_index=True)
    run = {"external": {"hospital-b": {"warnings": ["phantom and hospital-b hold some of the same patients"]}}}
    page = report_html(make_report(scores=both, run=run))
    assert "hospital-b: external validation" in page
    assert "AUC of what was learned and chosen on phantom" in page
    assert "<b>No clean test.</b> Phantom and hospital-b hold some of the same patients." in page
    alone = report_html(make_report(scores=scores.assign(trained_on="phantom")))
    assert "external validation" not in alone
    assert "No clean test" not in alone
