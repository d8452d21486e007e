from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungpipe.dicom.index import index_series
from lungpipe.dicom.source import digest
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan import ScanJob, process_scan, rows_path, settings_from
from lungpipe.store.gc import find_garbage, remove_garbage
from lungpipe.store.parts import gather_rows
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace
from lungpipe.volume import CTVolume


def settings(**changes):
    words = {"methods": ("otsu",), "preset": "default", "radii_mm": (0, 3), "kinds": ("shell",), "clip": "none"}
    words |= {"exclude_neighbours": True, "extractor": "pyradiomics", "radiomics": RadiomicsSettings(), **changes}
    return settings_from(**words)


def job_of(series, nodules):
    """A job for a series whose nodules are P-..., S-... and N-...; as the plan makes it."""
    patient, uid = f"P-{'A' * 12}", f"S-{'A' * 12}"
    return ScanJob("generic", "measured", patient, uid, series.files, series.geometry, nodules, digest(series.files))


def nodule(name, *rest, **more):
    return Nodule(f"P-{'A' * 12}", f"S-{'A' * 12}", f"N-{name * 12}", *rest, **more)


@pytest.fixture
def job(tmp_path, make_ct, dicom_writer):
    volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    dicom_writer(tmp_path / "dicom", volume)
    series = index_series(tmp_path / "dicom").series[0]
    return job_of(series, (nodule("A", centre, (11.0, 11.0, 11.0), 1),))


def rows_of(result, workspace, part):
    return gather_rows(Place.at(workspace), [rows_path(ref) for ref in result.parts])[part]


def test_a_scan_without_nodules_is_stored(job, tmp_path):
    """A scan that nobody annotated has a volume and no more, and is reused."""
    bare = replace(job, nodules=())
    first = process_scan(bare, settings(), tmp_path)
    assert (first.made, first.parts) == ({"volume": 1}, ())
    assert process_scan(bare, settings(), tmp_path).reused == {"volume": 1}


def test_a_file_that_changes_after_curation_is_an_exclusion(job, tmp_path):
    """What is read must be what was curated: a file changed in between excludes its scan, until the next curation."""
    path = Path(job.files[3].path)
    path.write_bytes(path.read_bytes()[:-2] + b"\x01\x00")
    result = process_scan(job, settings(), tmp_path)
    assert result.exclusion.code == "changed_file"
    assert process_scan(replace(job, source_sha256=digest(job.files)), settings(), tmp_path).exclusion is None


def test_a_scan_that_cannot_be_read_is_remembered(job, tmp_path):
    """A scan whose content allows no volume is excluded for the same reason each time, and read once."""
    short = replace(job, files=job.files[:-1])
    short = replace(short, source_sha256=digest(short.files))
    first = process_scan(short, settings(), tmp_path)
    again = process_scan(short, settings(), tmp_path)
    assert first.exclusion == again.exclusion
    assert (first.exclusion.code, first.made, again.made) == ("unreadable_pixels", {"volume": 1}, {})


def test_a_method_without_any_mask_leaves_the_others_alone(job, tmp_path):
    """A method that fails on every nodule is recorded with its exclusions; masks of other methods still stand."""
    process_scan(job, settings(), tmp_path)
    both = process_scan(job, settings(methods=("otsu", "annotated")), tmp_path)
    assert (both.reused["masks otsu"], both.made["masks annotated"]) == (1, 1)
    assert rows_of(both, tmp_path, "nodules")["segmenter"].tolist() == ["otsu"]
    assert len(rows_of(both, tmp_path, "exclusions")) == 1
    again = process_scan(job, settings(methods=("otsu", "annotated")), tmp_path)
    assert again.made == {}
    assert [f for f in verify_workspace(Place.at(tmp_path)) if f.kind != "missing_table"] == []


