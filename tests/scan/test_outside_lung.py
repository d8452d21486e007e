"""Lungs from a program: its labels decide which lung a region keeps to, and its failures are exclusions."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from test_process import job_of, nodule, rows_of, settings

from lungpipe.dicom.index import index_series
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.scan import process_scan
from lungpipe.volume import CTVolume

#: Marks what is darker than -400 HU: 7 in the half of smaller x, 9 in the other; or nothing at all.
PROGRAM = """
import sys
import numpy as np
import SimpleITK as sitk
image = sitk.ReadImage(sys.argv[1])
hu = sitk.GetArrayFromImage(image)
labels = np.where(hu < -400, np.where(np.arange(hu.shape[2]) < hu.shape[2] // 2, 7, 9), 0).astype(np.uint8)
out = sitk.GetImageFromArray(labels * (sys.argv[3] == "well"))
out.CopyInformation(image)
sitk.WriteImage(out, sys.argv[2])
"""


@pytest.fixture
def job(tmp_path, dicom_writer):
    """A nodule that touches the middle of a block of lung."""
    hu = np.random.default_rng(5).normal(-850, 20, (40, 60, 60)).astype(np.int16)
    hu[18:23, 28:33, 24:29] = 40
    dicom_writer(tmp_path / "dicom", CTVolume(hu, Geometry(hu.shape, (1.0, 1.0, 1.0))))
    return job_of(index_series(tmp_path / "dicom").series[0], (nodule("A", (26.0, 30.0, 20.0), (5.0,) * 3),))


def lung(tmp_path, how: str = "well", **changes):
    """The section regions.lung for the program."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), "{input}", "{output}", how]
    parameters = {"command": command, "weights": [str(program)], "time_limit_s": 60.0}
    return {"method": "command", "right": (7,), "left": (9,), "parameters": parameters, **changes}


def test_regions_keep_to_the_lung_of_the_model(job, tmp_path):
    """A shell of 10 mm round a nodule 2 mm from the border between the model's lungs stays on its side of it."""
    chosen = settings(clip="lung", radii_mm=(10,), lung=lung(tmp_path))
    row = rows_of(process_scan(job, chosen, tmp_path / "w"), tmp_path / "w", "features").iloc[0]
    assert row["clipped_wall"] == row["clipped_fraction"]
    assert 0.25 < row["clipped_wall"] < 0.45
    assert process_scan(job, chosen, tmp_path / "w").made == {}
    assert chosen.lung_names()["right"] == [7]
    assert chosen.lung_names()["method"]["name"] == "command"


def test_a_model_that_marks_no_lung_excludes_features(job, tmp_path):
    """Its silence is an exclusion with a code, and the masks stay."""
    result = process_scan(job, settings(clip="lung", lung=lung(tmp_path, "empty")), tmp_path / "w")
    assert rows_of(result, tmp_path / "w", "exclusions")["code"].tolist() == ["no_lung_found"]
    assert len(rows_of(result, tmp_path / "w", "nodules")) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"right": ()}, "need the model's labels"),
        ({"left": (7,)}, "label 7 stands for the right lung and for the left"),
        ({"left": ("lobe",)}, "no label 'lobe' is known"),
        ({"method": "otsu", "parameters": {}}, "no model that labels a whole scan"),
        ({"method": "classical"}, "has none"),
    ],
)
def test_sections_that_cannot_work_are_refused(tmp_path, changes, message):
    """A side without labels, a label of both sides, and methods that label no scan stop the run before any work."""
    with pytest.raises(DatasetError, match=message):
        settings(clip="lung", lung=lung(tmp_path, **changes))
