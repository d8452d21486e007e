"""RT structure sets: reading, and the masks of their ROIs."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from contours import GRID, in_slice, radius_of_centres, ring, square
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from lungpipe.dicom import rtstruct
from lungpipe.dicom.read import geometry_of
from lungpipe.dicom.rtstruct import read_rtstruct, roi_mask
from lungpipe.dicom.source import Source
from lungpipe.errors import AnnotationError
from lungpipe.geometry import Geometry

SERIES, OTHER = "1.2.3.4", "1.2.3.5"
SOPS = [f"{SERIES}.{k}" for k in range(GRID.shape[0])]


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def contour_item(contour, images):
    made = item(
        ContourGeometricType=contour.kind,
        NumberOfContourPoints=len(contour.points_mm),
        ContourData=[f"{v:.9g}" for v in contour.points_mm.ravel()],
    )
    if images:
        made.ContourImageSequence = [
            item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid) for uid in images
        ]
    return made


def write_rtstruct(path, rois, *, series=SERIES, images=(), syntax=ImplicitVRLittleEndian, change=None):
    """Write a structure set; ``rois`` is a list of (number, name, [(contour, image UIDs), ...])."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, "1.2.9"
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTStructureSetStorage, "1.2.9", "RTSTRUCT"
    dataset.PatientName, dataset.PatientID = "Roe^Jane", "PAT-1"
    referenced = item(SeriesInstanceUID=series)
    referenced.ContourImageSequence = [
        item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid) for uid in images
    ]
    study = item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID="1.2.8")
    study.RTReferencedSeriesSequence = [referenced]
    dataset.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID="1.2.7", RTReferencedStudySequence=[study])]
    dataset.StructureSetROISequence = [
        item(ROINumber=number, ReferencedFrameOfReferenceUID="1.2.7", ROIName=name) for number, name, _ in rois
    ]
    dataset.ROIContourSequence = [
        item(ReferencedROINumber=number, ContourSequence=[contour_item(c, uids) for c, uids in drawn])
        for number, _, drawn in rois
    ]
    if change is not None:
        change(dataset)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def tumour(images=SOPS[2:3], radius=8.0):
    return [(in_slice(ring(radius, n=40)), images)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rs.dcm"


SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_structure_set_comes_in_as_it_was_written(path, syntax):
    """Names, numbers, contours, types and references are read from any encoding of a data set."""
    drawn = [*tumour(), (in_slice([(3, 3)], kind="POINT"), ())]
    found = read_rtstruct(write_rtstruct(path, [(7, "GTV 1", drawn), (3, "Lung", [])], images=SOPS[:4], syntax=syntax))
    assert [(roi.number, roi.name, len(roi.contours)) for roi in found.rois] == [(7, "GTV 1", 2), (3, "Lung", 0)]
    assert [c.kind for c in found.rois[0].contours] == ["CLOSED_PLANAR", "POINT"]
    assert found.rois[0].contours[0].points_mm == pytest.approx(drawn[0][0].points_mm, abs=1e-6)
    assert [c.sop_uids for c in found.rois[0].contours] == [(SOPS[2],), ()]
    assert found.series_uids == {SERIES}
    assert found.sop_uids == set(SOPS[:4])
    assert found.frame_of_reference_uid == "1.2.7"


def test_structure_set_is_read_from_a_zip_archive(path, tmp_path):
    """An entry of a zip archive is read in place."""
    write_rtstruct(path, [(1, "GTV", tumour())])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "x/rs")
    found = read_rtstruct(Source(str(tmp_path / "a.zip"), "x/rs"))
    assert found.roi("GTV").number == 1


def test_mask_of_an_roi_is_found_by_name_and_by_number(path):
    """Name and number give the same mask, on its tight bounding box, equal to analysis."""
    found = read_rtstruct(
        write_rtstruct(path, [(7, "GTV", [(in_slice(ring(8.2)), SOPS[2:3]), (in_slice(square(3.2, 3.8), 4), ())])])
    )
    mask, report = roi_mask(found, "GTV", GRID, SERIES, SOPS)
    assert np.array_equal(mask.within((2, 0, 0), (3, 40, 50)).voxels[0], radius_of_centres() < 8.2)
    assert (mask.start, mask.stop) == mask.bounds
    assert roi_mask(found, 7, GRID, SERIES, SOPS)[0].content_id == mask.content_id
    assert (report.used, report.warned, report.gaps) == (2, {"no_voxel": 1}, (3,))


