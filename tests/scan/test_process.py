import shutil

import numpy as np
import pytest

from lungpipe.dicom.index import index_series
from lungpipe.nodule import Nodule
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan import ScanJob, gather_parts, process_scan, settings_from
from lungpipe.volume import CTVolume


def settings(**changes):
    words = {"methods": ("otsu",), "preset": "default", "radii_mm": (0, 3), "kinds": ("shell",), "clip": "none"}
    words |= {"exclude_neighbours": True, "extractor": "pyradiomics", "radiomics": RadiomicsSettings(), **changes}
    return settings_from(**words)


@pytest.fixture
def job(tmp_path, make_ct, dicom_writer):
    volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    dicom_writer(tmp_path / "dicom", volume)
    series = index_series(tmp_path / "dicom").series[0]
    nodules = (Nodule("P-1", "S-1", "N-1", centre, (11.0, 11.0, 11.0), 1),)
    return ScanJob("generic", "measured", "P-1", "S-1", series.files, series.geometry, nodules)


def test_scan_is_reused_until_an_output_or_input_changes(job, tmp_path):
    """A finished scan is reused; a lost mask, another setting or a changed file makes it be done again."""
    first = process_scan(job, settings(), tmp_path)
    assert not first.reused
    assert process_scan(job, settings(), tmp_path).reused
    shutil.rmtree(tmp_path / "volumes" / f"{first.volume_id}.zarr" / "masks" / "N-1" / "otsu")
    again = process_scan(job, settings(), tmp_path)
    assert (again.reused, again.artefact) == (False, first.artefact)
    other = process_scan(job, settings(radii_mm=(0, 4)), tmp_path)
    assert (other.reused, other.volume_id) == (False, first.volume_id)
    assert other.artefact != first.artefact
    with open(job.files[3].path, "r+b") as stream:  # noqa: PTH123  in place
        stream.seek(-10, 2)
        stream.write(b"\x01")
    changed = process_scan(job, settings(), tmp_path)
    assert not changed.reused
    assert changed.volume_id != first.volume_id


def test_neighbour_is_kept_out_of_the_surroundings(tmp_path, make_ct, make_ball, dicom_writer):
    """The shell of a nodule loses the voxels of its neighbour when the recipe says so, and the table tells how many."""
    volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 4.0)
    beside = (centre[0] + 11.0, centre[1], centre[2])
    hu = np.where(make_ball(volume.frame, beside, 4.0), 30, volume.hu).astype(np.int16)
    dicom_writer(tmp_path / "dicom", CTVolume(hu, volume.frame))
    series = index_series(tmp_path / "dicom").series[0]
    pair = tuple(Nodule("P-1", "S-1", name, at, (8.5,) * 3) for name, at in (("N-1", centre), ("N-2", beside)))
    job = ScanJob("generic", "measured", "P-1", "S-1", series.files, series.geometry, pair)
    lost = {}
    for exclude in (True, False):
        result = process_scan(job, settings(radii_mm=(6,), exclude_neighbours=exclude), tmp_path)
        features = gather_parts(tmp_path, [result.artefact], "features")
        lost[exclude] = features.set_index("nodule_id")["clipped_fraction"]
    assert (lost[False] == 0).all()
    # The lens common to balls of 10 mm (nodule and shell) and 4 mm at 11 mm, over the shell's volume: analysis.
    outer, ball, apart = 10.0, 4.0, 11.0
    lens = np.pi * (outer + ball - apart) ** 2 / (12 * apart)
    lens *= apart**2 + 2 * apart * (ball + outer) - 3 * (ball - outer) ** 2
    assert lost[True]["N-1"] == pytest.approx(lens / (4 / 3 * np.pi * (outer**3 - ball**3)), rel=0.25)


def test_unreadable_archive_is_an_exclusion(job, tmp_path):
    """A file that disappears between indexing and reading is an exclusion of its scan."""
    from pathlib import Path

    Path(job.files[0].path).unlink()
    result = process_scan(job, settings(), tmp_path / "w")
    assert result.exclusion.code == "unreadable_file"
    assert result.exclusion.patient_id == "P-1"


def test_missing_and_mismatched_mask_files_are_exclusions(job, tmp_path, make_ct):
    """A mask file that is missing or on another grid excludes its nodule by code; one that fits gives its box."""
    import SimpleITK as sitk

    from lungpipe.dicom.read import to_sitk

    _, truth, _ = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    sitk.WriteImage(to_sitk(truth.voxels.astype(np.uint8), job.geometry), str(tmp_path / "fits.nrrd"))
    sitk.WriteImage(sitk.Image(9, 9, 9, sitk.sitkUInt8), str(tmp_path / "other.nrrd"))
    nodules = tuple(
        Nodule("P-1", "S-1", name, None, mask_path=tmp_path / f"{name}.nrrd") for name in ("fits", "other", "none")
    )
    masked = ScanJob("generic", "measured", "P-1", "S-1", job.files, job.geometry, nodules)
    result = process_scan(masked, settings(methods=("annotated", "otsu")), tmp_path)
    exclusions = gather_parts(tmp_path, [result.artefact], "exclusions")
    assert dict(zip(exclusions["nodule_id"], exclusions["code"], strict=True)) == {
        "other": "mask_grid_differs",
        "none": "unreadable_mask",
    }
    rows = gather_parts(tmp_path, [result.artefact], "nodules")
    annotated = rows[rows["segmenter"] == "annotated"].iloc[0]
    assert annotated["n_voxels"] == truth.n_voxels
    assert set(rows["segmenter"]) == {"annotated", "otsu"}
