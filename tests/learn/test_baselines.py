"""What the headline is held against."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lungpipe.learn.baselines import (
    MEANING,
    PARTS,
    SIZES,
    baseline_keys,
    is_baseline,
    key_of,
    of_parts,
    shuffled_labels,
    size_matrix,
)
from lungpipe.learn.cohort import ConfigurationKey, labelled_cohort
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.models import Logistic
from lungpipe.learn.select import choose_inside
from lungpipe.learn.tables import score_table
from lungpipe.store.schemas import BASELINES


@pytest.fixture(scope="module")
def nodules():
    """Nodules whose malignant ones are larger, under two segmenters of which one lacks some."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    ids = pd.DataFrame({"patient_id": [f"p{k:02d}" for k in range(80)], "nodule_id": [f"n{k:02d}" for k in range(80)]})
    ids["malignant"], ids["dataset"] = labels, "d"
    one = ids.assign(segmenter="otsu", volume_mm3=np.exp(rng.normal(size=80) + 1.5 * labels), axial_mean_mm=5.0)
    return pd.concat([one, one.assign(segmenter="gmm", volume_mm3=one["volume_mm3"] * 3)[10:]], ignore_index=True)


@pytest.fixture(scope="module")
def cohort(nodules):
    return labelled_cohort(nodules, dataset="d")


def test_every_baseline_has_a_name_in_the_tables_and_a_meaning():
    """Names of the schema, of the code and of the page are the same."""
    assert set(BASELINES) == set(MEANING) == {*SIZES, *PARTS, "clinical", "ratings", "shuffled-labels"}


def test_size_is_the_median_over_segmenters(nodules, cohort):
    """One segmenter's own, or the mean of two, as logarithm; in the order of the cohort."""
    found = size_matrix(nodules, cohort, "volume")
    own = nodules[nodules["segmenter"] == "otsu"].set_index("nodule_id")["volume_mm3"]
    own = own.reindex(cohort.identity["nodule_id"])
    few = own.index < "n10"
    assert found[few, 0] == pytest.approx(np.log(own[few]))
    assert found[~few, 0] == pytest.approx(np.log(own[~few] * 2))


def test_size_alone_has_the_figure_of_its_ranks(nodules, cohort):
    """A classifier of one monotone column orders as the column does, fold by fold."""
    matrix = size_matrix(nodules, cohort, "volume")
    found = evaluate_configuration(matrix, cohort.labels, cohort.groups, Logistic((1.0,)), cohort.folds, 3, 0)
    for fold in cohort.folds:
        by_size = roc_auc_score(cohort.labels[fold.test], matrix[fold.test, 0])
        assert roc_auc_score(cohort.labels[fold.test], found.p[0, fold.test]) == pytest.approx(by_size)


def test_shuffled_labels_are_the_same_labels_in_another_order(cohort):
    """As many of each class, seeded, and not as they were."""
    one = shuffled_labels(cohort, 7)
    assert one.sum() == cohort.labels.sum()
    assert np.array_equal(one, shuffled_labels(cohort, 7))
    assert not np.array_equal(one, cohort.labels)
    assert not np.array_equal(one, shuffled_labels(cohort, 8))


def results_of(cohort, tables):
    return {
        key: evaluate_configuration(matrix, cohort.labels, cohort.groups, Logistic((0.1,)), cohort.folds, 3, 0)
        for key, matrix in tables.items()
    }


def test_parts_choose_among_their_own_regions(cohort):
    """Nodule, surroundings and controls are choices among their regions; what is not there has no row."""
    rng = np.random.default_rng(1)
    tell = 2.0 * cohort.labels[:, None]
    tables = {
        ConfigurationKey("otsu", "nodule", 0.0, "logistic"): rng.normal(size=(80, 3)),
        ConfigurationKey("otsu", "shell", 8.0, "logistic"): rng.normal(size=(80, 3)) + tell,
        ConfigurationKey("otsu", "box", 0.0, "logistic"): rng.normal(size=(80, 3)) + 9 * tell,
    }
    results = results_of(cohort, tables)
    parts = of_parts(results, cohort)
    assert set(parts) == {key_of(name, "chosen") for name in ("nodule-only", "surroundings-only", "box-without-mask")}
    shell = results[ConfigurationKey("otsu", "shell", 8.0, "logistic")]
    assert np.array_equal(parts[key_of("surroundings-only", "chosen")], shell.p)
    alone = {key: result for key, result in results.items() if key.region == "shell"}
    assert not of_parts(alone, cohort)  # it would be the choice itself
    # A control is never chosen, however well it does.
    fixed = {key: result for key, result in results.items() if not is_baseline(key)}
    inside = choose_inside(fixed, cohort.folds)
    assert {key.region for key in inside.keys} == {"shell"}
    scores = score_table(cohort, fixed, inside, {key: (cohort, p) for key, p in parts.items()})
    rows = scores[scores["selection"] == "baseline"].set_index("region")
    assert rows.loc["box-without-mask", "auc"] > 0.99
    assert rows.loc["surroundings-only", "auc"] == scores[scores["selection"] == "inside"]["auc"].item()
    assert abs(rows.loc["nodule-only", "auc"] - 0.5) < 0.2
    assert rows["radius_mm"].isna().all()


def test_keys_of_own_configurations():
    """Sizes by the plain classifier, labels dealt anew by the first one."""
    keys = baseline_keys([("otsu", "nodule", 0.0)], ("knn", "logistic"))
    assert [(key.region, key.classifier) for key in keys] == [
        ("volume", "logistic"), ("diameter", "logistic"), ("shuffled-labels", "knn"),
    ]  # fmt: skip
    assert all(is_baseline(key) for key in keys)