def test_equal_names_are_ambiguous_and_both_reachable_by_number(path):
    """Two ROIs of one name are kept; asking by the name names the numbers, and not the name."""
    found = read_rtstruct(write_rtstruct(path, [(4, "Roe", tumour()), (9, "Roe", tumour(radius=3.0))]))
    with pytest.raises(AnnotationError, match=r"4, 9") as raised:
        found.roi("Roe")
    assert raised.value.code == "ambiguous_roi"
    assert "Roe" not in raised.value.message
    assert roi_mask(found, 4, GRID, SERIES, SOPS)[0].n_voxels > roi_mask(found, 9, GRID, SERIES, SOPS)[0].n_voxels


@pytest.mark.parametrize("which", ["GTV", "4", 5])
def test_unknown_roi_is_refused_without_naming_any(path, which):
    """The error counts the ROIs and gives their numbers; names are free text and stay out."""
    found = read_rtstruct(write_rtstruct(path, [(4, "Jane Roe left", tumour())]))
    with pytest.raises(AnnotationError, match="has 1 ROIs") as raised:
        found.roi(which)
    assert raised.value.code == "unknown_roi"
    assert "Roe" not in raised.value.message


def test_structure_set_of_another_series_is_refused(path):
    """Neither the series nor one of its images is referred to: the mask would lie anywhere."""
    other = [f"{OTHER}.{k}" for k in range(6)]
    found = read_rtstruct(write_rtstruct(path, [(1, "GTV", tumour(other[:1]))], series=OTHER, images=other))
    with pytest.raises(AnnotationError) as raised:
        roi_mask(found, "GTV", GRID, SERIES, SOPS)
    assert raised.value.code == "wrong_series"
    assert SERIES not in raised.value.message
    assert OTHER not in raised.value.message


def test_series_is_known_by_its_uid_or_by_its_images_alone(path):
    """Reference to the series without images, or to images without their series, is enough."""
    by_series = read_rtstruct(write_rtstruct(path, [(1, "GTV", tumour(()))]))
    by_header = read_rtstruct(write_rtstruct(path, [(1, "GTV", tumour(()))], series="", images=SOPS[2:3]))
    by_contour = read_rtstruct(write_rtstruct(path, [(1, "GTV", tumour())], series=OTHER))
    masks = [roi_mask(found, "GTV", GRID, SERIES, SOPS)[0] for found in (by_series, by_header, by_contour)]
    assert len({mask.content_id for mask in masks}) == 1
    with pytest.raises(AnnotationError):
        roi_mask(by_series, "GTV", GRID, OTHER, SOPS)
    with pytest.raises(AnnotationError):
        roi_mask(by_contour, "GTV", GRID, SERIES, SOPS[3:])


def test_contours_drawn_on_images_of_another_series_are_not_used(path):
    """In a structure set over two series, only contours of the asked series are used; an ROI without any is refused."""
    elsewhere = (in_slice(ring(3.0), k=3), [f"{OTHER}.3"])
    found = read_rtstruct(write_rtstruct(path, [(1, "both", [*tumour(), elsewhere]), (2, "other", [elsewhere])]))
    mask, report = roi_mask(found, "both", GRID, SERIES, SOPS)
    assert report.unused == {"other_image": 1}
    assert mask.shape[0] == 1
    with pytest.raises(AnnotationError) as raised:
        roi_mask(found, "other", GRID, SERIES, SOPS)
    assert raised.value.code == "wrong_series"


def test_roi_without_a_voxel_is_refused_with_the_reasons(path):
    """An ROI that marks nothing is an error that says why."""
    drawn = [(in_slice([(3, 3)], kind="POINT"), ()), (in_slice(square(3.2, 3.8)), ())]
    found = read_rtstruct(write_rtstruct(path, [(1, "seed", drawn), (2, "none", [])]))
    with pytest.raises(AnnotationError, match="1 not_closed, 1 no_voxel") as raised:
        roi_mask(found, "seed", GRID, SERIES, SOPS)
    assert raised.value.code == "empty_annotation"
    with pytest.raises(AnnotationError, match="0 contours") as raised:
        roi_mask(found, "none", GRID, SERIES, SOPS)
    assert raised.value.code == "empty_annotation"


