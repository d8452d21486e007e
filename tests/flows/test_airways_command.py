"""The command ``airways``."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from tree_scene import TUBES, expected_lengths, scan
from typer.testing import CliRunner

from flows.cli import app
from lungpipe.dicom.read import to_sitk
from lungpipe.errors import DatasetError, RegionError


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The known tree in a body of soft tissue, trachea and main bronchi in a mediastinum."""
    volume, lungs, lumen = scan()
    near = ndimage.distance_transform_edt(~lungs.airways.voxels, sampling=volume.frame.spacing_mm) <= 9.0
    inside = np.where(near & ~lumen & (volume.hu < -100), 40, volume.hu)
    body = np.pad(inside, ((0, 0), (6, 6), (6, 6)), constant_values=40)
    folder = tmp_path_factory.mktemp("airways")
    frame = volume.frame.crop((0, -6, -6), body.shape)
    sitk.WriteImage(to_sitk(body.astype(np.int16), frame), str(folder / "ct.nii.gz"))
    return folder / "ct.nii.gz", lumen


def run(*words):
    return CliRunner().invoke(app, ["airways", *map(str, words)], catch_exceptions=False)


@pytest.mark.slow
def test_branches_and_mask_are_written(image, tmp_path):
    """The mask lies on the image's grid; the table has a row a branch, the trachea first, with lengths in mm."""
    path, lumen = image
    out, table = tmp_path / "tree.nii.gz", tmp_path / "branches.csv"
    said = json.loads(run(path, "--out", out, "--branches", table, "--json").stdout)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))[:, 6:-6, 6:-6] > 0
    assert 2 * np.count_nonzero(found & lumen) / (found.sum() + lumen.sum()) > 0.9
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == said["n_branches"] == len(TUBES)
    assert (rows[0]["parent"], rows[0]["generation"], rows[0]["branching_angle_deg"]) == ("", "0", "")
    assert sum(float(row["length_mm"]) for row in rows) == pytest.approx(sum(expected_lengths()), rel=0.05)


def test_wrong_words_and_scans_are_told(image, tmp_path):
    """Names that say no format are refused before any work; a scan without lungs is told."""
    path, _ = image
    with pytest.raises(DatasetError, match=r"written as \.nii\.gz"):
        run(path, "--out", tmp_path / "tree.png")
    with pytest.raises(DatasetError, match=r"written as \.csv"):
        run(path, "--out", tmp_path / "tree.nrrd", "--branches", tmp_path / "b.json")
    sitk.WriteImage(sitk.Image(20, 20, 20, sitk.sitkInt16), str(tmp_path / "empty.nii"))
    with pytest.raises(RegionError, match="no aerated component"):
        run(tmp_path / "empty.nii", "--out", tmp_path / "tree.nrrd")
