import numpy as np
import pydicom
import pytest
from highdicom import UID
from highdicom.seg import Segmentation, SegmentDescription, segread
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless, generate_uid
from seg_files import in_order, plain_points_mm, write_seg_file

from lungpipe.dicom.index import index_series
from lungpipe.dicom.seg import FRAME_TOLERANCE, choose_segment, read_seg
from lungpipe.dicom.write_seg import write_seg
from lungpipe.errors import AnnotationError
from lungpipe.geometry import Geometry
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_mask, write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

SHAPE = (7, 21, 33)  # 693 pixels a plane: no frame but the first begins at a byte
MADE = {
    "label": "N-1 otsu",
    "tracking_id": "N-1",
    "tracking_uid": "2.25.7",
    "algorithm_name": "otsu",
    "algorithm_version": "3",
}


def rotated(axis, degrees: float) -> tuple[float, ...]:
    """Rotation matrix by Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return tuple((np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).ravel().tolist())


FRAMES = {
    "axial, pixels not square": Geometry(SHAPE, (2.5, 0.8, 0.6), (-101.25, 33.5, -1200.75)),
    "prone": Geometry(SHAPE, (1.25, 0.7, 0.7), (90.0, 80.0, 12.5), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    "oblique": Geometry(SHAPE, (3.0, 0.9, 0.65), (40.0, -77.7, 310.0), rotated((1, 2, 0.5), 23)),
}


def shape_of(name: str) -> np.ndarray:
    """A mask: one that touches the outermost slices and leaves one between empty, a voxel, or everything."""
    voxels = np.zeros(SHAPE, dtype=bool)
    if name == "first and last slice":
        voxels[:] = np.random.default_rng(5).random(SHAPE) < 0.3
        voxels[3] = False
    elif name == "one voxel":
        voxels[6, 20, 32] = True
    else:
        voxels[:] = True
    return voxels


def add_frame_of_reference(dataset, _k):
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.SpacingBetweenSlices = "99"  # nonsense, as some scanners write it


@pytest.fixture
def source(dicom_writer, tmp_path):
    """Return a function that writes a series on a frame and gives its index entry and headers, in file order."""

    def make(frame: Geometry, change=add_frame_of_reference):
        folder = tmp_path / "ct"
        dicom_writer(folder, CTVolume(np.full(frame.shape, -1000, np.int16), frame), change=change)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
        return index_series(folder).series[0], headers

    return make


@pytest.mark.parametrize("shape", ["first and last slice", "one voxel", "everything"])
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_round_trip_keeps_voxels_and_place(source, tmp_path, frame, shape):
    """DICOM series, zarr, DICOM SEG and back: equal voxels, and the same patient coordinates to a plain reader."""
    series, headers = source(frame)
    voxels = shape_of(shape)
    place, store = Place.at(tmp_path), "volume.zarr"
    write_volume(place, store, CTVolume(np.zeros(SHAPE, np.int16), series.geometry), {})
    write_mask(place, store, "masks/a/N-1", Mask(voxels, series.geometry))
    path = tmp_path / "out" / "mask.dcm"
    write_seg(path, read_mask(place, store, "masks/a/N-1"), headers, **MADE)

    back = read_seg(path, series.geometry, None, series.series_uid, series.sop_uids)
    assert np.array_equal(back.voxels, voxels)
    expected = in_order(frame.to_lps(np.argwhere(voxels)))
    found = plain_points_mm(path)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-3


def test_seg_says_what_it_is_and_where_it_comes_from(source, tmp_path):
    """Planes refer to the image at their position; patient, codes, algorithm and tracking are there; no plane is empty."""
    frame = FRAMES["oblique"]
    series, headers = source(frame)
    voxels = shape_of("first and last slice")
    write_seg(tmp_path / "mask.dcm", Mask(voxels, series.geometry), headers, **MADE)
    seg = pydicom.dcmread(tmp_path / "mask.dcm")
    assert int(seg.NumberOfFrames) == 6
    by_position = {tuple(h.ImagePositionPatient): h.SOPInstanceUID for h in headers}
    for group in seg.PerFrameFunctionalGroupsSequence:
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        position = tuple(group.PlanePositionSequence[0].ImagePositionPatient)
        assert reference.ReferencedSOPInstanceUID == by_position[position]
        assert reference.ReferencedSOPClassUID == headers[0].SOPClassUID
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.series_uid
    named = {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence}
    assert named == {h.SOPInstanceUID for h in headers}
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[name].value == headers[0][name].value, name
    assert seg.SeriesInstanceUID != series.series_uid
    (segment,) = seg.SegmentSequence
    assert (segment.SegmentLabel, segment.TrackingID, segment.TrackingUID) == ("N-1 otsu", "N-1", "2.25.7")
    for name, value in [
        ("SegmentedPropertyCategoryCodeSequence", "49755003"),
        ("SegmentedPropertyTypeCodeSequence", "27925004"),
        ("AnatomicRegionSequence", "39607008"),
    ]:
        assert (segment[name].value[0].CodeValue, segment[name].value[0].CodingSchemeDesignator) == (value, "SCT")
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "otsu")
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "3"
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(3.0, abs=1e-5)


def test_highdicom_places_the_volume_where_we_do(source, tmp_path):
    """highdicom's own reconstruction of the SEG has our affine and our voxels."""
    frame = FRAMES["oblique"]
    series, headers = source(frame)
    voxels = shape_of("first and last slice")
    write_seg(tmp_path / "mask.dcm", Mask(voxels, series.geometry), headers, **MADE)
    volume = segread(tmp_path / "mask.dcm").get_volume(combine_segments=True)
    theirs = in_order(volume.map_indices_to_reference(np.argwhere(volume.array)))
    ours = in_order(frame.to_lps(np.argwhere(voxels)))
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() <= 1e-3


