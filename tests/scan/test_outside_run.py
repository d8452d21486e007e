"""A run whose masks come from a program: what is recorded of it, and what is made again when it changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import small_run

from flows.plan import check_config, recipe_of
from flows.sections import RunConfig
from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table

MODEL = Path(__file__).parents[1] / "segment" / "outside_model.py"


def parameters(folder):
    """The program with weights of its own, below a folder whose name must not leave this machine."""
    weights = folder / "MUSTERMANN" / "weights.bin"
    weights.parent.mkdir(exist_ok=True)
    if not weights.exists():
        weights.write_bytes(b"first")
    argv = [sys.executable, str(MODEL), "{input}", "{output}"]
    return {"command": {"command": argv, "weights": [str(weights)], "labels": [2], "time_limit_s": 60.0}}, weights


@pytest.mark.slow
def test_a_program_gives_the_masks_of_a_run(tmp_path, small_archive, finished):
    """Its masks become rows and features; no folder of this machine is recorded; other weights make masks anew."""
    given, weights = parameters(tmp_path)
    workspace = finished[0]

    def masks_made():
        """How many artefacts of masks each scan got anew."""
        chosen = small_run.settings(methods=("otsu", "command"), parameters=given)
        results = small_run.run(*small_archive, workspace, chosen).results
        return {sum(n for kind, n in result.made.items() if kind.startswith("masks")) for result in results}

    assert masks_made() == {1}  # those of otsu are there
    nodules = read_table(Place.at(workspace), "tables/nodules.parquet")
    by_method = nodules.groupby("segmenter")["volume_mm3"].agg(list)
    assert len(by_method["command"]) == small_run.PATIENTS
    for ours, theirs in zip(by_method["otsu"], by_method["command"], strict=True):
        assert theirs == pytest.approx(ours, rel=0.25)
    for path in workspace.rglob("*"):
        if path.is_file():
            assert b"MUSTERMANN" not in path.read_bytes(), path
    assert masks_made() == {0}
    weights.write_bytes(b"second")
    assert masks_made() == {1}


def recipe(tmp_path, given, **run):
    """A recipe that asks for the program."""
    (tmp_path / "dicom").mkdir()
    return RunConfig.model_validate(
        {
            "cohort": {"dataset": "generic", "dicom": str(tmp_path / "dicom")},
            "segment": {"methods": ["command"], "parameters": given},
            "run": run,
        }
    )


def test_paths_of_programs_are_not_in_the_recorded_recipe(tmp_path):
    """The recipe in a record says what was asked for, without the folders of the machine."""
    given, _ = parameters(tmp_path)
    recorded = recipe_of(recipe(tmp_path, given))["segment"]["parameters"]["command"]
    assert str(tmp_path) not in str(recorded)
    assert recorded["labels"] == [2]


def test_a_limit_beyond_that_of_the_scan_is_refused(tmp_path):
    """A program that may run longer than its scan would take the scan down with it, which is said before any work."""
    given, _ = parameters(tmp_path)
    given["command"]["time_limit_s"] = 700.0
    config = recipe(tmp_path, given)
    with pytest.raises(DatasetError, match=r"time_limit_s is 700 s, and run.scan_timeout_s of 600 s"):
        check_config(config)
    check_config(config.model_copy(update={"run": config.run.model_copy(update={"scan_timeout_s": 800})}))