def first_contour(dataset):
    return dataset.ROIContourSequence[0].ContourSequence[0]


@pytest.mark.parametrize("text", [b"1\\2\\3\\4", b"1\\2", b"1\\2\\x", b"1\\\\3", b"\\"])
def test_malformed_coordinates_spoil_their_contour_only(path, text):
    """Coordinates that are no triplets of numbers are counted; other contours are used."""

    def spoil(dataset):
        first_contour(dataset).ContourData = ["70"] * 3

    drawn = [*tumour(), (in_slice(ring(8.2)), SOPS[2:3])]
    write_rtstruct(path, [(1, "GTV", drawn)], change=spoil)
    content = path.read_bytes()
    old = struct.pack("<HHL", 0x3006, 0x0050, 8) + b"70\\70\\70"
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, old[:8] + text.ljust(8)))
    mask, report = roi_mask(read_rtstruct(path), "GTV", GRID, SERIES, SOPS)
    assert report.unused == {"malformed": 1}
    assert mask.n_voxels == np.count_nonzero(radius_of_centres() < 8.2)


def test_contour_with_other_than_the_announced_points_is_used_and_reported(path):
    """Fewer points than announced may be a cut contour, which is reported."""

    def spoil(dataset):
        first_contour(dataset).NumberOfContourPoints = 41

    found = read_rtstruct(write_rtstruct(path, [(1, "GTV", tumour())], change=spoil))
    assert roi_mask(found, "GTV", GRID, SERIES, SOPS)[1].warned == {"count_differs": 1}


# Files that are none.


def refused(path):
    with pytest.raises(AnnotationError) as raised:
        read_rtstruct(path)
    assert "Roe" not in raised.value.message
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return raised.value.code


def test_ct_slice_and_plain_file_are_no_structure_sets(path, ct, dicom_writer, tmp_path):
    """Another DICOM object and a file that is not DICOM are told apart from a damaged one."""
    dicom_writer(tmp_path / "ct", ct[0])
    assert refused(next((tmp_path / "ct").iterdir())) == "not_rtstruct"
    path.write_text("name,malignancy\nRoe,1\n" * 40)
    assert refused(path) == "not_rtstruct"
    path.write_bytes(b"")
    assert refused(path) == "not_rtstruct"


def test_missing_file_and_damaged_archive_are_unreadable(path, tmp_path):
    """What cannot be opened is unreadable, and the path is not named."""
    assert refused(tmp_path / "Roe.dcm") == "unreadable_rtstruct"
    path.write_bytes(b"PK\3\4 Roe")
    assert refused(Source(str(path), "rs.dcm")) == "unreadable_rtstruct"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_truncated_file_never_loses_contours_in_silence(path, syntax, undefined):
    """Wherever a file is cut, it is refused, or was cut between elements and has all of its contours or none."""

    def lengths(dataset):
        if undefined:
            dataset["ROIContourSequence"].is_undefined_length = True
            for part in dataset.ROIContourSequence:
                part.is_undefined_length_sequence_item = True
                part["ContourSequence"].is_undefined_length = True

    write_rtstruct(path, [(1, "a", tumour() * 2), (2, "b", tumour())], syntax=syntax, change=lengths)
    content = path.read_bytes()
    for cut in range(len(content) - 1, 300, -23):
        path.write_bytes(content[:cut])
        try:
            found = read_rtstruct(path)
        except AnnotationError:
            continue
        assert sum(len(roi.contours) for roi in found.rois) == 0


def test_equal_roi_numbers_are_unreadable(path):
    """Contours refer to ROIs by number, so equal numbers leave them without an owner."""
    write_rtstruct(path, [(1, "a", tumour()), (1, "b", tumour())])
    assert refused(path) == "unreadable_rtstruct"


@pytest.mark.parametrize(("limit", "value"), [("MAX_POINTS", 79), ("MAX_ITEMS", 8), ("MAX_BYTES", 2000)])
def test_files_beyond_a_limit_are_refused(path, monkeypatch, limit, value):
    """More points, items or bytes than the limits allow are refused before they take memory."""
    write_rtstruct(path, [(1, "a", tumour() * 2)])
    assert read_rtstruct(path).roi("a")
    monkeypatch.setattr(rtstruct, limit, value)
    assert refused(path) == "rtstruct_too_large"


