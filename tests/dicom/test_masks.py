import json
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from seg_files import in_order, plain_points_mm, write_rtstruct_file, write_seg_file

from data_catalog import load_dataset, read_annotations
from lungpipe.dicom.export_masks import export_masks, write_nifti_mask
from lungpipe.dicom.index import index_series
from lungpipe.dicom.masks import mask_kind, read_mask_file, source_uids
from lungpipe.dicom.read import to_sitk
from lungpipe.dicom.seg import read_seg
from lungpipe.dicom.series import SeriesTable
from lungpipe.dicom.source import Source, of_paths
from lungpipe.errors import AnnotationError, DatasetError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.scan.locate import locate
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, write_table
from lungpipe.store.volumes import write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((6, 21, 33), (2.5, 0.8, 0.6), (-101.25, 33.5, -1200.75), (0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))
LABELS = np.zeros(FRAME.shape, dtype=np.uint8)
LABELS[2, 4:9, 10:20] = 3
LABELS[5, 0, 0] = 200


PATIENT, SERIES, OTHER = "P-AAAAAAAAAAAA", "S-AAAAAAAAAAAA", "S-BBBBBBBBBBBB"
NODULES = ("N-AAAAAAAAAAAA", "N-BBBBBBBBBBBB")
MADE_BY = "00000000000000aa"


def code_of(path, frame=FRAME, **options) -> str:
    with pytest.raises(AnnotationError) as error:
        read_mask_file(path, frame, **options)
    message = error.value.message
    assert not any(word in message for word in ("Roe", "PAT-1", "1.2.", str(path), path.name))
    return error.value.code


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels


def _add_frame_of_reference(dataset, _k):
    dataset.FrameOfReferenceUID = "1.2.3"


@pytest.fixture
def series(dicom_writer, tmp_path):
    """An oblique DICOM series as the index gives it."""
    volume = CTVolume(np.full(FRAME.shape, -1000, np.int16), FRAME)
    dicom_writer(tmp_path / "ct", volume, change=_add_frame_of_reference)
    return index_series(tmp_path / "ct").series[0]


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.nrrd", "m.mha"])
def test_label_images(tmp_path, name):
    """One value of a label image by number or text, all values together by default, whatever the format."""
    path = tmp_path / name
    sitk.WriteImage(to_sitk(LABELS, FRAME), str(path))
    assert mask_kind(path) == "image"
    assert np.array_equal(whole(read_mask_file(path, FRAME)), LABELS > 0)
    assert np.array_equal(whole(read_mask_file(path, FRAME, label=3)), LABELS == 3)
    assert np.array_equal(whole(read_mask_file(path, FRAME, roi="200")), LABELS == 200)
    assert code_of(path, label=4) == code_of(path, roi="nodule") == "unknown_roi"


def test_label_image_of_floats(tmp_path):
    """What is not a number is outside; an empty image is an empty mask."""
    values = np.zeros(FRAME.shape, dtype=np.float32)
    sitk.WriteImage(to_sitk(values, FRAME), str(tmp_path / "empty.nrrd"))
    assert read_mask_file(tmp_path / "empty.nrrd", FRAME).n_voxels == 0
    values[1, 2, 3], values[1, 2, 4] = 1, np.nan
    sitk.WriteImage(to_sitk(values, FRAME), str(tmp_path / "nan.nrrd"))
    assert np.argwhere(whole(read_mask_file(tmp_path / "nan.nrrd", FRAME))).tolist() == [[1, 2, 3]]


def test_label_image_on_another_grid(tmp_path):
    """The tolerance on corners is 0.01 mm: below it a shift is rounding, above it another grid."""
    for shift_mm, fits in ((0.009, True), (0.011, False)):
        x, y, z = FRAME.origin_mm
        sitk.WriteImage(to_sitk(LABELS, replace(FRAME, origin_mm=(x, y, z + shift_mm))), str(tmp_path / "m.nrrd"))
        if fits:
            assert read_mask_file(tmp_path / "m.nrrd", FRAME).n_voxels == 51
        else:
            assert code_of(tmp_path / "m.nrrd") == "mask_grid_differs"
    assert code_of(tmp_path / "m.nrrd", replace(FRAME, shape=(5, 21, 33))) == "mask_grid_differs"


