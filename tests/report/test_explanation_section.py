"""The section on what the model looks at: clusters in order, careful words, and nodules with their error."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from lungpipe.learn.neighbours import ErrorRelation, Side
from lungpipe.report.explanation import explanation_content, relation_words
from lungpipe.report.html import environment
from lungpipe.report.page import report_html

KEY = {"segmenter": "gmm", "region": "grown", "radius_mm": 8.0, "classifier": "logistic"}
NO_SIDE = Side(0, 0, 0, *(float("nan"),) * 6)


def importance_rows():
    """Three clusters of seven features: one of five that matters, one that does not, one that no fold's model takes."""
    drops = {1: (0.12, 0.04, 0.2), 2: (0.01, -0.03, 0.05), 3: (0.0, 0.0, 0.0)}
    rows = []
    for k, cluster in enumerate([1, 1, 1, 1, 1, 2, 3]):
        mean, low, high = drops[cluster]
        rows.append(
            {"dataset": "phantom", "intensities": "simulated", **KEY, "feature": f"feature_{k}<b>", "cluster": cluster}
            | {"cluster_centre": f"feature_{ {1: 2, 2: 5, 3: 6}[cluster] }<b>", "used": 0.0 if cluster == 3 else 1.0}
            | {"importance": mean / 2, "low": low / 2, "high": high / 2, "mean_abs_shap": 0.1 * k}
            | {"cluster_importance": mean, "cluster_low": low, "cluster_high": high, "cluster_mean_abs_shap": 0.5}
        )
    return pd.DataFrame(rows[::-1])  # whatever order the table has


def neighbour_rows(predictions):
    here = predictions[(predictions["segmenter"] == "gmm") & (predictions["region"] == "grown")]
    here = here[(here["radius_mm"] == 8.0) & (here["classifier"] == "logistic")]
    rng = np.random.default_rng(4)
    near = json.dumps(
        [{"nodule_id": "n07", "malignant": 1, "distance": 0.4}, {"nodule_id": "n08", "malignant": 0, "distance": 0.5}]
    )
    table = here[["dataset", "patient_id", "nodule_id"]].assign(**KEY, ood=rng.random(len(here)), neighbours=near)
    return table.assign(ood_percentile=rng.permutation(len(here)) * 2.0 + 1).sample(frac=1, random_state=1), here


@pytest.fixture
def parts(make_report):
    report = make_report()
    neighbours, own = neighbour_rows(report.predictions)
    return report, importance_rows(), neighbours, own


@pytest.fixture
def content(parts):
    report, importance, neighbours, _ = parts
    return explanation_content(importance, neighbours, report.scores, report.predictions, simulated=True)


def csv_of(link):
    return pd.read_csv(io.BytesIO(base64.b64decode(link.split(",")[1])))


def test_clusters_stand_in_the_order_of_their_importance(content):
    """The largest drop first, with all its members; one interval lies above 0; the configuration is named and counted."""
    assert (content["name"], content["times"]) == ("Gaussian mixture, grown region 8 mm, logistic regression", (4, 5))
    rows = content["clusters"]["rows"]
    assert [row["cluster"] for row in rows] == [1, 2, 3]
    assert sorted(rows[0]["members"]) == [f"feature_{k}<b>" for k in range(5)]
    assert content["clusters"]["n_clear"] == 1
    assert "feature_2<b> and 4 more: 0.120" in content["clusters"]["alt"]
    assert {row["cluster"] for row in content["features"]} == {1, 2}  # what no model takes is not listed
    assert "Shapley" in content["contributions"]
    assert len(csv_of(content["csv"])) == 7