def test_a_volume_written_again_leaves_no_broken_promise(job, tmp_path):
    """Masks of earlier settings go with a damaged volume, and so do their records; what is asked for is made anew."""
    process_scan(job, settings(methods=("kmeans",)), tmp_path)
    first = process_scan(job, settings(), tmp_path)
    chunk = next(p for p in (tmp_path / "volumes" / f"{first.volume_id}.zarr" / "ct" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    again = process_scan(job, settings(), tmp_path)
    assert again.made == {"volume": 1, "masks otsu": 1}
    place = Place.at(tmp_path)
    assert {f.kind for f in verify_workspace(place)} == {"missing_table", "orphan"}
    remove_garbage(place, find_garbage(place))
    assert {f.kind for f in verify_workspace(place)} == {"missing_table"}
    assert process_scan(job, settings(), tmp_path).made == {}


def test_no_lung_leaves_masks_and_excludes_features(tmp_path, make_ct, dicom_writer):
    """Where there is no lung to clip to, masks are made all the same, and each method's features are exclusions."""
    volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    dicom_writer(tmp_path / "dicom", CTVolume((volume.hu // 4 + 100).astype(np.int16), volume.frame))
    job = job_of(index_series(tmp_path / "dicom").series[0], (nodule("A", centre, (11.0, 11.0, 11.0), 1),))
    result = process_scan(job, settings(clip="lung", methods=("otsu", "kmeans")), tmp_path)
    assert len(rows_of(result, tmp_path, "nodules")) == 2
    assert len(rows_of(result, tmp_path, "features")) == 0
    found = rows_of(result, tmp_path, "exclusions")
    assert found["code"].tolist() == ["no_lung_found"] * 2
    again = process_scan(job, settings(clip="lung", methods=("otsu", "kmeans")), tmp_path)
    assert again.made == {}


def test_neighbour_is_kept_out_of_the_surroundings(tmp_path, make_ct, make_ball, dicom_writer):
    """The shell of a nodule loses the voxels of its neighbour when the recipe says so, and the table tells how many."""
    volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 4.0)
    beside = (centre[0] + 11.0, centre[1], centre[2])
    hu = np.where(make_ball(volume.frame, beside, 4.0), 30, volume.hu).astype(np.int16)
    dicom_writer(tmp_path / "dicom", CTVolume(hu, volume.frame))
    series = index_series(tmp_path / "dicom").series[0]
    job = job_of(series, tuple(nodule(name, at, (8.5,) * 3) for name, at in (("A", centre), ("B", beside))))
    lost = {}
    for exclude in (True, False):
        result = process_scan(job, settings(radii_mm=(6,), exclude_neighbours=exclude), tmp_path)
        features = rows_of(result, tmp_path, "features")
        lost[exclude] = features.set_index("nodule_id")["clipped_neighbour"]
    assert (lost[False] == 0).all()
    # The lens common to balls of 10 mm (nodule and shell) and 4 mm at 11 mm, over the shell's volume: analysis.
    outer, ball, apart = 10.0, 4.0, 11.0
    lens = np.pi * (outer + ball - apart) ** 2 / (12 * apart)
    lens *= apart**2 + 2 * apart * (ball + outer) - 3 * (ball - outer) ** 2
    assert lost[True][f"N-{'A' * 12}"] == pytest.approx(lens / (4 / 3 * np.pi * (outer**3 - ball**3)), rel=0.1)


def test_regions_keep_to_the_lung_of_their_nodule(tmp_path, dicom_writer):
    """Surroundings reach neither across the mediastinum into the other lung nor into large vessels, and both are told."""
    shape, spacing = (60, 90, 110), (1.0, 1.0, 1.0)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    hu = np.full(shape, 40, np.int16)
    right, left = (((y - 45) / 34.0) ** 2 + ((x - c) / 23.0) ** 2 + ((z - 30) / 27.0) ** 2 <= 1 for c in (29, 79))
    hu[right | left] = -860
    hu[np.broadcast_to((y - 45) ** 2 + (x - 46) ** 2 <= 16, shape) & right] = 35  # the nodule's vessel
    nodule_ball = (z - 30) ** 2 + (y - 45) ** 2 + (x - 37) ** 2 <= 9
    hu[nodule_ball] = 35
    volume = CTVolume(hu, Geometry(shape, spacing))
    dicom_writer(tmp_path / "dicom", volume)
    job = job_of(index_series(tmp_path / "dicom").series[0], (nodule("A", (37.0, 45.0, 30.0), (6.0,) * 3),))
    words = {"clip": "lung", "radii_mm": (24,), "kinds": ("shell",), "methods": ("otsu",)}
    plain = rows_of(process_scan(job, settings(**words), tmp_path), tmp_path, "features").iloc[0]
    without = process_scan(job, settings(**words, exclude_structures=("vessels", "airways")), tmp_path)
    less = rows_of(without, tmp_path, "features").iloc[0]
    assert plain["clipped_wall"] == plain["clipped_fraction"]
    assert plain["codes"] == ""
    # All of the right lung within 24 mm, but nothing of the left one, which begins at x = 56.
    distance = np.sqrt((z - 30.0) ** 2 + (y - 45.0) ** 2 + (x - 37.0) ** 2) - 3.0
    near = (distance > 0) & (distance <= 24) & right & ~nodule_ball
    assert plain["n_voxels"] == pytest.approx(np.count_nonzero(near), rel=0.1)
    unclipped = 4 / 3 * np.pi * (27.0**3 - 3.0**3)
    assert plain["clipped_wall"] == pytest.approx(1 - np.count_nonzero(near) / unclipped, abs=0.06)
    assert less["clipped_vessel"] > 0.01
    assert less["n_voxels"] < plain["n_voxels"]
    assert less["codes"] == "no_airways_found"


def test_unreadable_archive_is_an_exclusion(job, tmp_path):
    """A file that disappears between indexing and reading is an exclusion of its scan."""
    Path(job.files[0].path).unlink()
    result = process_scan(job, settings(), tmp_path / "w")
    assert result.exclusion.code == "unreadable_file"
    assert result.exclusion.patient_id == job.patient_id


def test_missing_and_mismatched_mask_files_are_exclusions(job, tmp_path, make_ct):
    """A mask file that is missing or on another grid excludes its nodule by code; one that fits gives its box."""
    import SimpleITK as sitk

    from lungpipe.dicom.read import to_sitk

    _, truth, _ = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    sitk.WriteImage(to_sitk(truth.voxels.astype(np.uint8), job.geometry), str(tmp_path / "fits.nrrd"))
    sitk.WriteImage(sitk.Image(9, 9, 9, sitk.sitkUInt8), str(tmp_path / "other.nrrd"))
    names = {"A": "fits", "B": "other", "C": "none"}
    masked = replace(
        job, nodules=tuple(nodule(k, None, mask_path=tmp_path / f"{name}.nrrd") for k, name in names.items())
    )
    result = process_scan(masked, settings(methods=("annotated", "otsu")), tmp_path)
    exclusions = rows_of(result, tmp_path, "exclusions")
    assert dict(zip(exclusions["nodule_id"], exclusions["code"], strict=True)) == {
        f"N-{'B' * 12}": "mask_grid_differs",
        f"N-{'C' * 12}": "unreadable_mask",
    }
    rows = rows_of(result, tmp_path, "nodules")
    annotated = rows[rows["segmenter"] == "annotated"].iloc[0]
    assert annotated["n_voxels"] == truth.n_voxels
    assert set(rows["segmenter"]) == {"annotated", "otsu"}
