"""A writer that dies between any two of its writes never leaves anything that is taken for whole."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import small_run

from lungpipe.dicom.index import index_series
from lungpipe.dicom.source import digest
from lungpipe.nodule import Nodule
from lungpipe.scan import ScanJob


@pytest.mark.parametrize("stride", [151, pytest.param(1, marks=pytest.mark.slow)])
def test_a_writer_killed_at_every_step(tmp_path, make_ct, dicom_writer, stride):
    """Killed at each (or every 151st) change of the disk in turn, only whole artefacts stand, and the next run makes the rest."""
    volume, _, centre = make_ct((1.5, 1.0, 1.0), (16, 32, 32), 4.0)
    dicom_writer(tmp_path / "dicom", volume)
    series = index_series(tmp_path / "dicom").series[0]
    patient, series_uid = "P-AAAAAAAAAAAA", "S-AAAAAAAAAAAA"
    nodules = (Nodule(patient, series_uid, "N-AAAAAAAAAAAA", centre, (9.0,) * 3, 1),)
    files = series.files
    job = ScanJob("generic", "measured", patient, series_uid, files, series.geometry, nodules, digest(files))
    lung = small_run.settings(methods=("otsu",), radii_mm=(0,), clip="lung")
    (tmp_path / "job.pickle").write_bytes(pickle.dumps((job, lung)))
    script = Path(__file__).with_name("kill_writer.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "job.pickle"), str(tmp_path / "w"), str(stride)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["deaths"] > 60 // stride
