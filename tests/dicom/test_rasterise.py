"""Contours to masks."""

import math
from fractions import Fraction

import numpy as np
import pytest
from contours import GRID, TILTED, in_slice, radius_of_centres, report_of, ring, square, voxels_of
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from lungpipe.dicom import rasterise as rasteriser
from lungpipe.dicom.rasterise import EDGE_TOLERANCE, PLANE_TOLERANCE, Contour, rasterise
from lungpipe.geometry import Geometry


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
