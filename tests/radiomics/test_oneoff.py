import csv
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from flows.cli import app, main
from lungpipe.dicom.read import to_sitk
from lungpipe.dicom.write_seg import write_seg
from lungpipe.errors import DatasetError
from lungpipe.radiomics.oneoff import extract_pair, extract_with_parameter_file
from lungpipe.radiomics.settings import RadiomicsSettings


@pytest.fixture
def pair(ct, tmp_path):
    volume, mask, _ = ct
    image_path, mask_path = tmp_path / "ct.nii.gz", tmp_path / "mask.nrrd"
    sitk.WriteImage(to_sitk(volume.hu, volume.frame), str(image_path))
    sitk.WriteImage(to_sitk(mask.voxels.astype(np.uint8) * 3, mask.frame), str(mask_path))
    return image_path, mask_path


def test_command_writes_feature_value_rows(pair, tmp_path, monkeypatch, capsys):
    """`lungpipe extract` writes PyRadiomics' names and values of the labelled region as CSV."""
    out = tmp_path / "out.csv"
    monkeypatch.setattr(
        "sys.argv",
        ["lungpipe", "extract", *map(str, pair), "--label", "3", "--out", str(out), "--extractor", "pyradiomics"],
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert capsys.readouterr().out.strip() == str(out)
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 107
    values = {row["feature"]: float(row["value"]) for row in rows}
    assert values == extract_pair(*pair, 3, RadiomicsSettings())
    assert values["original_shape_VoxelVolume"] == pytest.approx(4 / 3 * 3.14159 * 6.0**3, rel=0.05)


def test_parameter_file_is_honoured(pair, tmp_path):
    """Image types, classes and settings of a PyRadiomics parameter file decide what is computed."""
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(
        "imageType:\n  Original: {}\n  Wavelet: {}\nfeatureClass:\n  firstorder: [Mean, Energy]\nsetting:\n  binWidth: 10\n"
    )
    values = extract_with_parameter_file(*pair, 3, parameters)
    assert len(values) == 2 * 9
    assert values["original_firstorder_Mean"] == pytest.approx(30, abs=2)
    assert "wavelet-HHH_firstorder_Energy" in values


def test_wrong_pairs_are_refused(pair, tmp_path, ct):
    """A missing label, a mask on another grid and a file that is no parameter file are told."""
    image, mask = pair
    for label in (1, None):
        with pytest.raises(DatasetError, match=r"no value 1; it holds 0, 3"):
            extract_pair(image, mask, label, RadiomicsSettings())
    _, truth, _ = ct
    shifted = to_sitk(truth.voxels.astype(np.uint8), truth.frame)
    shifted.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(shifted, str(tmp_path / "shifted.nrrd"))
    with pytest.raises(DatasetError, match="mm apart"):
        extract_pair(image, tmp_path / "shifted.nrrd", 1, RadiomicsSettings())
    with pytest.raises(DatasetError, match="label 0 is what lies outside"):
        extract_pair(image, mask, 0, RadiomicsSettings())
    colours = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "colours.nrrd"))
    with pytest.raises(DatasetError, match="3 values a voxel"):
        extract_pair(tmp_path / "colours.nrrd", mask, 3, RadiomicsSettings())
    (tmp_path / "bad.yaml").write_text("nonsense: [")
    with pytest.raises(DatasetError, match="parameter file"):
        extract_with_parameter_file(image, mask, 3, tmp_path / "bad.yaml")


def test_mask_from_dicom_seg(ct, dicom_writer, tmp_path):
    """The extractor sees the voxels of the segment, as from an image of it; a SEG of another series is refused."""
    volume, mask, _ = ct
    masks = {}
    for series in ("one", "two"):
        dicom_writer(tmp_path / series, volume, series=series, change=_add_frame_of_reference)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / series).iterdir()]
        masks[series] = tmp_path / f"{series}.dcm"
        names = {"algorithm_name": "none", "algorithm_version": "0"}
        write_seg(masks[series], mask, headers, label="nodule", tracking_id="n", tracking_uid="2.25.1", **names)
    sitk.WriteImage(to_sitk(mask.voxels.astype(np.uint8), volume.frame), str(tmp_path / "mask.nrrd"))

    def count(seen, regions, _settings):
        (region,) = regions
        inside = seen.crop(region.start, region.stop).hu[region.voxels]
        return [{"n": inside.size, "sum": float(inside.sum())}]

    expected = {"n": mask.n_voxels, "sum": float(volume.hu[mask.voxels].sum())}
    assert extract_pair(tmp_path / "one", tmp_path / "mask.nrrd", None, RadiomicsSettings(), count) == expected
    for label, roi in ((None, None), (1, None), (None, "nodule"), (None, "1")):
        assert extract_pair(tmp_path / "one", masks["one"], label, RadiomicsSettings(), count, roi=roi) == expected
    with pytest.raises(DatasetError, match="no such segment"):
        extract_pair(tmp_path / "one", masks["one"], 2, RadiomicsSettings())
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "one"))
    assert extract_pair(zipped, masks["one"], None, RadiomicsSettings(), count) == expected
    for image in (tmp_path / "one", zipped):
        with pytest.raises(DatasetError, match="refers to other images"):
            extract_pair(image, masks["two"], None, RadiomicsSettings())


def _add_frame_of_reference(dataset, _k):
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.1"


def test_every_command_has_help_with_an_example():
    """Each command explains itself with an example."""
    for command in app.registered_commands:
        text = command.help or (command.callback.__doc__ or "")
        assert "Example: lungpipe" in text, command.name