def test_multi_frame_source(source, tmp_path):
    """A SEG over one enhanced image refers to its frames by number, whatever their order."""
    frame = FRAMES["oblique"]
    _, headers = source(frame)
    enhanced = enhanced_of(headers)
    voxels = shape_of("first and last slice")
    write_seg(tmp_path / "mask.dcm", Mask(voxels, frame), [enhanced], **MADE)
    assert np.array_equal(read_seg(tmp_path / "mask.dcm", frame).voxels, voxels)
    for group in pydicom.dcmread(tmp_path / "mask.dcm").PerFrameFunctionalGroupsSequence:
        number = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        position = enhanced.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == position


def enhanced_of(headers):
    """The same images as frames of one, in their order."""
    from seg_files import item

    first = headers[0]
    out = item(
        **{name: first[name].value for name in ("PatientID", "PatientName", "StudyInstanceUID", "Rows", "Columns")}
    )
    out.SOPClassUID, out.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2.1", generate_uid(entropy_srcs=["enhanced"])
    out.SeriesInstanceUID, out.FrameOfReferenceUID = first.SeriesInstanceUID, first.FrameOfReferenceUID
    out.Modality, out.NumberOfFrames = "CT", len(headers)
    measures = item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    orientation = item(ImageOrientationPatient=first.ImageOrientationPatient)
    out.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    out.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=h.ImagePositionPatient)]) for h in headers
    ]
    return out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientName", "Unusual"),
        ("PatientSex", "U"),
        ("SliceThickness", None),
        ("ImageOrientationPatient", None),
    ],
)
def test_unusual_source_headers_are_no_hindrance(source, tmp_path, caplog, name, value):
    """A name of one part, an odd sex, no thickness, cosines that differ in the last digit: the SEG is written silently."""

    def change(dataset, k):
        add_frame_of_reference(dataset, k)
        if name == "ImageOrientationPatient":
            value_here = [*dataset.ImageOrientationPatient]
            value_here[1] = f"{float(value_here[1]) + k * 1e-8:.10f}"
            dataset.ImageOrientationPatient = value_here
        elif value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)

    frame = FRAMES["prone"]
    _, headers = source(frame, change)
    voxels = shape_of("one voxel")
    write_seg(tmp_path / "mask.dcm", Mask(voxels, frame), headers, **MADE)
    assert np.array_equal(read_seg(tmp_path / "mask.dcm", frame).voxels, voxels)
    assert not caplog.records
    assert pydicom.dcmread(tmp_path / "mask.dcm").PatientName == headers[0].PatientName


def test_a_seg_that_would_be_wrong_is_not_written(source, tmp_path):
    """An empty mask, another grid, a missing slice, no frame of reference, unusable headers: a code and no file."""
    frame = FRAMES["oblique"]
    _, headers = source(frame)
    path, voxels = tmp_path / "mask.dcm", shape_of("everything")

    def code(mask, sources):
        with pytest.raises(AnnotationError) as error:
            write_seg(path, mask, sources, **MADE)
        return error.value.code

    assert code(Mask(~voxels, frame), headers) == "empty_annotation"
    shifted = Geometry(SHAPE, frame.spacing_mm, tuple(frame.to_lps((0, 0, 0.2)).tolist()), frame.direction)
    assert code(Mask(voxels, shifted), headers) == "mask_grid_differs"
    assert code(Mask(voxels, frame), headers[1:]) == "mask_grid_differs"
    assert code(Mask(voxels, frame), []) == "missing_frame_of_reference"
    del headers[3].SOPClassUID
    assert code(Mask(voxels, frame), headers) == "seg_not_written"
    del headers[2].FrameOfReferenceUID
    assert code(Mask(voxels, frame), headers) == "missing_frame_of_reference"
    assert not path.exists()


