"""A small cohort with every kind of bad case in it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lungpipe.volume import CTVolume

RECIPE = """
[cohort]
dicom = "dicom"
annotations = "nodules.csv"
[segment]
methods = ["otsu", "annotated"]
[regions]
radii_mm = [0, 3]
kinds = ["grown", "shell"]
[benchmark]
classifiers = ["logistic", "knn"]
outer_folds = 2
inner_folds = 2
"""


@dataclass(frozen=True)
class SmallCohort:
    folder: Path
    recipe: Path
    uids: dict[str, str]


def write_cohort(folder: Path, make_ct, dicom_writer, *, broken: bool) -> SmallCohort:
    """Eight sound patients; with ``broken`` also one of each bad case."""
    uids, rows = {}, []

    def add(patient, volume, centre, malignant, **options):
        uids[patient] = dicom_writer(folder / "dicom" / patient, volume, patient_id=patient, **options)
        x, y, z = centre
        rows.append([patient, f"{patient}-nodule", uids[patient], x, y, z, 11, 11, 11, malignant])

    for i in range(8):
        volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0 + 0.1 * i, seed=i)
        add(f"Mustermann{i}", volume, centre, i % 2)
    if broken:
        volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0, seed=99)
        x, y, z = centre
        add("Outside", volume, (x + 300, y, z), 0)
        add("Gap", volume, centre, 0, skip=(9,))
        flat = np.full(volume.shape, -850, np.int16)
        flat[:, :, :8] = 40  # a wall far from the nodule: the image is a plausible CT
        add("Constant", CTVolume(flat, volume.frame), centre, 0)
        add("Truncated", volume, centre, 0)
        victim = sorted((folder / "dicom" / "Truncated").iterdir())[7]
        victim.write_bytes(victim.read_bytes()[:-100])
        rows.append(["Ghost-Patient", "Ghost-nodule", "1.2.3.4", x, y, z, 11, 11, 11, 0])
    with (folder / "nodules.csv").open("w", newline="") as stream:
        header = [
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
        csv.writer(stream).writerows([header, *rows])
    (folder / "recipe.toml").write_text(RECIPE)
    return SmallCohort(folder, folder / "recipe.toml", uids)


@pytest.fixture(scope="session")
def sound_cohort(tmp_path_factory, make_ct, dicom_writer):
    return write_cohort(tmp_path_factory.mktemp("sound"), make_ct, dicom_writer, broken=False)


@pytest.fixture(scope="session")
def broken_cohort(tmp_path_factory, make_ct, dicom_writer):
    return write_cohort(tmp_path_factory.mktemp("broken"), make_ct, dicom_writer, broken=True)
