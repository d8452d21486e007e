"""The commands ``insert-lesion`` and ``inpaint-lesion``."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from lung_block import ball
from scipy import ndimage

from data_catalog.phantom import candidates as pool
from flows.synthesis_commands import inpaint_lesion, insert_lesion
from lungpipe.dicom.read import read_image, to_sitk
from lungpipe.errors import DatasetError, GeometryError, RegionError
from lungpipe.geometry import Geometry

FRAME = Geometry((44, 70, 90), (3.0, 2.4, 2.4), (-108.0, -84.0, -60.0))


@pytest.fixture
def image(tmp_path):
    """A body with two boxes of lung of -850 HU and noise of 25 HU."""
    hu = np.full(FRAME.shape, -1000.0)
    hu[:, 6:64, 5:85] = 40
    hu[5:39, 14:56, 10:40] = hu[5:39, 14:56, 50:80] = -850
    hu = ndimage.gaussian_filter(hu, (0.3, 0.4, 0.4)) + np.random.default_rng(0).normal(0, 25, hu.shape)
    path = tmp_path / "ct.nii.gz"
    sitk.WriteImage(to_sitk(np.rint(hu).astype(np.int16), FRAME), str(path))
    return path


@pytest.fixture
def shape_file(tmp_path):
    """The mask of an ellipsoid of 12 x 12 x 9 mm half axes."""
    frame = Geometry((16, 30, 30), (2.0, 1.2, 1.2))
    z, y, x = np.indices(frame.shape)
    inside = ((z - 8) * 2 / 9) ** 2 + ((y - 15) * 1.2 / 12) ** 2 + ((x - 15) * 1.2 / 12) ** 2 < 1
    path = tmp_path / "shape.nrrd"
    sitk.WriteImage(to_sitk(inside.astype(np.uint8), frame), str(path))
    return path


def run(*words):
    """Run a command as the command line does, and let its errors through."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(insert_lesion)
    app.command()(inpaint_lesion)
    app([str(word) for word in words], standalone_mode=False)


def test_a_lesion_goes_in_and_comes_out_again(tmp_path, capsys, image, shape_file):
    """Image, mask and record lie on the image's grid and say SIMULATED; inpainting by that mask brings the lung back."""
    out, mask = tmp_path / "new" / "simulated.nii.gz", tmp_path / "new" / "lesion.nii.gz"
    run("insert-lesion", image, "--out", out, "--mask", mask, "--shape", shape_file, "--seed", 2, "--margin-mm", 2)
    assert capsys.readouterr().out.strip() == str(out)
    record = json.loads((tmp_path / "new" / "simulated.nii.gz.json").read_text())
    (before, grid), (after, same), (labels, third) = read_image(image), read_image(out), read_image(mask)
    assert grid.mismatch(same) is None
    assert grid.mismatch(third) is None
    inside = labels > 0
    assert record["simulated"].startswith("SIMULATED")
    assert str(tmp_path) not in json.dumps(record)
    assert (record["seed"], record["n_voxels"], record["place"]) == (2, np.count_nonzero(inside), "drawn")
    assert record["volume_mm3"] == pytest.approx(4 / 3 * np.pi * 12 * 12 * 9, rel=0.06)
    assert grid.to_lps(np.argwhere(inside).mean(axis=0)) == pytest.approx(record["centre_lps_mm"], abs=0.5)
    assert record["noise_hu"] == pytest.approx(25, rel=0.1)
    deep = ndimage.binary_erosion(inside)
    assert after[deep].mean() == pytest.approx(record["look"]["hu"], abs=15)
    assert before[inside].mean() == pytest.approx(-850, abs=5)
    assert "SIMULATED" in sitk.ReadImage(str(out)).GetMetaData("descrip")
    back = tmp_path / "back.mha"
    run("inpaint-lesion", out, mask, "--out", back, "--margin-mm", 5, "--json")
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((tmp_path / "back.mha.json").read_text())
    assert said["mean_hu"]["before"] > -200
    assert said["mean_hu"]["after"] == pytest.approx(-850, abs=10)
    assert said["sd_hu"]["after"] == pytest.approx(25, rel=0.15)
    filled, _ = read_image(back)
    assert np.count_nonzero(filled != after) == said["n_changed"]
    # Within the margin and a voxel of the lesion's own blur, so that nothing of the lesion is left.
    assert np.abs(filled.astype(float) - before)[~ndimage.binary_dilation(inside, iterations=4)].max() == 0
    assert "SIMULATED" in sitk.ReadImage(str(back)).GetMetaData("ITK_FileNotes")


