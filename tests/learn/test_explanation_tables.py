"""The explanation of a finished benchmark: its tables, its record, and what becomes of both when something changes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lungpipe.dicom.index import one_after_another
from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.learn import explanation
from lungpipe.learn.cohort import ConfigurationKey, feature_columns
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.explanation import OUTPUTS, Explained, write_explanation
from lungpipe.learn.scores import write_scores
from lungpipe.lineage.withdraw import withdraw
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace


def backwards(function, items):
    """A mapper whose results come in another order, as those of workers do."""
    yield from [(k, function(items[k])) for k in reversed(range(len(items)))]


@pytest.fixture(scope="module")
def scored(finished_run, tmp_path_factory):
    """A finished workspace with logistic regression and XGBoost scored anew, to copy and not to change."""
    folder = tmp_path_factory.mktemp("scored") / "workspace"
    shutil.copytree(finished_run[0] / "workspace", folder)
    place = Place.at(folder)
    evaluation = Evaluation("generic", "malignant", "patient_id", ("logistic", "xgboost"), 2, 2, 2, 7)
    keys = [
        ConfigurationKey("otsu", region, radius_mm, name)
        for region, radius_mm, name in (("nodule", 0.0, "logistic"), ("shell", 3.0, "xgboost"))
    ]
    found = {key: evaluate_recorded(place, key, evaluation) for key in keys}
    tables = tuple(ref for ref in ledger.refs(place, ledger.COHORT) if ref.startswith("cohort/table-"))
    return folder, evaluation, found, write_scores(place, evaluation, found, tables).ref


@pytest.fixture
def benchmark(scored, tmp_path):
    """Place of a copy, evaluation, results and the scores' reference."""
    shutil.copytree(scored[0], tmp_path / "workspace")
    return Place.at(tmp_path / "workspace"), *scored[1:]


def without_choice(found):
    return {key: replace(one, result=replace(one.result, inner_auc=np.full(4, np.nan))) for key, one in found.items()}


def table(place, name):
    return pd.read_parquet(place.path(f"tables/{name}.parquet"))


def test_tables_hold_every_feature_and_every_nodule(benchmark):
    """One row a feature with its cluster, one a nodule with neighbours that are other nodules of other patients."""
    place, evaluation, found, scores = benchmark
    write_explanation(place, scores, {evaluation: found}, one_after_another)
    importance, neighbours = table(place, "importance"), table(place, "neighbours")
    assert set(importance["feature"]) == set(feature_columns(table(place, "features")))
    assert len(set(importance[["segmenter", "region", "radius_mm", "classifier"]].itertuples(index=False))) == 1
    by_cluster = importance.groupby("cluster")
    assert (by_cluster[["cluster_importance", "cluster_centre"]].nunique() <= 1).all(axis=None)
    centres = importance.set_index("feature").loc[importance["cluster_centre"], "cluster"]
    assert (centres.to_numpy() == importance["cluster"].to_numpy()).all()
    alone = importance[by_cluster["feature"].transform("size") == 1]
    assert alone["importance"].tolist() == alone["cluster_importance"].tolist()
    assert importance["mean_abs_shap"].notna().all()
    nodules = table(place, "nodules")
    owner = nodules.drop_duplicates("nodule_id").set_index("nodule_id")["patient_id"]
    label = nodules.drop_duplicates("nodule_id").set_index("nodule_id")["malignant"]
    assert set(neighbours["nodule_id"]) == set(owner.index)
    for row in neighbours.itertuples():
        near = json.loads(row.neighbours)
        assert 1 <= len(near) <= 5
        assert all(owner[one["nodule_id"]] != row.patient_id for one in near)
        assert all(label[one["nodule_id"]] == one["malignant"] for one in near)
        assert [one["distance"] for one in near] == sorted(one["distance"] for one in near)


def test_it_is_made_once_and_is_the_same_whatever_the_order(benchmark):
    """A record that stands is reused; workers that finish in another order give the same bytes."""
    place, evaluation, found, scores = benchmark
    first = write_explanation(place, scores, {evaluation: found}, one_after_another)
    assert not first.reused
    content = [place.read(path) for path in OUTPUTS]
    again = write_explanation(place, scores, {evaluation: found}, None)  # nothing is asked of any worker
    assert (again.ref, again.reused) == (first.ref, True)
    place.write(OUTPUTS[0], b"PAR1")  # damaged: made again
    assert write_explanation(place, scores, {evaluation: found}, backwards) == Explained(first.ref, reused=False)
    assert [place.read(path) for path in OUTPUTS] == content
    kinds = {finding.kind for finding in verify_workspace(place)}
    assert not kinds & {"wrong_table", "damaged", "orphan"}, kinds


def test_what_cannot_be_explained_leaves_no_old_tables_and_the_scores_alone(benchmark, monkeypatch):
    """A fold that fails is told; what explained other results is gone, record and tables, and the scores are as they were."""
    place, evaluation, found, scores = benchmark
    without = {evaluation: without_choice(found)}
    first = write_explanation(place, scores, without, None).ref
    before = place.read("tables/scores.parquet")
    monkeypatch.setattr(explanation, "VERSION", "another")

    def fails(function, items):
        raise LungpipeError("fold 0")
        yield

    with pytest.raises(LungpipeError, match="fold 0"):
        write_explanation(place, scores, {evaluation: found}, fails)
    assert not any(place.exists(path) for path in OUTPUTS)
    assert not [ref for ref in ledger.refs(place, ledger.COHORT) if "/explanation-" in ref]
    assert place.read("tables/scores.parquet") == before
    assert write_explanation(place, scores, without, None).ref != first  # another version is another explanation


def test_results_that_the_models_do_not_give_are_refused(benchmark):
    """Recorded predictions that were made with other features are not explained by models that look at these."""
    place, evaluation, found, scores = benchmark
    key, one = next(iter(found.items()))
    path = f"parts/{one.ref.split('/')[1]}/result.json"
    values = json.loads(place.read(path))
    values["p"] = [[p * 0.5 for p in row] for row in values["p"]]
    place.write(path, json.dumps(values).encode())
    with pytest.raises(DatasetError, match="Fitted again"):
        write_explanation(place, scores, {evaluation: {key: one}}, one_after_another)


def test_without_a_choice_the_tables_are_empty(benchmark):
    """Where no fold could choose there is nothing to explain, which is recorded too."""
    place, evaluation, found, scores = benchmark
    assert write_explanation(place, scores, {evaluation: without_choice(found)}, None).ref
    assert len(table(place, "importance")) == len(table(place, "neighbours")) == 0


def test_a_withdrawn_patient_is_no_neighbour_either(benchmark):
    """The tables name nodules of other patients, so they go as a whole when one is withdrawn."""
    place, evaluation, found, scores = benchmark
    write_explanation(place, scores, {evaluation: without_choice(found)}, None)
    withdraw(place, table(place, "nodules")["patient_id"].iloc[0])
    assert not any(place.exists(path) for path in OUTPUTS)
    assert not [ref for ref in ledger.refs(place, ledger.COHORT) if "/explanation-" in ref]