def test_what_is_no_mask(tmp_path, series):
    """A missing or damaged file, a folder, a CT image, colours and four dimensions each have their code."""
    (tmp_path / "text.nii").write_text("no image")
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00\x16\x00UI\xff\xff")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((6, 21, 33, 3), np.uint8), isVector=True), str(tmp_path / "rgb.mha")
    )
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((2, 6, 21, 33), np.uint8), isVector=False), str(tmp_path / "4d.nrrd")
    )
    assert code_of(tmp_path / "missing.nii") == "unreadable_mask"
    assert code_of(tmp_path / "text.nii") == "unreadable_mask"
    assert code_of(tmp_path / "4d.nrrd") == "unreadable_mask"
    assert code_of(tmp_path / "cut.dcm") == "unsupported_mask"
    assert code_of(tmp_path / "rgb.mha") == "unreadable_mask"
    assert code_of(tmp_path) == "unsupported_mask"
    with pytest.raises(AnnotationError) as error:
        mask_kind(tmp_path / "ct" / next((tmp_path / "ct").iterdir()).name)
    assert error.value.code == "unsupported_mask"


def test_seg_of_the_series(tmp_path, series):
    """A SEG is known by its content, read by number or label, and refused over other images."""
    planes = [(1, (2, 0, 0), LABELS[2] > 0), (2, (5, 0, 0), LABELS[5] > 0)]
    path = write_seg_file(
        tmp_path / "no-suffix", FRAME, planes, ("a", "b"), series_uid=series.series_uid, sop_uids=series.sop_uids
    )
    uids = dict(zip(("series_uid", "sop_uids"), source_uids(series.files), strict=True))
    assert uids == {"series_uid": series.series_uid, "sop_uids": series.sop_uids}
    assert mask_kind(path) == "seg"
    for which in ({"roi": "b"}, {"roi": " 2 "}, {"label": 2}, {"roi": "b", "label": 1}):
        found = read_mask_file(path, series.geometry, **uids, **which)
        assert np.array_equal(whole(found), LABELS == 200)
        assert found.shape == (1, 1, 1)
    assert code_of(path, **uids) == "ambiguous_roi"
    assert code_of(path, series_uid="1.2.9", sop_uids=("1.2.9.1",), label=1) == "wrong_series"


def test_rtstruct_of_the_series(tmp_path, series):
    """An ROI comes by name or number; a name that is a number is a name."""
    rois = [("GTV", (2, 4, 10, 8, 19)), ("11", (5, 0, 0, 0, 0))]
    path = write_rtstruct_file(tmp_path / "structures.dcm", FRAME, rois, series.series_uid, series.sop_uids)
    uids = dict(zip(("series_uid", "sop_uids"), source_uids(series.files), strict=True))
    assert mask_kind(path) == "rtstruct"
    for which, value in (({"roi": "GTV"}, 3), ({"label": 11}, 3), ({"roi": "11"}, 200), ({"roi": "12"}, 200)):
        assert np.array_equal(whole(read_mask_file(path, FRAME, **uids, **which)), value == LABELS), which
    assert np.array_equal(whole(read_mask_file(path, FRAME, roi="GTV")), LABELS == 3)  # references unchecked
    assert code_of(path, **uids) == "ambiguous_roi"
    assert code_of(path, roi="Roe", **uids) == "unknown_roi"
    assert code_of(path, roi="GTV", series_uid="1.2.9", sop_uids=("1.2.9.1",)) == "wrong_series"
    only = write_rtstruct_file(tmp_path / "only", FRAME, rois[:1], series.series_uid, series.sop_uids)
    assert read_mask_file(only, FRAME, **uids).n_voxels == 50


def test_source_uids_from_zips_and_volume_files(tmp_path, series):
    """Series in zip archives say who they are, a NIfTI image says nothing, a missing file has its code."""
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for k, one in enumerate(series.files):
            archive.write(one.path, f"{k}.dcm")
    entries = tuple(Source(str(tmp_path / "ct.zip"), f"{k}.dcm") for k in range(len(series.files)))
    assert source_uids(entries) == (series.series_uid, series.sop_uids)
    assert source_uids(of_paths(["missing.nii.gz"])) == source_uids(()) == ("", ())
    with pytest.raises(AnnotationError) as error:
        source_uids(of_paths([tmp_path / "missing.dcm"]))
    assert error.value.code == "unreadable_source"


def test_a_scan_takes_its_nodule_from_a_seg(tmp_path, series):
    """Centre and size come from the segment that the annotation names, checked against the scan's own files."""
    planes = [(1, (2, 0, 0), LABELS[2] > 0), (2, (5, 0, 0), LABELS[5] > 0)]
    references = {"series_uid": series.series_uid, "sop_uids": series.sop_uids}
    path = write_seg_file(tmp_path / "seg", FRAME, planes, ("a", "b"), **references)
    volume = CTVolume(np.zeros(FRAME.shape, np.int16), series.geometry)
    nodule = Nodule(PATIENT, SERIES, "N-1", None, mask_path=path, mask_roi="a")
    located = locate(nodule, volume, series.files)
    assert np.allclose(located.centre_mm, FRAME.to_lps((2, 6, 14.5)), atol=1e-3)
    assert np.allclose(located.size_mm, (10 * 0.6, 5 * 0.8, 2.5))
    other = write_seg_file(tmp_path / "other", FRAME, planes, ("a", "b"), series_uid="1.2.9", sop_uids=("1.2.9.1",))
    with pytest.raises(AnnotationError) as error:
        locate(replace(nodule, mask_path=other), volume, series.files)
    assert error.value.code == "wrong_series"


