"""What is known without features: clinical columns and ratings as baselines, learned from training rows alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from table_workspace import write_tables

from lungpipe.errors import DatasetError
from lungpipe.learn.baselines import CLINICAL, RATINGS, baseline_keys, key_of
from lungpipe.learn.clinical import ClinicalLogistic, encoded, rating_columns
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.external import External, evaluate_external
from lungpipe.store.tables import read_table

DESIGN = Evaluation("generic", "malignant", "patient_id", ("logistic",), 3, 2, 1, 7, clinical=("Age", "sex"))


def known(seed, *, age=12.0, spiculation=2.0, n=60):
    """Ages and ratings that follow the label, and a sex that does not; some of each are missing."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, 2))

    def values(k):
        y = k % 2
        return {
            "clinical_age": np.nan if k % 7 == 0 else 60 + age * y + 6 * noise[k, 0],
            "clinical_sex": ("F", "M", "")[k % 3],
            "rating_spiculation": np.nan if k % 9 == 0 else 2 + spiculation * y + noise[k, 1],
            "rating_margin": 3.0,
        }

    return values


def auc(result, y):
    here = np.isfinite(result.p[0])
    p, y = result.p[0][here], np.asarray(y)[here]
    pairs = p[y == 1][:, None] - p[y == 0]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sixty nodules whose patients' age and whose spiculation tell."""
    return write_tables(tmp_path_factory.mktemp("own"), tells=(), nodule=known(0))


def labels(place, design=DESIGN):
    return design.cohort(read_table(place, "tables/nodules.parquet")).labels


def test_a_planted_age_and_a_planted_rating_are_found(place, tmp_path):
    """Each baseline has the figure of what was planted; without it, about a half, and nothing else in the table helps."""
    for name in (CLINICAL, RATINGS):
        assert auc(evaluate_recorded(place, key_of(name, "logistic"), DESIGN).result, labels(place)) > 0.8
    blank = write_tables(tmp_path, tells=("nodule",), nodule=known(0, age=0.0, spiculation=0.0))
    for name in (CLINICAL, RATINGS):
        assert abs(auc(evaluate_recorded(blank, key_of(name, "logistic"), DESIGN).result, labels(blank)) - 0.5) < 0.25


def test_a_nodule_of_which_nothing_is_known_has_no_prediction(tmp_path):
    """Others lend it nothing; one of which something is known is imputed."""

    def values(k):
        return {"clinical_age": np.nan, "clinical_sex": ""} if k == 4 else known(0)(k)

    place = write_tables(tmp_path, nodule=values)
    found = evaluate_recorded(place, key_of(CLINICAL, "logistic"), DESIGN).result
    nothing = {4, 14, 35, 56}  # every seventh has no age, every third no sex
    assert int(np.isnan(found.p).sum()) == len(nothing)


def test_what_is_missing_is_imputed_from_training_rows():
    """A missing number counts as the training median, a missing category as the commonest, an unknown one as none of them."""
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=40), rng.integers(0, 3, 40)])
    x[:30, 1] = np.where(x[:30, 1] == 2, 1, x[:30, 1])  # the last category is in no training row
    y = (x[:30, 0] + x[:30, 1] > 0.5).astype(int)
    model = ClinicalLogistic((False, True)).pipeline(0).fit(x[:30], y)
    median, commonest = np.median(x[:30, 0]), np.bincount(x[:30, 1].astype(int)).argmax()
    asked = np.array([[np.nan, 1.0], [median, 1.0], [0.3, np.nan], [0.3, commonest], [0.3, 2.0]])
    p = model.predict_proba(asked)[:, 1]
    assert p[0] == pytest.approx(p[1])
    assert p[2] == pytest.approx(p[3])
    # A category that was not there has none of the columns that categories were parted into.
    parted = model[:-1].transform(asked)
    plain = model.named_steps["scale"].transform([[0.3, 0.0, 0.0]])
    np.testing.assert_allclose(parted[4], plain[0])


def test_categories_mean_the_same_in_every_workspace():
    """A category has one number over all frames, whatever each of them holds; numbers and text do not mix."""
    frames = [pd.DataFrame({"clinical_sex": ["M", "F", ""]}), pd.DataFrame({"clinical_sex": ["F", "other", "M"]})]
    matrix, categories = encoded(frames)
    assert categories == (True,)
    np.testing.assert_array_equal(matrix[:, 0], [1, 0, np.nan, 0, 2, 1])
    with pytest.raises(DatasetError, match="numbers in one workspace and text in another"):
        encoded([frames[0], pd.DataFrame({"clinical_sex": [0.0, 1.0]})])


def test_both_are_tested_abroad(place, tmp_path):
    """A model of age learned at home does as well abroad; a workspace without the columns is told of, ratings just lack."""
    there = write_tables(tmp_path / "b", 40, first=500, seed=3, tells=(), nodule=known(5, n=40))
    external = [External("b", str(there), "generic")]
    found = evaluate_external(place, key_of(CLINICAL, "logistic"), DESIGN, external).result
    y = np.concatenate([labels(place), external[0].cohort(DESIGN).labels])
    assert auc(found, y) > 0.75
    bare = [External("c", str(write_tables(tmp_path / "c", 40, first=900)), "generic")]
    with pytest.raises(DatasetError, match="lacks clinical_age, clinical_sex"):
        evaluate_external(place, key_of(CLINICAL, "logistic"), DESIGN, bare)
    assert np.isnan(evaluate_external(place, key_of(RATINGS, "logistic"), DESIGN, bare).result.p).all()


def test_they_are_asked_for_where_they_are(place):
    """Keys of both baselines; a column of ratings without any value is none."""
    keys = baseline_keys([("otsu", "nodule", 0.0)], ("knn",), clinical=True, ratings=True)
    assert [key.region for key in keys] == ["volume", "diameter", CLINICAL, RATINGS, "shuffled-labels"]
    nodules = read_table(place, "tables/nodules.parquet")
    assert rating_columns(nodules) == ["rating_spiculation", "rating_margin"]
    assert rating_columns(nodules.assign(rating_margin=np.nan)) == ["rating_spiculation"]


def test_other_configurations_keep_their_records(place):
    """Naming other clinical columns makes that baseline anew, and nothing else."""
    volume, clinical = key_of("volume", "logistic"), key_of(CLINICAL, "logistic")
    evaluate_recorded(place, volume, DESIGN)
    evaluate_recorded(place, clinical, DESIGN)
    fewer = replace(DESIGN, clinical=("Age",))
    assert evaluate_recorded(place, volume, fewer).reused
    assert not evaluate_recorded(place, clinical, fewer).reused