FRAME = FRAMES["oblique"]


def plane(seed: int, share: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE[1:]) < share


def test_segments_in_any_order_and_overlapping(tmp_path):
    """Frames of several segments, shuffled, some left out: each segment comes whole by number and by label."""
    planes = [(2, (5, 0, 0), plane(1)), (1, (0, 0, 0), plane(2)), (2, (1, 0, 0), plane(3)), (1, (5, 0, 0), plane(4))]
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, planes, ("core", "7", "nothing"))
    for which, number in [("core", 1), (1, 1), ("7", 2), (2, 2), ("2", 2)]:
        expected = np.zeros(SHAPE, dtype=bool)
        for segment, (z, _, _), pixels in planes:
            if segment == number:
                expected[z] = pixels
        assert np.array_equal(read_seg(path, FRAME, which).voxels, expected), which
    assert read_seg(path, FRAME, "nothing").n_voxels == 0


def test_frames_smaller_than_a_slice(tmp_path):
    """Tiles lie where their own position says, three of them in one slice; where two overlap, either sets a voxel."""
    full, cross = np.ones((4, 5), dtype=bool), np.eye(4, 5, dtype=bool)
    tiles = [(1, (2, 3, 7), full), (1, (2, 16, 28), full), (1, (2, 5, 9), cross)]
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, tiles, size=(4, 5))
    expected = np.zeros(SHAPE, dtype=bool)
    expected[2, 3:7, 7:12] = expected[2, 16:20, 28:33] = True
    expected[2, 7, 11] = expected[2, 8, 12] = True
    assert np.array_equal(read_seg(path, FRAME).voxels, expected)


def test_fractional_and_label_map(tmp_path):
    """A voxel is inside from half of the maximum on; in a label map where the value is the segment's number."""
    values = np.zeros(SHAPE[1:], dtype=np.uint8)
    values[0, :4] = 99, 100, 101, 200
    path = write_seg_file(tmp_path / "f.dcm", FRAME, [(1, (4, 0, 0), values)], kind="FRACTIONAL", maximum=200)
    assert np.argwhere(read_seg(path, FRAME).voxels).tolist() == [[4, 0, 1], [4, 0, 2], [4, 0, 3]]
    values[0, :4] = 1, 2, 3, 2
    path = write_seg_file(tmp_path / "l.dcm", FRAME, [(0, (6, 0, 0), values)], ("a", "b", "c"), kind="LABELMAP")
    assert np.argwhere(read_seg(path, FRAME, "b").voxels).tolist() == [[6, 0, 1], [6, 0, 3]]


@pytest.mark.parametrize(("kind", "syntax"), [("FRACTIONAL", RLELossless), ("LABELMAP", RLELossless), ("BINARY", None)])
def test_files_of_another_writer(source, tmp_path, kind, syntax):
    """What highdicom writes, compressed or not, two segments of each kind, comes in as it was."""
    series, headers = source(FRAME)
    headers.sort(key=lambda h: h.InstanceNumber)
    for header in headers:
        for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(header, name, "")
    labels = np.random.default_rng(8).integers(0, 3, SHAPE).astype(np.uint8)
    labels[4] = 0
    described = [
        SegmentDescription(n, name, codes.SCT.Tissue, codes.SCT.Mass, "MANUAL") for n, name in enumerate("ab", start=1)
    ]
    made = Segmentation(headers, labels, kind, described, UID(), 1, UID(), 1, "m", "m", "1", "0")
    if syntax is not None:
        made.compress(syntax, encoding_plugin="pydicom")
    made.save_as(tmp_path / "seg.dcm")
    for name, number in (("a", 1), ("b", 2)):
        found = read_seg(tmp_path / "seg.dcm", series.geometry, name, series.series_uid, series.sop_uids)
        assert np.array_equal(found.voxels, labels == number)


def test_which_segment():
    """Labels go before numbers, the background never counts, and a doubtful choice names numbers, not labels."""
    assert choose_segment({0: "background", 4: "lesion"}, None) == 4
    assert choose_segment({1: "2", 2: "x"}, "2") == 1
    for labels, which, code, numbers in [
        ({1: "Roe", 2: "Roe", 3: "x"}, "Roe", "ambiguous_roi", "segments 1, 2 "),
        ({1: "Roe", 2: "y"}, None, "ambiguous_roi", "segments 1, 2 "),
        ({1: "Roe", 2: "y"}, "z", "unknown_roi", "numbers: 1, 2"),
        ({1: "Roe", 2: "y"}, 3, "unknown_roi", "numbers: 1, 2"),
        ({0: "Roe"}, 0, "unknown_roi", "numbers: none"),
    ]:
        with pytest.raises(AnnotationError, match=numbers) as error:
            choose_segment(labels, which)
        assert error.value.code == code
        assert "Roe" not in error.value.message