def test_table_names_the_region(tmp_path, series):
    """The column `roi` of a nodule table reaches the nodule beside its mask; an empty one names none."""
    rows = "PAT-1,a,masks/seg.dcm,GTV-1\nPAT-1,b,masks/seg.dcm,\n"
    (tmp_path / "nodules.csv").write_text("patient_id,nodule_id,mask,roi\n" + rows)
    found = read_annotations(load_dataset("generic"), tmp_path / "nodules.csv", SeriesTable((series,)))
    assert found.exclusions == ()
    path = tmp_path / "masks" / "seg.dcm"
    assert [(n.mask_path, n.mask_roi) for n in found.nodules] == [(path, "GTV-1"), (path, None)]


def make_workspace(folder, sources):
    """A workspace with two nodules of each series, each with a mask."""
    rows, place = [], Place.at(folder)
    for volume_id, (pseudonym, scan) in enumerate(sources.items(), start=1):
        store = f"volumes/{volume_id:016x}.zarr"
        write_volume(place, store, CTVolume(np.zeros(FRAME.shape, np.int16), scan.geometry), {})
        for name, value in zip(NODULES, (3, 200), strict=True):
            mask = Mask(value == LABELS, scan.geometry)
            write_mask(place, store, f"masks/{MADE_BY}/{name}", mask)
            numbers = dict.fromkeys(("x_mm", "y_mm", "z_mm", "volume_mm3", "sphere_diameter_mm", "mean_hu"), 1.0)
            who = {"dataset": "d", "intensities": "measured", "patient_id": PATIENT, "series_uid": pseudonym}
            rest = {"nodule_id": name, "segmenter": "otsu", "malignant": None, "split": "", "n_voxels": mask.n_voxels}
            ids = {"codes": "", "mask_id": mask.content_id, "volume_id": f"{volume_id:016x}", "artefact": MADE_BY}
            rows.append({**SCHEMAS["nodules"].example, **who, **numbers, **rest, **ids, "source_sha256": "0" * 64})
    write_table(make_table("nodules", rows), place, "tables/nodules.parquet")
    run = {"plugins": {"segmenters": {"otsu": {"name": "otsu", "version": "7"}}}}
    (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture
def workspace(tmp_path, series):
    """A workspace with two nodules of one series."""
    return make_workspace(tmp_path / "ws", {SERIES: series})


def test_export_writes_both_formats(workspace, series, tmp_path):
    """Each mask comes out as SEG and NIfTI on the source's place, named by pseudonyms, and progress is told."""
    told = []
    written, exclusions = export_masks(
        Place.at(workspace),
        {SERIES: series},
        tmp_path / "out",
        ("seg", "nifti"),
        lambda done, total: told.append((done, total)),
    )
    assert (written, exclusions, told) == (4, (), [(1, 2), (2, 2)])
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert names == [f"{SERIES}/{n}_otsu{s}" for n in NODULES for s in (".dcm", ".nii.gz")]
    for name, value in zip(NODULES, (3, 200), strict=True):
        seg = tmp_path / "out" / SERIES / f"{name}_otsu.dcm"
        found = read_seg(seg, series.geometry, None, series.series_uid, series.sop_uids)
        assert np.array_equal(found.voxels, value == LABELS)
        expected = in_order(FRAME.to_lps(np.argwhere(value == LABELS)))
        assert np.abs(plain_points_mm(seg) - expected).max() <= 1e-3
        image = sitk.ReadImage(str(tmp_path / "out" / SERIES / f"{name}_otsu.nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(image), value == LABELS)
        points = [
            image.TransformIndexToPhysicalPoint((int(x), int(y), int(z))) for z, y, x in np.argwhere(value == LABELS)
        ]
        assert np.abs(in_order(np.array(points)) - expected).max() <= 1e-3
    one, two = (pydicom.dcmread(tmp_path / "out" / SERIES / f"{name}_otsu.dcm").SegmentSequence[0] for name in NODULES)
    assert one.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "7"
    assert (one.TrackingID, two.TrackingID) == NODULES
    assert one.TrackingUID != two.TrackingUID
    assert pydicom.uid.UID(one.TrackingUID).is_valid


def test_export_takes_each_series_headers(dicom_writer, series, tmp_path):
    """In a workspace of two series, every SEG refers to its own."""
    volume = CTVolume(np.full(FRAME.shape, -1000, np.int16), FRAME)
    dicom_writer(tmp_path / "ct2", volume, series="series-2", change=_add_frame_of_reference)
    sources = {SERIES: series, OTHER: index_series(tmp_path / "ct2").series[0]}
    workspace = make_workspace(tmp_path / "ws", sources)
    assert export_masks(Place.at(workspace), sources, tmp_path / "out", ("seg",)) == (4, ())
    for pseudonym, scan in sources.items():
        for path in (tmp_path / "out" / pseudonym).iterdir():
            (referenced,) = pydicom.dcmread(path).ReferencedSeriesSequence
            assert referenced.SeriesInstanceUID == scan.series_uid


def test_only_a_seg_identifies(workspace, series, tmp_path):
    """NIfTI masks hold nothing of the source's identity; a SEG holds it, as its documentation says."""
    export_masks(Place.at(workspace), {SERIES: series}, tmp_path / "out", ("seg",))
    assert b"Roe^Jane" in (tmp_path / "out" / SERIES / f"{NODULES[0]}_otsu.dcm").read_bytes()
    write_nifti_mask(tmp_path / "plain.nii", Mask(LABELS > 0, FRAME))
    content = (tmp_path / "plain.nii").read_bytes()
    assert not any(text.encode() in content for text in ("Roe", "PAT-1", series.series_uid, *series.sop_uids))


def test_export_records_what_it_cannot_write(workspace, series, tmp_path):
    """A series that is not there, a stale and a missing mask, and a damaged archive are exclusions; the rest is written."""

    def codes(sources, formats=("seg",)):
        written, exclusions = export_masks(Place.at(workspace), sources, tmp_path / "out", formats)
        assert all((e.stage, e.patient_id, e.series_uid) == ("export", PATIENT, SERIES) for e in exclusions)
        return written, [(e.code, e.nodule_id) for e in exclusions]

    assert codes({OTHER: series}) == (0, [("no_source_series", NODULES[0]), ("no_source_series", NODULES[1])])
    gone = replace(series, files=(*series.files[:-1], Source("missing.dcm")))
    assert codes({SERIES: gone}) == (0, [("unreadable_source", NODULES[0]), ("unreadable_source", NODULES[1])])
    assert codes({SERIES: replace(series, files=series.files[1:])})[1][0] == ("mask_grid_differs", NODULES[0])
    store = "volumes/0000000000000001.zarr"
    write_mask(Place.at(workspace), store, f"masks/{MADE_BY}/{NODULES[0]}", Mask(LABELS > 0, series.geometry))
    assert codes({SERIES: series}) == (1, [("stale_mask", NODULES[0])])
    (workspace / store / "masks" / MADE_BY / NODULES[1] / "zarr.json").unlink()
    assert codes({}, ("nifti",)) == (0, [("stale_mask", NODULES[0]), ("damaged_mask", NODULES[1])])


def test_export_refuses_wrong_requests(workspace, series, tmp_path):
    """An unknown format, SEG without a source or into the workspace, and a folder that is no workspace stop at once."""
    for sources, out, formats, match in [
        ({}, tmp_path / "out", ("stl",), "no mask format stl"),
        ({}, tmp_path / "out", (), "no mask format"),
        ({}, tmp_path / "out", ("nifti", "seg"), "needs the source series"),
        ({SERIES: series}, workspace / "masks", ("seg",), "names its patient"),
    ]:
        with pytest.raises(DatasetError, match=match):
            export_masks(Place.at(workspace), sources, out, formats)
    with pytest.raises(DatasetError, match="no table"):
        export_masks(Place.at(tmp_path), {}, tmp_path / "out")


@pytest.mark.real_data
def test_ibsi_structure_set_is_the_published_mask(real_data, tmp_path):
    """GTV-1 of the IBSI phantom comes in through the dispatch as the published NIfTI mask, by name, with its references."""
    with zipfile.ZipFile(real_data / "ibsi1-ct-phantom" / "dicom.zip") as archive:
        archive.extractall(tmp_path)
    scan = next(s for s in index_series(tmp_path).series if s.geometry is not None)
    (structures,) = tmp_path.rglob("DCM_RS_*.dcm")
    series_uid, sop_uids = source_uids(scan.files)
    mask = read_mask_file(structures, scan.geometry, roi="GTV-1", series_uid=series_uid, sop_uids=sop_uids)
    assert mask.n_voxels == 125_256
    (published,) = (real_data / "ibsi1-ct-phantom" / "nifti" / "mask").glob("*.nii*")
    theirs = read_mask_file(published, scan.geometry)
    overlap = np.count_nonzero(whole(mask) & whole(theirs))
    assert 2 * overlap / (mask.n_voxels + theirs.n_voxels) >= 0.999
    assert code_of(structures, scan.geometry, roi="GTV-1", series_uid="1.2.9", sop_uids=("1.2.9.1",)) == "wrong_series"
