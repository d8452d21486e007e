"""RT structure sets: reading, and contours to masks."""

import math
import struct
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from lungpipe.dicom import rasterise as rasteriser
from lungpipe.dicom import rtstruct
from lungpipe.dicom.rasterise import EDGE_TOLERANCE, PLANE_TOLERANCE, Contour, rasterise
from lungpipe.dicom.read import geometry_of
from lungpipe.dicom.rtstruct import read_rtstruct, roi_mask
from lungpipe.dicom.source import Source
from lungpipe.errors import AnnotationError
from lungpipe.geometry import Geometry

GRID = Geometry((6, 40, 50), (2.5, 0.7, 0.9), (-30.0, 12.0, -400.0))
TILTED = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.4, 0.8, -0.1], [-0.1, 0.3, 0.95]]))[0]


# Contours and what they should enclose.


def in_slice(points_yx, k=2, grid=GRID, kind="CLOSED_PLANAR", **more):
    """A contour through fractional (row, column) indices of slice ``k``."""
    points = np.asarray(points_yx, dtype=float).reshape(-1, 2)
    index = np.column_stack([np.full(len(points), float(k)), points])
    return Contour(grid.to_lps(index), kind, **more)


def square(low, high):
    return [(low, low), (low, high), (high, high), (high, low)]


def ring(radius, centre=(20.3, 24.1), n=3000, turn=1):
    angle = turn * np.arange(n) * 2 * np.pi / n
    return np.column_stack([centre[0] + radius * np.sin(angle), centre[1] + radius * np.cos(angle)])


def radius_of_centres(grid=GRID, centre=(20.3, 24.1)):
    y, x = np.indices(grid.shape[1:])
    return np.hypot(y - centre[0], x - centre[1])


def voxels_of(contours, grid=GRID):
    mask, _ = rasterise(contours, grid)
    return mask.within((0, 0, 0), grid.shape).voxels


def report_of(*contours):
    return rasterise(contours, GRID)[1]


def test_area_of_a_circle_converges_to_the_analytic_one():
    """The rasterised area of a circle nears pi r^2 as voxels shrink, and the mask lies where the circle does."""
    errors = []
    for spacing in (1.0, 0.25, 0.0625):
        n = round(48 / spacing)
        grid = Geometry((1, n, n), (3.0, spacing, spacing), (-5.0, 7.0, 11.0))
        angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
        points = np.column_stack([18.13 + 17.3 * np.cos(angle), 31.37 + 17.3 * np.sin(angle), np.full(5000, 11.0)])
        mask, report = rasterise([Contour(points)], grid)
        assert report.used == 1
        assert mask.centre_mm == pytest.approx((18.13, 31.37, 11.0), abs=0.1 * spacing)
        errors.append(abs(mask.volume_mm3 / (3.0 * np.pi * 17.3**2) - 1))
    assert errors[0] < 2e-2
    assert errors[1] < 3e-3
    assert errors[2] < 5e-4


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
@pytest.mark.parametrize("swap", [False, True])
def test_inner_contour_is_a_hole_and_one_inside_it_an_island(kind, swap):
    """Contours of one slice combine by XOR, in whatever order: ring, hole and island are those of analysis."""
    contours = [in_slice(ring(r), kind=kind) for r in (15.2, 9.1, 3.3)]
    r = radius_of_centres()
    expected = ((r < 15.2) & (r > 9.1)) | (r < 3.3)
    voxels = voxels_of(contours[::-1] if swap else contours)
    assert np.array_equal(voxels[2], expected)
    assert not voxels[[0, 1, 3, 4, 5]].any()
    assert report_of(*contours).warned == {}


def test_keyhole_contour_gives_the_hole():
    """An outer and an inner ring joined by a channel passed twice enclose what lies between the rings."""
    outer, inner = ring(15.2), ring(9.1, turn=-1)
    keyhole = np.vstack([outer, outer[:1], inner, inner[:1]])
    r = radius_of_centres()
    assert np.array_equal(voxels_of([in_slice(keyhole)])[2], (r < 15.2) & (r > 9.1))


def test_keyhole_channel_along_voxel_centres_leaves_no_trace():
    """A channel that runs exactly through voxel centres neither adds nor removes one."""
    outer, inner = square(5, 25), [(10, 10), (20, 10), (20, 20), (10, 20)]
    keyhole = [*outer, outer[0], *inner, inner[0]]
    expected = np.zeros(GRID.shape[1:], dtype=bool)
    expected[5:25, 5:25] = True
    expected[10:20, 10:20] = False
    assert np.array_equal(voxels_of([in_slice(keyhole)])[2], expected)


