"""The study's table, against hand-computed tables and independent implementations."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lungpipe.errors import DatasetError
from lungpipe.learn.odds import compare_two_by_two, odds_ratio_per_deviation, table_odds_ratio, two_by_two
from lungpipe.learn.structure_stats import structure_table


def tables(labels, patients=None, segmenters=("otsu",), **columns):
    """Features and nodules with the given columns, one nodule a row and segmenter."""
    n = len(labels)
    frames = []
    for name in segmenters:
        frame = pd.DataFrame(
            {
                "dataset": "generic",
                "patient_id": patients or [f"P-{k}" for k in range(n)],
                "series_uid": "S",
                "nodule_id": [f"N-{k}" for k in range(n)],
                "segmenter": name,
                "region": "nodule",
                "malignant": pd.array(labels, dtype="Int64"),
                **columns,
            }
        )
        frames.append(frame)
    whole = pd.concat(frames, ignore_index=True)
    return whole.drop(columns="malignant"), whole[
        ["dataset", "patient_id", "series_uid", "nodule_id", "segmenter", "malignant"]
    ]


def test_odds_ratio_of_a_table_by_hand():
    """30, 10 against 15, 45: (30 x 45) / (10 x 15) = 9, standard error of its logarithm sqrt(1/30+1/10+1/15+1/45)."""
    found = table_odds_ratio([[30, 10], [15, 45]])
    error = math.sqrt(1 / 30 + 1 / 10 + 1 / 15 + 1 / 45)
    assert found.value == pytest.approx(9.0)
    assert found.low == pytest.approx(math.exp(math.log(9) - 1.959964 * error), rel=1e-6)
    assert found.high == pytest.approx(math.exp(math.log(9) + 1.959964 * error), rel=1e-6)
    assert not found.corrected


def test_an_empty_cell_is_corrected_and_said():
    """Half a nodule more in each cell: (10.5 x 20.5) / (0.5 x 5.5) = 78.27."""
    found = table_odds_ratio([[10, 0], [5, 20]])
    assert found.corrected
    assert found.value == pytest.approx(10.5 * 20.5 / (0.5 * 5.5))
    assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize("cells", [[[5, 0], [7, 0]], [[0, 5], [0, 7]]])
def test_a_structure_that_all_or_none_have_has_no_odds_ratio(cells):
    """Where it tells nobody apart there is neither odds ratio nor test."""
    assert math.isnan(table_odds_ratio(cells).value)
    assert compare_two_by_two(cells)[0] == ""


def test_chi_square_by_hand_and_fisher_for_small_tables():
    """n (ad - bc)^2 / (the product of the margins) where 5 and more are expected, else Fisher's exact p."""
    name, chi2, p = compare_two_by_two([[30, 10], [15, 45]])
    by_hand = 100 * (30 * 45 - 10 * 15) ** 2 / (40 * 60 * 45 * 55)
    assert (name, chi2) == ("chi-square", pytest.approx(by_hand))
    assert p == pytest.approx(stats.chi2.sf(by_hand, 1))
    # Tea tasted: 3 of 4 right; p = (16 + 16 + 1 + 1) / 70.
    name, chi2, p = compare_two_by_two([[3, 1], [1, 3]])
    assert name == "Fisher"
    assert math.isnan(chi2)
    assert p == pytest.approx(34 / 70)


def test_two_by_two_counts_each_cell():
    """Rows are malignant and benign, columns with and without."""
    assert two_by_two([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0]).tolist() == [[2, 1], [1, 2]]


def test_odds_ratio_per_deviation_agrees_with_scikit_learn():
    """Logistic regression without penalty gives the same coefficient, whatever the unit of the values."""
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, 3.0, 300)
    y = (rng.random(300) < 1 / (1 + np.exp(0.4 * (x - 6)))).astype(int)
    found = odds_ratio_per_deviation(y, x)
    scaled = (x - x.mean()) / x.std(ddof=1)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(scaled[:, None], y)
    assert found.value == pytest.approx(math.exp(peer.coef_[0, 0]), rel=1e-4)
    assert odds_ratio_per_deviation(y, 10 * x + 3).value == pytest.approx(found.value)
    p = peer.predict_proba(scaled[:, None])[:, 1]
    design = np.stack([np.ones(300), scaled], axis=1)
    error = math.sqrt(np.linalg.inv((design.T * (p * (1 - p))) @ design)[1, 1])
    assert found.high / found.value == pytest.approx(math.exp(1.959964 * error), rel=1e-3)


def test_logistic_regression_on_two_values_is_the_odds_ratio_of_their_table():
    """On 0 and 1 the maximum of the likelihood is the odds ratio of the 2 x 2 table, to the power of the deviation."""
    y = np.repeat([1, 1, 0, 0], [30, 10, 15, 45])
    x = np.repeat([1.0, 0.0, 1.0, 0.0], [30, 10, 15, 45])
    assert odds_ratio_per_deviation(y, x).value == pytest.approx(9 ** x.std(ddof=1), rel=1e-8)