def test_a_point_and_hu_are_taken_as_given(tmp_path, image, shape_file):
    """--point puts the shape's centre there, --hu says its mean; the same words write the same image again."""
    place = FRAME.to_lps((21, 34, 64))
    words = ("--shape", shape_file, f"--point={','.join(f'{v:.3f}' for v in place)}", "--hu", -500)
    for name in ("one", "two"):
        run(
            "insert-lesion", image, "--out", tmp_path / f"{name}.nrrd", "--mask", tmp_path / f"{name}-mask.nrrd", *words
        )
    one, two = ((tmp_path / f"{name}.nrrd").read_bytes() for name in ("one", "two"))
    assert one == two
    labels, grid = read_image(tmp_path / "one-mask.nrrd")
    assert grid.to_lps(np.argwhere(labels).mean(axis=0)) == pytest.approx(place, abs=0.3)
    hu, _ = read_image(tmp_path / "one.nrrd")
    assert hu[ndimage.binary_erosion(labels > 0)].mean() == pytest.approx(-500, abs=15)


def test_a_drawn_shape_is_one_of_lidc(tmp_path, capsys, monkeypatch, image):
    """Without --shape the seed draws a nodule, whose ratings give its HU; by its name it is the same."""
    solid = ball(9.0, step_mm=0.7)
    outline = SimpleNamespace(distance_mm=solid.distance_mm, centre_index=solid.centre_index)
    nodules = tuple(
        SimpleNamespace(source=f"LIDC-IDRI-{k:04d} scan {k} nodule 1", texture=t, calcification=6.0, shape=outline)
        for k, t in enumerate((1.0, 3.0, 5.0), start=1)
    )
    monkeypatch.setattr(pool, "read_candidates", lambda: nodules)
    outs = ("--out", tmp_path / "o.nii.gz", "--mask", tmp_path / "m.nii.gz", "--json")
    run("insert-lesion", image, *outs, "--seed", 4)
    drawn = json.loads(capsys.readouterr().out)
    by_source = {nodule.source: nodule.texture for nodule in nodules}
    assert drawn["look"]["hu"] == {1.0: -600.0, 3.0: -290.0, 5.0: 30.0}[by_source[drawn["shape"]]]
    run("insert-lesion", image, *outs, "--seed", 4, "--shape", drawn["shape"])
    assert json.loads(capsys.readouterr().out) == drawn
    with pytest.raises(DatasetError, match="none of the 3 nodules"):
        run("insert-lesion", image, *outs, "--shape", "LIDC-IDRI-9999 scan 1 nodule 1")


def test_what_is_wrong_is_told_before_anything_is_written(tmp_path, image, shape_file):
    """Names, points, masks and places that do not fit end in one error, and no file is left."""
    out, mask = ("--out", tmp_path / "o.nii.gz"), ("--mask", tmp_path / "m.nii.gz")
    whole = ("--shape", shape_file)
    with pytest.raises(DatasetError, match="an image is written as"):
        run("insert-lesion", image, "--out", tmp_path / "o.png", *mask)
    with pytest.raises(DatasetError, match="a mask is written as"):
        run("insert-lesion", image, *out, "--mask", tmp_path / "m.mha")
    for command in (("insert-lesion", image, *mask), ("inpaint-lesion", image, shape_file)):
        with pytest.raises(DatasetError, match="written over the scan"):
            run(*command, "--out", image)
    with pytest.raises(DatasetError, match="3 numbers joined by commas"):
        run("insert-lesion", image, *out, *mask, *whole, "--point=1,2")
    with pytest.raises(RegionError, match="in the lung"):
        run("insert-lesion", image, *out, *mask, *whole, "--point=" + ",".join(map(str, FRAME.to_lps((21, 34, 45)))))
    with pytest.raises(RegionError, match="give a point in the lung"):
        run("insert-lesion", image, *out, *mask, *whole, "--point=" + ",".join(map(str, FRAME.to_lps((60, 34, 25)))))
    with pytest.raises(GeometryError, match="does not lie on the image's grid"):
        run("inpaint-lesion", image, shape_file, *out)
    empty = tmp_path / "empty.nii.gz"
    sitk.WriteImage(to_sitk(np.zeros(FRAME.shape, np.uint8), FRAME), str(empty))
    with pytest.raises(RegionError, match="empty or leaves"):
        run("inpaint-lesion", image, empty, *out)
    with pytest.raises(DatasetError, match="holds no voxel"):
        run("insert-lesion", image, *out, *mask, "--shape", empty)
    with pytest.raises(DatasetError, match="bytes, no HU"):
        run("insert-lesion", empty, *out, *mask, *whole)
    assert {p.name for p in tmp_path.iterdir()} == {"ct.nii.gz", "shape.nrrd", "empty.nii.gz"}