@pytest.mark.parametrize("noise", [0.0, 0.4 * EDGE_TOLERANCE, -0.4 * EDGE_TOLERANCE])
def test_centres_on_edges_belong_to_the_lower_edge_only(noise):
    """Of centres exactly on the edges of a square, those on the first row and column are inside, those on the last not."""
    expected = np.zeros(GRID.shape[1:], dtype=bool)
    expected[3:9, 3:9] = True
    assert np.array_equal(voxels_of([in_slice(np.add(square(3, 9), noise))])[2], expected)


def test_edges_beyond_the_tolerance_are_where_they_are():
    """A square larger by more than the tolerance holds the centres of its last row and column too."""
    voxels = voxels_of([in_slice(square(3 + 3 * EDGE_TOLERANCE, 9 + 3 * EDGE_TOLERANCE))])
    assert voxels[2, 4:10, 4:10].all()
    assert voxels.sum() == 36


tenths = st.integers(0, 130).map(lambda n: Fraction(n, 10))


@settings(deadline=None)
@given(st.lists(st.tuples(tenths, tenths), min_size=3, max_size=9))
@example([tuple(Fraction(n, 10) for n in corner) for corner in [(1, 1), (121, 121), (121, 1)]])
@example([tuple(Fraction(n, 10) for n in corner) for corner in [(13, 103), (103, 13), (103, 103)]])
def test_centres_on_edges_are_decided_as_in_exact_arithmetic(corners):
    """Where edges run through voxel centres, and rounding could decide, the half-open rule holds to the letter."""
    assume(np.linalg.matrix_rank(np.subtract(corners[1:], corners[0]).astype(float)) == 2)
    expected = np.zeros(GRID.shape[1:], dtype=bool)
    for (ay, ax), (by, bx) in zip(corners, corners[1:] + corners[:1], strict=True):
        for y in range(math.ceil(min(ay, by)), math.ceil(max(ay, by))):
            crossing = ax + (y - ay) * (bx - ax) / (by - ay)
            expected[y, math.ceil(crossing) :] ^= True
    assert np.array_equal(voxels_of([in_slice(corners)])[2], expected)


@pytest.mark.parametrize("corner", [(5, 23), (23, 5), (11, 17)])
def test_regions_that_share_an_edge_share_no_voxel_and_leave_none_out(corner):
    """Triangles about a common point, with edges through voxel centres, tile their square exactly."""
    corners = square(2, 26)
    pieces = [voxels_of([in_slice([corners[i], corners[(i + 1) % 4], corner])]) for i in range(4)]
    assert np.array_equal(np.sum(pieces, axis=0), voxels_of([in_slice(corners)]).astype(int))


vertices = st.tuples(st.integers(-40, 440), st.integers(-40, 540)).map(lambda p: (p[0] / 10.37, p[1] / 10.37))
polygons = st.lists(vertices, min_size=3, max_size=12)


@settings(deadline=None)
@given(polygons)
def test_random_polygons_agree_with_an_independent_test_of_every_centre(points):
    """Any polygon, self-crossing or partly outside, marks the centres that matplotlib's even-odd test finds inside."""
    y, x = np.indices(GRID.shape[1:]).astype(float)
    expected = Outline([*points, points[0]], closed=True).contains_points(np.column_stack([y.ravel(), x.ravel()]))
    a = np.asarray(points)
    b = np.roll(a, -1, axis=0)
    clear = np.ones(y.shape, dtype=bool)
    for (ay, ax), (by, bx) in zip(a, b, strict=True):
        length2 = (by - ay) ** 2 + (bx - ax) ** 2
        t = np.clip(((y - ay) * (by - ay) + (x - ax) * (bx - ax)) / (length2 or 1.0), 0, 1)
        clear &= np.hypot(y - ay - t * (by - ay), x - ax - t * (bx - ax)) > 1e-5
    assert np.array_equal(voxels_of([in_slice(points)])[2][clear], expected.reshape(y.shape)[clear])