@pytest.mark.parametrize("x", [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
def test_constant_or_parting_values_have_no_odds_ratio(x):
    """No finite odds ratio is most likely where values do not vary or part the classes; none is made up."""
    assert math.isnan(odds_ratio_per_deviation([0, 0, 1, 1], x).value)


def test_the_table_has_means_tests_and_auc_of_each_structure():
    """Means by class, Mann-Whitney's p, and an AUC that is above one half where malignant nodules are nearer."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 80).tolist()
    distance = rng.normal(6, 2, 80) - 1.5 * np.array(labels)
    count = (rng.random(80) < 0.3 + 0.4 * np.array(labels)).astype(float)
    features, nodules = tables(labels, surroundings_DistanceAirway_mm=distance, surroundings_CountVessels=count)
    found = {(row.structure, row.measure): row for row in structure_table(features, nodules).rows}
    assert set(found) == {("airway", "distance"), ("vessel", "count")}
    y = np.array(labels)
    row = found["airway", "distance"]
    assert (row.mean_benign, row.mean_malignant) == pytest.approx((distance[y == 0].mean(), distance[y == 1].mean()))
    assert row.p_means == pytest.approx(stats.mannwhitneyu(distance[y == 1], distance[y == 0]).pvalue)
    assert row.auc == pytest.approx(roc_auc_score(y, -distance))
    assert row.auc_low < row.auc < row.auc_high
    row = found["vessel", "count"]
    cells = [[row.present_malignant, row.absent_malignant], [row.present_benign, row.absent_benign]]
    assert np.sum(cells) == 80
    assert row.odds_ratio == pytest.approx(stats.contingency.odds_ratio(np.array(cells), kind="sample").statistic)
    assert row.p_counts == pytest.approx(stats.chi2_contingency(cells, correction=False).pvalue)
    assert row.auc == pytest.approx(roc_auc_score(y, count))


def test_missing_values_and_labels_are_counted_and_left_out():
    """A nodule without label is in no row; one without a value is missing from that row alone."""
    labels = [1, 0, 1, 0, None]
    columns = {
        "surroundings_DistancePleura_mm": [1.0, 2.0, 3.0, 4.0, 5.0],
        "surroundings_DistanceAirway_mm": [1.0, np.nan, 3.0, 4.0, 5.0],
    }
    found = structure_table(*tables(labels, **columns))
    assert found.unlabelled == {"otsu": 1}
    pleura, airway = found.rows
    assert (pleura.n_benign, pleura.n_malignant, pleura.n_missing) == (2, 2, 0)
    assert (airway.n_benign, airway.n_malignant, airway.n_missing) == (1, 2, 1)
    assert pleura.mean_benign == 3.0


def test_a_structure_without_any_value_is_a_row_of_dashes():
    """Where no airway was found in any scan the row is there, and says nothing."""
    columns = {"surroundings_DistanceAirway_mm": [np.nan] * 4, "surroundings_CountAirways": [np.nan] * 4}
    for row in structure_table(*tables([0, 1, 0, 1], **columns)).rows:
        assert row.n_missing == 4
        assert math.isnan(row.auc)
        assert math.isnan(row.odds_ratio)


def test_segmenters_stand_apart_and_one_can_be_chosen():
    """Each segmenter has rows of its own; a name that is not there is answered with those that are."""
    data = tables([0, 1, 0, 1], segmenters=("otsu", "gmm"), surroundings_CountVessels=[0.0, 1.0, 1.0, 1.0])
    assert [row.segmenter for row in structure_table(*data).rows] == ["gmm", "otsu"]
    assert [row.segmenter for row in structure_table(*data, "otsu").rows] == ["otsu"]
    with pytest.raises(DatasetError, match="there are gmm, otsu"):
        structure_table(*data, "fcm")


def test_no_such_features_is_told_with_what_to_do():
    """A workspace of another extractor is refused, and the message names the setting."""
    with pytest.raises(DatasetError, match=r'features.extractor="surroundings"'):
        structure_table(*tables([0, 1], original_shape_Sphericity=[1.0, 1.0]))


def test_one_class_alone_is_told():
    """Without a malignant nodule there is nothing to compare."""
    with pytest.raises(DatasetError, match="found 0 and 2"):
        structure_table(*tables([0, 0], surroundings_CountVessels=[1.0, 0.0]))


def test_the_interval_is_wider_where_patients_have_several_nodules():
    """The same nodules in half as many patients, each pair alike, are known less well."""
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 2, 40), 2).tolist()
    values = np.repeat(rng.normal(0, 1, 40), 2) - np.array(labels)
    apart, together = (
        structure_table(*tables(labels, patients=names, surroundings_DistanceVessel_mm=values)).rows[0]
        for names in ([f"P-{k}" for k in range(80)], [f"P-{k // 2}" for k in range(80)])
    )
    assert apart.auc == together.auc
    assert together.auc_high - together.auc_low > 1.2 * (apart.auc_high - apart.auc_low)
