"""What changed in the scores, tested on the nodules of both."""

import numpy as np
import pytest
from made_runs import CHOSEN, FIXED, SHUFFLED, VOLUME, held, nodule, predictions, record, scores
from scipy.stats import norm

from lungpipe.comparing.matching import match_nodules
from lungpipe.comparing.scores import compare_scores

RNG = np.random.default_rng(5)
LABELS = np.arange(24) % 2
ONE = np.clip(0.5 + 0.15 * (LABELS - 0.5) + RNG.normal(0, 0.15, 24), 0.01, 0.99)
OTHER = np.clip(0.5 + 0.5 * (LABELS - 0.5) + RNG.normal(0, 0.15, 24), 0.01, 0.99)


def run(rows, key="A", numbers=range(24), scored=None):
    """A run with these predictions."""
    tables = {"nodules": [nodule(n, key) for n in numbers], "scores": scores(rows if scored is None else scored)}
    return held(record(key), **tables, **({"predictions": rows} if rows else {}))


def compared(first, second, **words):
    """Compare two runs of rows of predictions."""
    one, other = run(first), run(second, **words)
    return compare_scores(one, other, match_nodules(one, other))


def delong(labels, first, second):
    """DeLong, DeLong and Clarke-Pearson (1988) by loops over pairs: second less first, and its p."""
    parts = []
    for p in (first, second):
        wins = np.array([[(a > b) + (a == b) / 2 for b in p[labels == 0]] for a in p[labels == 1]])
        parts.append((wins.mean(), wins.mean(axis=1), wins.mean(axis=0)))
    (auc_a, ten_a, zero_a), (auc_b, ten_b, zero_b) = parts
    variance = np.var(ten_b - ten_a, ddof=1) / len(ten_a) + np.var(zero_b - zero_a, ddof=1) / len(zero_a)
    return auc_b - auc_a, 2 * norm.sf(abs(auc_b - auc_a) / np.sqrt(variance))


def test_difference_and_p_are_delongs():
    """Single nodules: the test of 1988, worked out by loops."""
    row = compared(predictions(FIXED, ONE, LABELS), predictions(FIXED, OTHER, LABELS)).rows.iloc[0]
    difference, p = delong(LABELS, ONE, OTHER)
    assert difference > 0
    assert row["difference"] == pytest.approx(difference, abs=1e-12)
    assert row["p"] == pytest.approx(p, abs=1e-9)
    assert row["p_holm"] == row["p"]
    assert row["low"] < row["difference"] < row["high"]
    assert row["auc_b"] - row["auc_a"] == pytest.approx(difference, abs=1e-12)
    assert row["n"] == row["n_patients"] == 24


def test_equal_predictions_have_no_difference():
    """Difference 0 with p = 1, and nothing counts as changed."""
    found = compared(predictions(FIXED, ONE, LABELS), predictions(FIXED, ONE, LABELS))
    assert found.rows.loc[0, ["difference", "p"]].tolist() == [0.0, 1.0]
    assert not found.changed


def test_only_nodules_of_both_are_tested():
    """B predicted the last sixteen: AUCs of all stay beside those of the sixteen."""
    part = range(8, 24)
    second = predictions(FIXED, OTHER[8:], LABELS[8:], numbers=part)
    row = compared(predictions(FIXED, ONE, LABELS), second, numbers=part).rows.iloc[0]
    difference, p = delong(LABELS[8:], ONE[8:], OTHER[8:])
    assert (row["n"], row["n_a"], row["n_b"]) == (16, 24, 16)
    assert (row["difference"], row["p"]) == (pytest.approx(difference), pytest.approx(p))
    assert row["shared_auc_a"] != row["auc_a"]