def test_references_are_checked(tmp_path):
    """A SEG of other images is refused, by series or by instance; one that names none is taken by its place."""
    planes = [(1, (2, 0, 0), plane(1))]
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, planes, series_uid="1.2.9", sop_uids=("1.2.9.1", "1.2.9.2"))
    assert read_seg(path, FRAME, None, "1.2.9", ("1.2.9.2", "1.2.9.3")).n_voxels
    assert read_seg(path, FRAME).n_voxels
    for series, instances in [("1.2.8", ("1.2.9.1",)), ("1.2.9", ("1.2.8.1",)), ("1.2.8", ("1.2.8.1",))]:
        with pytest.raises(AnnotationError) as error:
            read_seg(path, FRAME, None, series, instances)
        assert error.value.code == "wrong_series"
        assert "1.2." not in error.value.message
    nameless = write_seg_file(tmp_path / "nameless.dcm", FRAME, planes)
    assert read_seg(nameless, FRAME, None, "1.2.8", ("1.2.8.1",)).n_voxels


def moved(index_zyx=(0, 0, 0), spacing_factor=1.0, degrees=0.0, shape=SHAPE) -> Geometry:
    """The grid on which a SEG of ``FRAME`` is to be put, changed."""
    matrix = np.asarray(rotated((0, 0, 1), degrees)).reshape(3, 3) @ FRAME.matrix
    z, y, x = FRAME.spacing_mm
    origin = tuple(FRAME.to_lps(index_zyx).tolist())
    return Geometry(shape, (z, y * spacing_factor, x), origin, tuple(matrix.ravel().tolist()))


@pytest.mark.parametrize(
    ("geometry", "fits"),
    [
        (moved((0, 0, FRAME_TOLERANCE * 0.9)), True),
        (moved((0, 0, FRAME_TOLERANCE * 1.1)), False),
        (moved((0, FRAME_TOLERANCE * 1.1, 0)), False),
        (moved((FRAME_TOLERANCE * 1.1, 0, 0)), False),
        (moved(spacing_factor=1.01), False),
        (moved(degrees=1.0), False),
        (moved(degrees=180.0), False),
        (moved(shape=(5, 21, 33)), False),
        (moved(shape=(7, 21, 32)), False),
        (moved((2, 0, 0)), False),
    ],
    ids=["within", "x", "y", "z", "spacing", "turned", "upside down", "above", "beside", "below"],
)
def test_frames_must_fall_on_the_grid(tmp_path, geometry, fits):
    """Within the tolerance a frame takes the voxels that it covers; beyond it, or outside, the mask is refused."""
    pixels = plane(1)
    planes = [(1, (1, 0, 0), pixels), (1, (5, 0, 0), pixels)]
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, planes)
    if fits:
        assert np.array_equal(np.flatnonzero(read_seg(path, geometry).voxels.any(axis=(1, 2))), [1, 5])
        return
    with pytest.raises(AnnotationError) as error:
        read_seg(path, geometry)
    assert error.value.code == "mask_grid_differs"


def test_empty_frames_may_lie_anywhere(tmp_path):
    """A frame without a voxel says nothing, even off the grid."""
    planes = [(1, (40, 0, 0), np.zeros(SHAPE[1:])), (1, (2, 0, 0), plane(1))]
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, planes)
    assert np.array_equal(read_seg(path, FRAME).voxels[2], plane(1))


def _no_position(seg):
    del seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence


def _short(seg):
    seg.PixelData = seg.PixelData[:20]


def _many(seg):
    seg.NumberOfFrames = 2_000_000_000


def _no_segments(seg):
    del seg.SegmentSequence


@pytest.mark.parametrize("change", [_no_position, _short, _many, _no_segments])
def test_damaged_files_are_told_by_code(tmp_path, change):
    """A SEG that lacks what it needs is unreadable, and the message quotes nothing of it."""
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, [(1, (2, 0, 0), plane(1))], change=change)
    with pytest.raises(AnnotationError) as error:
        read_seg(path, FRAME)
    assert error.value.code == "unreadable_mask"
    assert "Roe" not in error.value.message
    assert error.value.__cause__ is None


def test_cut_and_foreign_files(tmp_path, source):
    """A truncated SEG, a CT image, a text file and a missing file are unreadable as SEG."""
    path = write_seg_file(tmp_path / "seg.dcm", FRAME, [(1, (2, 0, 0), plane(1))])
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:900])
    (tmp_path / "text.dcm").write_text("nothing")
    series, _ = source(FRAME)
    ct = series.files[0].path
    for name in (tmp_path / "cut.dcm", tmp_path / "text.dcm", ct, tmp_path / "missing.dcm"):
        with pytest.raises(AnnotationError) as error:
            read_seg(name, FRAME)
        assert error.value.code == "unreadable_mask"
