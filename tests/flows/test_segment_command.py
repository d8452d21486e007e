"""The command ``segment``."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from flows.cli import main
from lungpipe.dicom.read import to_sitk


@pytest.fixture
def image(tmp_path, make_ct):
    """A ball of 6 mm in a NIfTI file, and its LPS centre."""
    volume, truth, centre = make_ct()
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(to_sitk(volume.hu, volume.frame), str(path))
    return path, truth, centre


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lungpipe", "segment", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


def overlap(path, truth):
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
    return 2 * np.count_nonzero(found & truth.voxels) / (found.sum() + truth.voxels.sum())


def text(values):
    return ",".join(f"{v:.2f}" for v in values)


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_a_nodule_is_segmented_from_one_prompt(monkeypatch, capsys, tmp_path, image, prompt):
    """A point or a box gives a mask on the image's own grid, its volume and its verdict."""
    path, truth, centre = image
    out = tmp_path / "mask.nii.gz"
    words = [f"--point={text(centre)}"] if prompt == "point" else [f"--box={text((*centre, 12, 12, 12))}"]
    assert run(monkeypatch, path, *words, "--out", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert overlap(out, truth) > 0.9
    assert found["volume_mm3"] == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.1)
    assert found["axial_long_mm"] == pytest.approx(12, abs=1)
    assert found["verdict"] == "accept"
    assert list(found["codes"]) == (["found_extent"] if prompt == "point" else [])
    written, read = sitk.ReadImage(str(out)), sitk.ReadImage(str(path))
    assert written.GetSize() == read.GetSize()
    assert np.allclose(written.GetOrigin(), read.GetOrigin())


def test_clicks_and_steps_are_passed_on(monkeypatch, capsys, tmp_path, image):
    """A click outside takes voxels away; a misspelt step is answered with the nearest one."""
    path, _, (x, y, z) = image
    words = (path, f"--box={text((x, y, z, 12, 12, 12))}", "--out", tmp_path / "m.nrrd")
    run(monkeypatch, *words, "--json")
    whole = json.loads(capsys.readouterr().out)["volume_mm3"]
    assert run(monkeypatch, *words, f"--outside={text((x + 4.5, y, z))}", "--set", "holes=false", "--json") == 0
    assert json.loads(capsys.readouterr().out)["volume_mm3"] < 0.97 * whole
    assert run(monkeypatch, *words, "--set", "hole=false") == 2
    assert "did you mean 'holes'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "either --box"),
        (["--point=1,2"], "expected 3 numbers"),
        (["--box=1,2,3,0,5,5"], "sides must be positive"),
        (["--point=900,0,0"], "the centre falls on voxel"),
        (["--point=0,0,0", "--method", "otsuu"], "no segmenter named 'otsuu'"),
    ],
)
def test_wrong_use_is_one_line(monkeypatch, capsys, tmp_path, image, words, told):
    """Every mistake ends with exit 2 and one message, and no file."""
    assert run(monkeypatch, image[0], *words, "--out", tmp_path / "m.nii.gz") == 2
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "m.nii.gz").exists()