def test_patients_are_the_unit():
    """Each prediction twice in one patient: p stays where single nodules had it, and does not fall."""
    numbers, patients = range(48), [n // 2 for n in range(48)]
    labels = np.repeat(LABELS, 2)
    runs = []
    for p in (ONE, OTHER):
        rows = predictions(FIXED, np.repeat(p, 2), labels, numbers=numbers, patients=patients)
        nodules = [nodule(n, patient=n // 2, malignant=int(labels[n])) for n in numbers]
        runs.append(held(record(), nodules=nodules, predictions=rows, scores=scores(rows)))
    row = compare_scores(*runs, match_nodules(*runs)).rows.iloc[0]
    assert (row["n"], row["n_patients"]) == (48, 24)
    assert row["p"] == pytest.approx(delong(LABELS, ONE, OTHER)[1], rel=1e-6)


def test_nodules_whose_label_changed_are_left_out():
    """Two labels of B are turned round."""
    turned = LABELS.copy()
    turned[:2] = 1 - turned[:2]
    row = compared(predictions(FIXED, ONE, LABELS), predictions(FIXED, OTHER, turned)).rows.iloc[0]
    assert (row["n"], row["n_labels_differ"]) == (22, 2)
    assert row["difference"] == pytest.approx(delong(LABELS[2:], ONE[2:], OTHER[2:])[0])


def test_the_choice_comes_first_and_holm_counts_the_tested():
    """Chosen inside, then the baseline, then the fixed one; labels dealt at random are not tested."""
    first = [row for key in (FIXED, VOLUME, CHOSEN, SHUFFLED) for row in predictions(key, ONE, LABELS)]
    second = [row for key in (FIXED, VOLUME, CHOSEN, SHUFFLED) for row in predictions(key, OTHER, LABELS)]
    found = compared(first, second).rows
    assert list(found["selection"]) == ["inside", "baseline", "baseline", "fixed"]
    tested = dict(zip(found["region"], found["p"].notna(), strict=True))
    assert tested == {"chosen": True, "volume": True, "shuffled-labels": False, "nodule": True}
    why = found.set_index("region")["why_no_test"]
    assert why["shuffled-labels"] == "its labels are dealt at random"
    assert found["p_holm"][0] == pytest.approx(min(1.0, 3 * found["p"][0]))


def test_configurations_of_one_run_are_listed():
    """FIXED is in both, the choice in A, the baseline in B."""
    first = predictions(FIXED, ONE, LABELS) + predictions(CHOSEN, ONE, LABELS)
    second = predictions(FIXED, ONE, LABELS) + predictions(VOLUME, ONE, LABELS)
    found = compared(first, second)
    assert len(found.rows) == 1
    assert found.only_a["segmenter"].tolist() == ["chosen"]
    assert found.only_b["region"].tolist() == ["volume"]
    assert found.changed


def test_other_keys_are_tested_too():
    """The same nodules under B's names give the same test."""
    second = predictions(FIXED, OTHER, LABELS, key="B")
    row = compared(predictions(FIXED, ONE, LABELS), second, key="B").rows.iloc[0]
    assert row["p"] == pytest.approx(delong(LABELS, ONE, OTHER)[1], abs=1e-9)


def test_two_data_sets_are_kept_apart():
    """A shared name is compared, one of A alone is listed."""
    first = predictions(FIXED, ONE, LABELS) + predictions(FIXED, OTHER, LABELS, dataset="second")
    found = compared(first, predictions(FIXED, ONE, LABELS))
    assert found.rows["dataset"].tolist() == ["generic"]
    assert found.only_a["dataset"].tolist() == ["second"]
    assert not found.rows["difference"].any()


def test_nodules_that_only_tested_the_models_are_tested_too():
    """Predictions of another workspace's nodules, which neither table of nodules holds."""
    elsewhere = range(100, 124)
    sides = []
    for p in (ONE, OTHER):
        rows = predictions(FIXED, ONE, LABELS) + predictions(FIXED, p, LABELS, numbers=elsewhere, dataset="outside")
        sides.append(run(rows))
    matching = match_nodules(*sides)
    assert len(matching.pairs) == 24
    rows = compare_scores(*sides, matching).rows.set_index("dataset")
    assert rows.loc["outside", "p"] == pytest.approx(delong(LABELS, ONE, OTHER)[1], abs=1e-9)
    assert rows.loc["generic", "difference"] == 0


def test_what_cannot_be_tested_says_why():
    """No predictions, no nodule in common, one class in common."""
    rows = predictions(FIXED, ONE, LABELS)
    one, bare = run(rows), run([], scored=predictions(FIXED, OTHER, LABELS))
    row = compare_scores(one, bare, match_nodules(one, bare)).rows.iloc[0]
    assert row["why_no_test"] == "a run has no table of predictions"
    assert np.isnan(row["difference"])
    assert row["auc_b"] != row["auc_a"]
    elsewhere = range(100, 124)
    apart = run(predictions(FIXED, ONE, LABELS, numbers=elsewhere), numbers=elsewhere)
    row = compare_scores(one, apart, match_nodules(one, apart)).rows.iloc[0]
    assert row["why_no_test"] == "no nodule of both was predicted"
    mixed = [0, 2, 4, *range(100, 121)]
    few = run(predictions(FIXED, ONE, LABELS, numbers=mixed), numbers=mixed)
    row = compare_scores(one, few, match_nodules(one, few)).rows.iloc[0]
    assert row["n_labels_differ"] + row["n"] == 3


def test_without_a_benchmark_nothing_is_compared():
    """A run that stopped at features."""
    one = run(predictions(FIXED, ONE, LABELS))
    bare = held(record(), nodules=[nodule(0)])
    assert compare_scores(one, bare, match_nodules(one, bare)) is None