@settings(deadline=None)
@given(polygons, st.integers(-3, 3), st.integers(-60, 60), st.integers(-60, 60))
def test_moving_a_contour_by_whole_voxels_moves_the_mask(points, dz, dy, dx):
    """Shifted by whole voxels, a contour marks the same voxels, shifted."""
    wide = Geometry((7, 200, 200), GRID.spacing_mm, GRID.origin_mm)
    centred = np.asarray(points) + 70
    first, _ = rasterise([in_slice(centred, 3, wide)], wide)
    moved, _ = rasterise([in_slice(np.add(centred, [dy, dx]), 3 + dz, wide)], wide)
    assert moved.n_voxels == first.n_voxels
    if first.n_voxels:
        assert np.array_equal(
            np.argwhere(moved.voxels) + moved.start, np.argwhere(first.voxels) + first.start + [dz, dy, dx]
        )


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.data())
def test_disjoint_contours_give_the_union(sizes, data):
    """Contours that do not meet mark what each marks alone."""
    contours, alone = [], np.zeros(GRID.shape, dtype=bool)
    for i, size in enumerate(sizes):
        low_y, low_x = data.draw(st.floats(0, 29)), i * 10 + data.draw(st.floats(0, 0.9))
        points = [(low_y, low_x), (low_y, low_x + size), (low_y + size, low_x + size), (low_y + size, low_x)]
        contours.append(in_slice(points, k=i % 2))
        alone |= voxels_of(contours[-1:])
    assert np.array_equal(voxels_of(contours), alone)


@pytest.mark.parametrize("matrix", [TILTED, -TILTED, TILTED[:, [2, 0, 1]], np.diag([1.0, -1.0, -1.0])])
def test_oblique_grid_equals_the_unrotated_one(matrix):
    """A contour drawn on an oblique image marks the voxels that it marks on an unrotated one."""
    oblique = Geometry(GRID.shape, GRID.spacing_mm, (120.5, -77.0, 3.25), tuple(matrix.ravel()))
    outlines = [(ring(12.7), 1), (ring(4.4), 1), (square(3, 30), 4)]
    upright = voxels_of([in_slice(points, k) for points, k in outlines])
    assert upright.any()
    assert np.array_equal(voxels_of([in_slice(p, k, oblique) for p, k in outlines], oblique), upright)
    assert not np.array_equal(voxels_of([in_slice(p, k) for p, k in outlines], oblique), upright)


def test_many_crossings_are_taken_in_parts(monkeypatch):
    """A contour with more crossings than are held at once gives the same mask."""
    points = np.random.default_rng(5).uniform(0, 38, (60, 2))
    whole = voxels_of([in_slice(points)])
    monkeypatch.setattr(rasteriser, "CROSSINGS_AT_ONCE", 17)
    assert np.array_equal(voxels_of([in_slice(points)]), whole)


# What is reported.


def test_sound_contour_is_reported_as_used_and_nothing_else():
    """A sound contour gives no reason, warning or gap."""
    report = report_of(in_slice(ring(8.0)))
    assert (report.used, report.unused, report.warned, report.gaps) == (1, {}, {}, ())


def moved(points_yx, by_zyx):
    flat = in_slice(points_yx)
    return Contour(GRID.to_lps(GRID.to_index(flat.points_mm) + by_zyx))


def spoilt(points_yx, value):
    contour = in_slice(points_yx)
    contour.points_mm[1, 0] = value
    return contour


def slanted(points_yx, rise):
    points = np.asarray(points_yx, dtype=float)
    depth = 2 + rise * (points[:, 0] - points[:, 0].mean()) / np.ptp(points[:, 0])
    return Contour(GRID.to_lps(np.column_stack([depth, points])))


@pytest.mark.parametrize(
    ("reason", "contour"),
    [
        ("off_plane", moved(square(3, 20), (1.1 * PLANE_TOLERANCE, 0, 0))),
        ("off_plane", moved(square(3, 20), (0.5, 0, 0))),
        ("off_plane", slanted(square(3, 20), 2.2 * PLANE_TOLERANCE)),
        ("off_plane", Contour(GRID.to_lps([(1, 9, 9), (1, 20, 9), (3, 20, 9), (3, 9, 9)]))),
        ("outside", in_slice(square(3, 20), k=6)),
        ("outside", in_slice(square(3, 20), k=-1)),
        ("outside", in_slice(square(3, 20), k=-1.3)),
        ("outside", in_slice(square(60, 70))),
        ("outside", in_slice(square(-70, -60))),
        ("degenerate", in_slice([])),
        ("degenerate", in_slice([(3, 3)])),
        ("degenerate", in_slice([(3, 3), (9, 12), (3, 3)])),
        ("degenerate", in_slice([(3, 3), (6, 6), (9, 9), (20, 20)])),
        ("not_closed", in_slice([(3, 3)], kind="POINT")),
        ("not_closed", in_slice(square(3, 9), kind="OPEN_PLANAR")),
        ("not_closed", in_slice(square(3, 9), kind="OPEN_NONPLANAR")),
        ("not_closed", in_slice(square(3, 9), kind="")),
        ("not_finite", spoilt(square(3, 9), np.nan)),
        ("not_finite", spoilt(square(3, 9), np.inf)),
        ("not_finite", spoilt(square(3, 9), 1e300)),
        ("malformed", in_slice([], fault="malformed")),
        ("duplicate", in_slice(ring(8.0, n=12))),
        ("duplicate", in_slice(np.roll(ring(8.0, n=12), 5, axis=0)[::-1])),
    ],
)
def test_contour_that_cannot_be_used_is_counted_by_its_reason(reason, contour):
    """What is wrong with a contour is counted; the sound one beside it is used as if alone."""
    sound = in_slice(ring(8.0, n=12))
    report = report_of(sound, contour)
    assert report.unused == {reason: 1}
    assert reason in rasteriser.UNUSED
    assert report.used == 1
    assert np.array_equal(voxels_of([sound, contour]), voxels_of([sound]))