def test_deflated_file_is_inflated_only_up_to_the_limit(path, monkeypatch):
    """A small deflated file that would fill the memory is refused."""

    def pad(dataset):
        dataset.add_new(0x30060006, "UT", " " * 3_000_000)

    write_rtstruct(path, [(1, "a", tumour())], syntax=DeflatedExplicitVRLittleEndian, change=pad)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(rtstruct, "MAX_BYTES", 1_000_000)
    assert refused(path) == "rtstruct_too_large"


def test_endless_nesting_is_unreadable(path):
    """Sequences nested thousands deep end in an error, not in a crash."""
    write_rtstruct(path, [(1, "a", [])])
    sequence = struct.pack("<HHL", 0x3006, 0x0040, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(path.read_bytes() + sequence * 20_000)
    assert refused(path) == "unreadable_rtstruct"


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.sampled_from(SYNTAXES),
)
def test_damaged_bytes_end_in_a_structure_set_or_a_code(tmp_path_factory, changes, syntax):
    """Whatever bytes are changed, reading and rasterising end with a result or an AnnotationError."""
    path = tmp_path_factory.mktemp("fuzz") / "rs.dcm"
    write_rtstruct(path, [(1, "a", tumour())], syntax=syntax)
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[132 + int(where * (len(content) - 132))] = value
    assume(bytes(content) != path.read_bytes())
    path.write_bytes(content)
    try:
        found = read_rtstruct(path)
        mask, report = roi_mask(found, 1, GRID, SERIES, SOPS)
    except AnnotationError:
        return
    assert mask.n_voxels
    assert report.used == 1


# Real data.


@pytest.fixture(scope="module")
def phantom(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ibsi")
    with zipfile.ZipFile(real_data / "ibsi1-ct-phantom" / "dicom.zip") as archive:
        archive.extractall(folder)
    files = [p for p in folder.rglob("*") if p.is_file()]
    headers = [(p, pydicom.dcmread(p, stop_before_pixels=True)) for p in files]
    rs = next(p for p, h in headers if h.Modality == "RTSTRUCT")
    images = [h for _, h in headers if h.Modality == "CT"]
    row, column = np.reshape(images[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(row, column)
    images.sort(key=lambda h: float(normal @ np.asarray(h.ImagePositionPatient, dtype=float)))
    first, last = (np.asarray(images[i].ImagePositionPatient, dtype=float) for i in (0, -1))
    spacing = (float(normal @ (last - first)) / (len(images) - 1), *map(float, images[0].PixelSpacing))
    shape = (len(images), images[0].Rows, images[0].Columns)
    direction = tuple(np.column_stack([row, column, normal]).ravel())
    return rs, Geometry(shape, spacing, tuple(first), direction), images


@pytest.mark.real_data
def test_ibsi_phantom_rasterises_to_its_published_mask(phantom, real_data):
    """GTV-1 of the IBSI CT phantom gives the published mask, voxel by voxel."""
    rs, grid, images = phantom
    reference = sitk.ReadImage(str(real_data / "ibsi1-ct-phantom" / "nifti" / "mask" / "mask.nii.gz"))
    assert grid.mismatch(geometry_of(reference)) is None
    mask, report = roi_mask(
        read_rtstruct(rs), "GTV-1", grid, images[0].SeriesInstanceUID, [h.SOPInstanceUID for h in images]
    )
    voxels = mask.within((0, 0, 0), grid.shape).voxels
    expected = sitk.GetArrayFromImage(reference) > 0
    assert mask.n_voxels == 125_256
    assert np.array_equal(voxels, expected)
    assert (report.used, report.unused, report.warned, report.gaps) == (26, {}, {}, ())


@pytest.mark.real_data
def test_ibsi_phantom_is_refused_for_another_series(phantom):
    """The phantom's structure set does not pass for another series."""
    rs, grid, _ = phantom
    with pytest.raises(AnnotationError) as raised:
        roi_mask(read_rtstruct(Path(rs)), "GTV-1", grid, SERIES, SOPS)
    assert raised.value.code == "wrong_series"
