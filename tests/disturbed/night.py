"""What an undisturbed run of a small cohort comes to, and ways to look at a run from outside while it goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from prefect.settings import PREFECT_API_URL

from lungpipe.store import ledger
from lungpipe.store.place import Place

PATIENTS = 12
HEADER = "patient_id,nodule_id,series_uid,x,y,z,width_mm,height_mm,depth_mm,malignant"
RECIPE = """
[cohort]
dicom = "dicom"
annotations = "nodules.csv"
[segment]
methods = ["otsu", "kmeans"]
[regions]
radii_mm = [0, 3]
kinds = ["shell"]
[benchmark]
classifiers = ["knn"]
outer_folds = 2
inner_folds = 2
[run]
scan_timeout_s = 120
memory_per_worker = "2GiB"
"""
#: Runs the flow in a process of its own, without the command line's own words.
PROGRAM = """
import sys
from flows.cli import _prefect_environment
_prefect_environment()
from flows.cohort import cohort
if __name__ == "__main__":
    cohort(*sys.argv[1:3])
"""


@dataclass(frozen=True)
class Undisturbed:
    """What a run came to that nothing befell, and how long it took."""

    features: pd.DataFrame
    seconds: float


def table(workspace, name) -> pd.DataFrame:
    return pd.read_parquet(Path(workspace) / "tables" / f"{name}.parquet")


def assert_as_undisturbed(workspace, undisturbed) -> None:
    """Features are identical, and every scan is in them; nothing was left out."""
    pd.testing.assert_frame_equal(table(workspace, "features"), undisturbed.features, check_exact=True)
    assert undisturbed.features["series_uid"].nunique() == PATIENTS
    assert set(table(workspace, "series")["series_uid"]) == set(undisturbed.features["series_uid"])
    assert not len(table(workspace, "exclusions"))


def finished(workspace) -> set[str]:
    """Patients whose features by both segmenters are recorded: their scan is done."""
    place = Place.at(workspace)
    found = {patient: ledger.refs(place, patient) for patient in ledger.patients(place)}
    return {patient for patient, refs in found.items() if sum("/features-" in ref for ref in refs) == 2}


def processed(workspace) -> int:
    """Scans on which the last run had any work."""
    return int(json.loads((Path(workspace) / "run.json").read_text())["scans"]["processed"])


def wait_until(condition, within_s: float = 240.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def start_run(recipe, workspace, program: str = PROGRAM, *more: str, **environment: str) -> subprocess.Popen[str]:
    """Run the flow in a process of its own, with the server of the tests."""
    known = {"PREFECT_API_URL": PREFECT_API_URL.value(), **environment}
    variables = {**os.environ, **{name: value for name, value in known.items() if value}}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(recipe), str(workspace), *more],
        env=variables,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