@pytest.mark.parametrize(
    "contour", [moved(square(3, 20), (0.9 * PLANE_TOLERANCE, 0, 0)), slanted(square(3, 20), 1.8 * PLANE_TOLERANCE)]
)
def test_contour_within_the_plane_tolerance_is_used(contour):
    """A contour closer to its slice than the tolerance marks what it would mark in the slice."""
    assert report_of(contour).used == 1
    assert np.array_equal(voxels_of([contour]), voxels_of([in_slice(square(3, 20))]))


def test_same_outline_on_another_slice_is_no_duplicate():
    """Equal outlines on two slices are two contours."""
    report = report_of(in_slice(ring(8.0), k=1), in_slice(ring(8.0), k=2))
    assert (report.used, report.unused) == (2, {})


def test_contours_declared_xor_cancel_when_equal():
    """DICOM gives CLOSEDPLANAR_XOR no other meaning: the same area twice is none."""
    contour = in_slice(ring(8.0), kind="CLOSEDPLANAR_XOR")
    mask, report = rasterise([contour, contour], GRID)
    assert (mask.n_voxels, report.used) == (0, 2)


def test_contour_that_leaves_the_image_is_cut_and_reported():
    """Of a contour partly outside, the part inside is marked, and the cut is reported."""
    contour = in_slice([(-10, -10), (-10, 4.5), (7.5, 4.5), (7.5, -10)])
    assert report_of(contour).warned == {"partly_outside": 1}
    voxels = voxels_of([contour])
    assert voxels[2, :8, :5].all()
    assert voxels.sum() == 40
    far = in_slice([(30.5, 40.5), (30.5, 70), (60, 70), (60, 40.5)])
    assert report_of(far).warned == {"partly_outside": 1}
    assert voxels_of([far])[2, 31:, 41:].all()
    assert voxels_of([far]).sum() == 81


def test_contours_that_cross_each_other_are_reported():
    """Where contours of one slice cross, XOR drops what both enclose, so that is reported; on two slices it is not."""
    assert report_of(in_slice(square(3, 20)), in_slice(square(10, 30))).warned == {"overlapping": 1}
    assert report_of(in_slice(square(3, 20)), in_slice(square(10, 30), k=3)).warned == {}
    assert report_of(in_slice(square(3, 20)), in_slice(square(20, 30))).warned == {}


def test_contour_between_voxel_centres_is_reported():
    """A contour so small that it holds no voxel centre is used and reported."""
    mask, report = rasterise([in_slice(square(3.2, 3.8))], GRID)
    assert mask.n_voxels == 0
    assert (report.used, report.warned) == (1, {"no_voxel": 1})


def test_slices_without_contour_between_contoured_ones_are_reported_and_left_empty():
    """Contours on every second slice leave gaps that are named and not filled."""
    contours = [in_slice(square(3, 9), k) for k in (5, 1, 3)]
    assert report_of(*contours).gaps == (2, 4)
    assert voxels_of(contours).any(axis=(1, 2)).tolist() == [False, True, False, True, False, True]
    assert report_of(*contours[:1]).gaps == ()


def test_no_contour_gives_an_empty_mask():
    """Without contours the mask is empty and the report too."""
    mask, report = rasterise([], GRID)
    assert (mask.n_voxels, report.used, report.gaps) == (0, 0, ())


# Structure sets.

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
