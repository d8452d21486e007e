"""What a run would do: counted over a finished workspace, one that lacks something, and none."""

import csv
import json
from pathlib import Path

import pytest

from flows import cli
from flows.cohort import run_scans
from flows.config import load_config
from flows.plan import check_config, plan_run
from lungpipe.curate import curate_folder
from lungpipe.errors import DatasetError
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.space import require_room
from lungpipe.watching.state import State
from lungpipe.watching.watch import Watch

RECIPE = """
[cohort]
dicom = "{dicom}"
annotations = "nodules.csv"
[quality.verdicts]
not_hu = "warn"
no_lung = "warn"
lung_not_covered = "warn"
[segment]
methods = ["otsu", "kmeans"]
[regions]
radii_mm = [0, 3]
kinds = ["shell"]
clip = "none"
"""

KNN = ("benchmark.classifiers=['knn']", "benchmark.outer_folds=2", "benchmark.inner_folds=2")


@pytest.fixture
def recipe(small_archive, tmp_path):
    """What tests/small_run.py does, as a recipe."""
    archive, nodules = small_archive
    with (tmp_path / "nodules.csv").open("w", newline="") as stream:
        names = [
            "patient_id",
            "nodule_id",
            "series_uid",
            "x",
            "y",
            "z",
            "width_mm",
            "height_mm",
            "depth_mm",
            "malignant",
        ]
        rows = ([n.patient_id, n.nodule_id, n.series_uid, *n.centre_mm, *n.size_mm, n.malignant] for n in nodules)
        csv.writer(stream).writerows([names, *rows])
    (tmp_path / "recipe.toml").write_text(RECIPE.format(dicom=archive))
    return tmp_path / "recipe.toml"


@pytest.fixture
def planned(recipe, capsys):
    """Call the command; returns its JSON and its words."""

    def call(workspace, *changes):
        words = ["plan", str(recipe), "--workspace", str(workspace), *(w for c in changes for w in ("--set", c))]
        found = []
        for more in (["--json"], []):
            cli.app([*words, *more], standalone_mode=False)
            found.append(capsys.readouterr().out)
        return json.loads(found[0]), found[1]

    return call


def work(found):
    return {one["kind"]: one for one in found["work"]}


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_is_done_is_told_from_what_is_not(finished, planned):
    """Of a finished workspace nothing is left; without a record of one scan, that is; nothing is written."""
    workspace, _ = finished
    place = Place.at(workspace)
    before = everything(workspace)
    found, words = planned(workspace)
    assert everything(workspace) == before
    assert (found["scans"], found["nodules"], found["labelled"], found["rows"]) == (8, 8, 8, 8 * 2 * 2)
    assert (found["done"], found["begun"], found["fresh"], found["seconds"]) == (8, 0, 0, 0)
    assert {one["to_make"] for one in found["work"]} == {0}
    assert "scans: 8 done, 0 begun, 0 new" in words
    lost = next(iter(ledger.records(place, ledger.patients(place)[0], "masks")))
    ledger.forget(place, lost.ref)
    found, words = planned(workspace)
    assert (found["done"], found["begun"], found["fresh"]) == (7, 1, 0)
    kind = f"masks {lost.subject['segmenter']}"
    assert work(found)[kind]["to_make"] == 1
    assert work(found)[kind]["seconds"] > 0
    assert f"about {found['seconds'] / found['workers']:.0f} s with 2 workers" in words


def test_a_changed_setting_reaches_its_own_work(finished, planned):
    """Other radii are other features, at the cost that features had; masks stand."""
    found, _ = planned(finished[0], "regions.radii_mm=[0, 4]", *KNN)
    kinds = work(found)
    assert kinds["features otsu"]["to_make"] == kinds["features kmeans"]["to_make"] == 8
    assert kinds["masks otsu"]["to_make"] == kinds["volume"]["to_make"] == 0
    assert kinds["features otsu"]["n_bytes"] > 1000
    # Two segmenters with nodule, shell, box and shuffled voxels; volume, diameter and shuffled labels.
    assert found["configurations"] == 2 * 4 + 3
    assert found["rows"] == 8 * 2 * 4


def test_a_new_workspace_has_no_history(planned, tmp_path):
    """All is to be made, how long that takes is not made up, and the folder is not made either."""
    found, words = planned(tmp_path / "new")
    assert (found["done"], found["fresh"]) == (0, 8)
    assert found["seconds"] is None
    assert "no time can be told" in words
    assert not (tmp_path / "new").exists()


def test_scans_too_large_for_a_worker_are_counted(finished, planned):
    """Both figures are told, and what to change."""
    found, words = planned(finished[0], "run.memory_per_worker='100MiB'")
    assert found["too_large"] == 8
    assert found["scan_bytes"] > found["worker_bytes"] == 100 * 2**20
    assert "8 scans need more and would be left out: raise run.memory_per_worker" in words


def test_a_recipe_that_cannot_run_cannot_be_planned(planned, finished):
    """What would stop the run stops the plan, with the same words."""
    with pytest.raises(DatasetError, match="outer_folds"):
        planned(finished[0], "benchmark.outer_folds=9")


def test_a_full_disk_stops_a_run_before_its_first_scan(recipe, tmp_path, pseudonym_key, monkeypatch):
    """The room that scans need is asked for before they are begun; what is missing is told in figures."""
    config = load_config(recipe)
    spec, settings = check_config(config)
    plan = plan_run(config, spec, curate_folder(Path(config.cohort.dicom), config.quality.settings()))
    monkeypatch.setattr("lungpipe.store.space.free_bytes", lambda place: 1000)
    with pytest.raises(
        DatasetError, match=r"has 1000 bytes free, and 8 scans that are not stored yet need about 250\.0 KiB"
    ):
        run_scans("tcp://127.0.0.1:9", plan, settings, Place.at(tmp_path / "w"), 10.0, Watch(State("", "")))
    require_room(Place.at(tmp_path / "w"), 999, "some files")