def test_error_is_that_of_the_configuration_explained(parts, content):
    """Spearman's rho is what SciPy gives for its predictions; the most outlying nodules lead the list with their own p."""
    _, _, neighbours, own = parts
    joined = own.merge(neighbours[["nodule_id", "ood_percentile"]], on="nodule_id")
    expected = spearmanr(joined["ood_percentile"], (joined["y"] - joined["p"]).abs()).statistic
    outlying = content["outlying"]
    assert outlying["relation"].rho == pytest.approx(expected)
    assert f"{expected:.2f}" in outlying["words"]
    rows = outlying["rows"]
    assert [row["ood_percentile"] for row in rows] == [99.0, 97.0, 95.0, 93.0, 91.0, 89.0, 87.0, 85.0, 83.0, 81.0]
    assert rows[0]["p"] == pytest.approx(joined.set_index("ood_percentile").loc[99.0, "p"])
    assert rows[0]["malignant_neighbours"] == 1
    assert len(csv_of(outlying["csv"])) == 50
    assert np.isnan(outlying["relation"].far.auc)  # five nodules


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.5, "are predicted worse: Spearman's rho 0.30, 95 % interval 0.10 to 0.50"),
        (-0.5, -0.1, "are predicted better"),
        (-0.1, 0.5, "is not shown"),
        (np.nan, np.nan, "cannot be told"),
    ],
)
def test_a_relation_is_claimed_only_where_its_interval_lies_on_one_side(low, high, words):
    assert words in relation_words(ErrorRelation(50, 0.3, low, high, NO_SIDE, NO_SIDE))


def test_without_tables_or_a_choice_the_section_says_why(parts):
    """No benchmark: no section. No tables: they could not be made. Empty tables: nothing was chosen."""
    report, importance, neighbours, _ = parts
    assert explanation_content(importance, neighbours, None, None, simulated=True) is None
    found = explanation_content(None, None, report.scores, report.predictions, simulated=True)
    assert "could not be explained" in found["why"]
    found = explanation_content(importance[:0], neighbours[:0], report.scores, report.predictions, simulated=True)
    assert "No configuration could be chosen" in found["why"]


def test_one_fold_and_no_contributions_are_said(parts):
    """Without intervals none is counted; a classifier without contributions has none on the page."""
    report, importance, neighbours, _ = parts
    importance = importance.assign(cluster_low=np.nan, cluster_high=np.nan, low=np.nan, high=np.nan)
    importance = importance.assign(mean_abs_shap=np.nan, cluster_mean_abs_shap=np.nan)
    found = explanation_content(importance, neighbours, report.scores, report.predictions, simulated=True)
    assert (found["clusters"]["intervals"], found["contributions"]) == (False, "")
    assert found["clusters"]["rows"][0]["cluster"] == 1
    nothing = importance.assign(cluster_importance=np.nan, importance=np.nan)
    found = explanation_content(nothing, neighbours, report.scores, report.predictions, simulated=True)
    assert found["clusters"] is None


@pytest.mark.parametrize("change", [{}, {"mean_abs_shap": np.nan, "cluster_importance": np.nan, "importance": np.nan}])
def test_the_section_is_words_pictures_and_numbers(parts, change):
    """Names are escaped, every picture has words, numbers can be had as CSV, and nothing of the template's is left over."""
    report, importance, neighbours, _ = parts
    found = explanation_content(
        importance.assign(**change), neighbours, report.scores, report.predictions, simulated=True
    )
    section = rendered(found)
    assert "feature_2<b>" not in section
    assert "built-in method" not in section
    assert all(len(alt) > 60 for alt in re.findall(r'<img[^>]* alt="([^"]*)"', section))
    assert set(re.findall(r'download="([^"]+)"', section)) == {"importance.csv", "outlying.csv", "neighbours.csv"}
    assert "none of it says what causes malignancy" in section
    if not change:
        assert "feature_2&lt;b&gt; and 4 more" in section
        assert "1 interval lies above 0" in section
        assert "Simulated intensities." in section


def rendered(found):
    pages = environment()
    pages.filters["figure"] = "{:.2f}".format
    return pages.get_template("explanation.html.j2").render(explanation=found, simulated=True, sheet=None)


def test_the_page_holds_the_section(parts, make_report):
    """It stands on the page of a benchmark, after its evaluation and before the nodules."""
    report, importance, neighbours, _ = parts
    page = report_html(make_report(importance=importance, neighbours=neighbours, tiles=report.tiles[:1]))
    assert page.index('id="calibration"') < page.index('id="explanation"') < page.index('id="nodules"')
    assert "none of it says what causes malignancy" in page
    without = report_html(make_report(scores=None, predictions=None, tiles=()))
    assert 'id="explanation"' not in without
