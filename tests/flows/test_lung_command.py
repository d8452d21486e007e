"""The command ``lung``."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from flows.cli import main
from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume

#: Lungs of the chest are boxes of this size, ml.
LUNG_ML = 30 * 26 * 20 * 4.0 * 3.0 * 3.0 / 1000


@pytest.fixture
def chest():
    """A body with two boxes of lung; its x axis is stored from the patient's left to the right."""
    hu = np.full((40, 60, 80), -1000, np.int16)
    hu[:, 8:52, 6:74] = 40
    hu[5:35, 17:43, 12:32] = hu[5:35, 17:43, 48:68] = -850
    hu[5:8, 17:43, 12:32] = 40  # the left lung is a tenth shorter
    frame = Geometry(hu.shape, (4.0, 3.0, 3.0), (120.0, -90.0, 0.0), (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    return CTVolume(hu, frame)


@pytest.fixture
def image(tmp_path, chest):
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(to_sitk(chest.hu, chest.frame), str(path))
    return path


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lungpipe", "lung", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize("name", ["lungs.nii.gz", "lungs.nii", "lungs.nrrd"])
def test_a_mask_on_the_images_grid_is_written(monkeypatch, capsys, tmp_path, image, name):
    """Labels lie on the image's grid, 1 on the patient's right; volumes go to stderr and the path to stdout."""
    out = tmp_path / "new" / name
    assert run(monkeypatch, image, "--out", out) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out)
    assert "right lung" in said.err
    assert " ml" in said.err
    written, read = sitk.ReadImage(str(out)), sitk.ReadImage(str(image))
    assert written.GetSize() == read.GetSize()
    assert written.GetPixelID() == sitk.sitkUInt8
    assert np.allclose(written.GetDirection(), read.GetDirection())
    labels = sitk.GetArrayFromImage(written)
    assert (labels[20, 30, 22], labels[20, 30, 58], labels[20, 30, 40]) == (2, 1, 0)
    assert [p.name for p in out.parent.iterdir()] == [name]


def test_json_and_picture(monkeypatch, capsys, tmp_path, image):
    """--json gives volumes by side; --picture writes a PNG with the outlines in colour."""
    picture = tmp_path / "look.png"
    assert run(monkeypatch, image, "--out", tmp_path / "m.nrrd", "--picture", picture, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["right_ml"] == pytest.approx(LUNG_ML, rel=0.02)
    assert found["left_ml"] == pytest.approx(0.9 * LUNG_ML, rel=0.02)
    assert found["lungs_ml"] == pytest.approx(found["right_ml"] + found["left_ml"])
    assert found["airways_ml"] == 0
    assert (found["mask"], found["picture"]) == (str(tmp_path / "m.nrrd"), str(picture))
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(picture))).astype(int)
    assert np.any(np.ptp(pixels[..., :3], axis=-1) > 100)


def test_a_dicom_folder_is_read(monkeypatch, capsys, tmp_path, chest, dicom_writer):
    """A folder with one series gives the same volumes as the file."""
    dicom_writer(tmp_path / "dicom", chest)
    assert run(monkeypatch, tmp_path / "dicom", "--out", tmp_path / "m.nii.gz", "--json") == 0
    assert json.loads(capsys.readouterr().out)["right_ml"] == pytest.approx(LUNG_ML, rel=0.02)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "m.mha"], ".nii.gz, .nii or .nrrd"),
        (["--out", "m.nii.gz", "--picture", "p.jpg"], "written as .png"),
    ],
)
def test_wrong_names_are_told_before_any_work(monkeypatch, capsys, tmp_path, image, words, told):
    """A name of the wrong kind ends with exit 2 and one message, and no file."""
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, image, *words) == 2
    assert told in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".gz" and p.name != "key"] == []


def test_no_lung_and_no_image_are_wrong_input(monkeypatch, capsys, tmp_path):
    """An image without lungs, or none at all, ends with exit 2 and says so."""
    path = tmp_path / "wall.nii.gz"
    frame = Geometry((10, 20, 20), (3.0, 3.0, 3.0))
    sitk.WriteImage(to_sitk(np.full(frame.shape, 40, np.int16), frame), str(path))
    assert run(monkeypatch, path, "--out", tmp_path / "m.nii.gz") == 2
    assert "no aerated component" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "gone.nii.gz", "--out", tmp_path / "m.nii.gz") == 2
    assert "no image at" in capsys.readouterr().err
    assert not (tmp_path / "m.nii.gz").exists()


def test_help_has_an_example(monkeypatch, capsys):
    """--help says what is written and shows a call."""
    assert run(monkeypatch, "--help") == 0
    assert "Example: lungpipe lung" in capsys.readouterr().out
