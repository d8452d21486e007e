"""Diameters by analysis, and beside those of the outlines that radiologists drew."""

from __future__ import annotations

import time
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from data_catalog import load_dataset, read_annotations
from data_catalog.lidc import database
from data_catalog.lidc.cluster import cluster_annotations
from data_catalog.lidc.masks import rater_mask
from data_catalog.lidc.slices import even_frame
from lungpipe.dicom.index import index_series
from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.segment.consensus import consensus_mask
from lungpipe.segment.diameters import (
    is_enlarged_node,
    measure,
    measure_parts,
    size_class,
    size_class_by_volume,
)
from lungpipe.volume import Mask

LENGTHS = ("axial_long_mm", "axial_short_mm", "axial_mean_mm", "diameter_3d_mm", "volume_mm3", "sphere_diameter_mm")


def axes_mm(half_mm, spacing_mm, degrees=0.0):
    """Places (z, y, x) of voxel centres, mm from the middle of an image round a shape, turned in plane; and its shape."""
    shape = tuple(int(2 * max(half_mm) / s) + 5 for s in spacing_mm)
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (z, c * y - s * x, s * y + c * x), shape


def ellipsoid(half_mm, spacing_mm, degrees=0.0):
    """Voxels whose centres lie in an ellipsoid of half axes (z, y, x), turned in plane."""
    places, shape = axes_mm(half_mm, spacing_mm, degrees)
    inside = sum((v / h) ** 2 for v, h in zip(places, half_mm, strict=True)) <= 1
    return Mask(inside, Geometry(shape, spacing_mm))


def full(shape, spacing_mm):
    return Mask(np.ones(shape, np.bool_), Geometry(shape, spacing_mm))


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.5, 0.5), (2.5, 0.7, 0.7), (1.25, 0.5, 0.8)])
@pytest.mark.parametrize("degrees", [0, 20, 45, 70])
def test_axes_of_an_ellipsoid(spacing_mm, degrees):
    """Centres lie inside and corners half a diagonal further out, so lengths are too long by less than a diagonal."""
    found = measure(ellipsoid((14.0, 6.0, 11.0), spacing_mm, degrees))
    pixel_mm, voxel_mm = np.linalg.norm(spacing_mm[1:]), np.linalg.norm(spacing_mm)
    assert 22.0 - pixel_mm / 2 <= found.axial_long_mm <= 22.0 + pixel_mm
    assert 12.0 - pixel_mm <= found.axial_short_mm <= 12.0 + 1.5 * pixel_mm
    assert 28.0 - voxel_mm <= found.diameter_3d_mm <= 28.0 + voxel_mm
    volume_mm3 = 4 / 3 * np.pi * 14.0 * 6.0 * 11.0
    assert found.volume_mm3 == pytest.approx(volume_mm3, rel=0.01)
    assert found.sphere_diameter_mm == pytest.approx(2 * (14.0 * 6.0 * 11.0) ** (1 / 3), rel=0.004)


@pytest.mark.parametrize("degrees", [0, 15, 30, 45, 80])
def test_a_turned_box_has_its_diagonal_and_the_chord_across_it(degrees):
    """A plate of a x b has the diagonal d; the longest chord perpendicular to it ends on the long sides: b d / a."""
    a, b, spacing_mm = 20.0, 8.0, (1.0, 0.2, 0.2)
    (z, y, x), shape = axes_mm((3.0, 11.0, 11.0), spacing_mm, degrees)
    found = measure(Mask((abs(z) <= 3) & (abs(y) <= b / 2) & (abs(x) <= a / 2), Geometry(shape, spacing_mm)))
    diagonal = np.hypot(a, b)
    assert found.axial_long_mm == pytest.approx(diagonal, abs=0.3)
    assert found.axial_short_mm == pytest.approx(b * diagonal / a, abs=0.5)


@pytest.mark.parametrize("diameter_mm", [4.0, 10.0, 31.0])
def test_all_diameters_of_a_ball_are_its_own(diameter_mm):
    """On fine voxels long, short, 3D and sphere's diameter agree with the ball's within the voxel's diagonal."""
    found = measure(ellipsoid((diameter_mm / 2,) * 3, (0.25, 0.25, 0.25)))
    for name in ("axial_long_mm", "axial_short_mm", "axial_mean_mm", "diameter_3d_mm", "sphere_diameter_mm"):
        assert getattr(found, name) == pytest.approx(diameter_mm, abs=0.25 * np.sqrt(3)), name
    assert found.sphere_diameter_mm == pytest.approx(diameter_mm, rel=0.01)


def test_a_single_voxel_has_its_diagonals():
    """One voxel of 2 x 0.6 x 0.8 mm: the diagonal of its pixel, the chord across it, and its diagonal in space."""
    found = measure(Mask(np.ones((1, 1, 1), np.bool_), Geometry((3, 3, 3), (2.0, 0.6, 0.8)), (1, 1, 1)))
    assert found.axial_long_mm == pytest.approx(1.0)
    assert found.axial_short_mm == pytest.approx(0.6 * 1.0 / 0.8)
    assert found.axial_mean_mm == pytest.approx(0.875)
    assert found.diameter_3d_mm == pytest.approx(np.sqrt(5.0))
    assert found.volume_mm3 == pytest.approx(0.96)
    assert found.sphere_diameter_mm == pytest.approx((6 * 0.96 / np.pi) ** (1 / 3))


def test_a_bar_is_as_long_as_its_pixels_and_no_wider():
    """Ten pixels of 0.5 mm in a row: the diagonal d of 5 x 0.5 mm, and across it 0.5 d / 5, not twice the pixel."""
    found = measure(full((1, 1, 10), (1.0, 0.5, 0.5)))
    assert found.axial_long_mm == pytest.approx(np.hypot(5.0, 0.5))
    assert found.axial_short_mm == pytest.approx(0.5 * np.hypot(5.0, 0.5) / 5.0)


@pytest.mark.parametrize("step", [(0, 1, 1), (1, 0, 0), (1, 1, 1), (0, 0, 1)])
def test_three_voxels_in_a_line(step):
    """Lines of three voxels, in slice, across slices and aslant, are as long as from far corner to far corner."""
    voxels = np.zeros((3, 3, 3), np.bool_)
    for k in range(3):
        voxels[tuple(k * np.asarray(step))] = True
    spacing = np.array([2.5, 0.7, 0.7])
    found = measure(Mask(voxels, Geometry((3, 3, 3), tuple(spacing.tolist()))))
    reach = (1 + 2 * np.asarray(step)) * spacing
    assert found.diameter_3d_mm == pytest.approx(np.linalg.norm(reach))
    in_plane = reach if step[0] == 0 else spacing
    assert found.axial_long_mm == pytest.approx(np.linalg.norm(in_plane[1:]))


def test_of_equal_longest_diameters_the_one_with_the_longer_perpendicular_counts():
    """Two slices share a longest diameter; the wider of them gives the short axis, whichever comes first."""
    narrow = np.zeros((21, 21), np.bool_)
    narrow[10] = True
    wide = narrow.copy()
    wide[5:16, 5:16] = True
    for order in ((narrow, wide), (wide, narrow)):
        found = measure(Mask(np.stack(order), Geometry((2, 21, 21), (1.0, 1.0, 1.0))))
        assert found.axial_long_mm == pytest.approx(np.hypot(21, 1))
        assert 11.0 <= found.axial_short_mm <= 12.0


def corners_mm(mask, plane):
    """Every corner of every pixel of one slice, mm."""
    pixels = np.argwhere(mask.voxels[plane])[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return pixels.reshape(-1, 2) * mask.frame.spacing_mm[1:]


def longest_chord(points, direction):
    """Longest segment along a direction in the hull of points, as a linear programme."""
    sides = ConvexHull(points).equations
    normal, offset = sides[:, :2], -sides[:, 2]
    rows = np.vstack([np.column_stack([normal, 0 * offset]), np.column_stack([normal, normal @ direction])])
    return -linprog([0, 0, -1], rows, np.tile(offset, 2), bounds=[(None, None)] * 2 + [(0, None)]).fun


@given(st.integers(0, 10**6), st.sampled_from([(1.5, 0.7, 0.7), (0.8, 0.6, 0.9)]))
@settings(deadline=None, max_examples=25)
def test_any_blob_as_by_all_pairs_and_a_linear_programme(seed, spacing_mm):
    """Long, short and 3D diameters of any voxels are those of all their corners."""
    voxels = np.random.default_rng(seed).random((3, 6, 8)) < 0.25
    voxels[1, 2, 3] = True
    mask = Mask(voxels, Geometry((3, 6, 8), spacing_mm))
    found = measure(mask)
    slices = [corners_mm(mask, k) for k in range(3) if voxels[k].any()]
    assert found.axial_long_mm == pytest.approx(max(pdist(points).max() for points in slices))
    chords = []
    for points in slices:
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
        for a, b in np.argwhere(np.triu(gaps >= found.axial_long_mm - 1e-7)):
            y, x = (points[b] - points[a]) / gaps[a, b]
            chords.append(longest_chord(points, np.array([-x, y])))
    assert found.axial_short_mm == pytest.approx(max(chords))
    ends = np.argwhere(voxels)[:, None] + np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    assert found.diameter_3d_mm == pytest.approx(pdist(ends.reshape(-1, 3) * spacing_mm).max())


@given(st.integers(0, 10**6), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.booleans())
@settings(deadline=None, max_examples=60)
def test_mirroring_turning_and_moving_change_nothing(seed, flips, exchange):
    """Any blob has the same diameters mirrored, with its in-plane axes exchanged, and elsewhere in the image."""
    voxels = np.random.default_rng(seed).random((4, 7, 9)) < 0.3
    voxels[1, 2, 3] = True
    first = measure(Mask(voxels, Geometry((20, 20, 20), (1.5, 0.7, 0.9))))
    turned = voxels[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    spacing_mm = (1.5, 0.7, 0.9)
    if exchange:
        turned, spacing_mm = turned.transpose(0, 2, 1), (1.5, 0.9, 0.7)
    second = measure(Mask(turned.copy(), Geometry((20, 20, 20), spacing_mm), (5, 3, 2)))
    for name in LENGTHS:
        assert getattr(first, name) == pytest.approx(getattr(second, name), abs=1e-9), name
    assert first.axial_short_mm <= first.axial_long_mm <= first.diameter_3d_mm + 1e-9


def test_an_oblique_grid_is_measured_in_its_own_slices():
    """A turned direction matrix changes no length: slices are planes of the image, whichever way they lie."""
    straight = ellipsoid((5.0, 4.0, 7.0), (1.0, 0.5, 0.5))
    c, s = np.cos(0.4), np.sin(0.4)
    frame = Geometry(straight.shape, (1.0, 0.5, 0.5), (3.0, 4.0, 5.0), (1, 0, 0, 0, c, -s, 0, s, c))
    assert measure(Mask(straight.voxels, frame)) == measure(straight)


def test_separate_parts_are_measured_apart():
    """Three nodes are three measurements, the largest first; parts that meet at a corner are one."""
    voxels = np.zeros((5, 30, 30), np.bool_)
    voxels[1:4, 2:14, 2:14] = True
    voxels[2, 20:24, 20:24] = True
    voxels[3, 24, 24] = True
    mask = Mask(voxels, Geometry((5, 30, 30), (2.0, 1.0, 1.0)))
    first, second = measure_parts(mask)
    assert first.volume_mm3 == 3 * 144 * 2.0
    assert second.volume_mm3 == 17 * 2.0
    assert first.axial_long_mm == pytest.approx(12 * np.sqrt(2))
    assert second.axial_long_mm == pytest.approx(4 * np.sqrt(2))
    assert measure(mask).axial_long_mm > 22 * np.sqrt(2) - 3
    assert measure_parts(Mask(np.zeros((2, 2, 2), np.bool_), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))) == []


def test_a_node_is_enlarged_by_its_short_axis():
    """A slender node of 30 mm is not enlarged, a round one of 10 mm is; a plate of a x b has the short axis b d / a."""
    assert not is_enlarged_node(measure(full((4, 9, 30), (1.0, 1.0, 1.0))))
    assert is_enlarged_node(measure(full((4, 10, 30), (1.0, 1.0, 1.0))))
    assert is_enlarged_node(measure(ellipsoid((5.3, 5.3, 5.3), (0.5, 0.5, 0.5))))
    assert not is_enlarged_node(measure(ellipsoid((4.7, 4.7, 20.0), (0.5, 0.5, 0.5))))


@pytest.mark.parametrize("spacing_mm", [(1.25, 0.7, 0.7), (1.0, 0.5, 0.5), (0.7, 0.7, 0.7)])
def test_a_large_mass_is_quick(spacing_mm):
    """A mass of 100 mm takes some 20 to 45 ms; the best of five stays below 200 ms on a loaded machine."""
    mask = ellipsoid((50.0, 50.0, 50.0), spacing_mm)
    took_s = []
    for _ in range(5):
        start = time.perf_counter()
        measure(mask)
        took_s.append(time.perf_counter() - start)
    assert min(took_s) < 0.2


def test_an_empty_mask_has_no_diameter():
    """Nothing to measure is an error, not a zero."""
    with pytest.raises(GeometryError, match="empty"):
        measure(Mask(np.zeros((2, 2, 2), np.bool_), Geometry((2, 2, 2), (1.0, 1.0, 1.0))))


@pytest.mark.parametrize(
    ("mean_mm", "texture", "solid_mm", "expected"),
    [
        (0.0, "solid", 0, "2"), (5.94, "solid", 0, "2"), (5.95, "solid", 0, "3"), (6.0, "solid", 0, "3"),
        (7.94, "solid", 0, "3"), (7.95, "solid", 0, "4A"), (8.0, "solid", 0, "4A"),
        (14.94, "solid", 0, "4A"), (14.95, "solid", 0, "4B"), (15.0, "solid", 0, "4B"),
        (7.9, "unknown", 0, "3"), (8.0, "unknown", 0, "4A"),
        (29.9, "ground-glass", 0, "2"), (30.0, "ground-glass", 0, "3"),
        (5.9, "part-solid", 3, "2"), (6.0, "part-solid", 5.9, "3"), (9.0, "part-solid", 6.0, "4A"),
        (9.0, "part-solid", 7.9, "4A"), (9.0, "part-solid", 8.0, "4B"),
    ],
)  # fmt: skip
def test_size_classes_of_lung_rads(mean_mm, texture, solid_mm, expected):
    """The categories of Lung-RADS v2022 at their borders; the diameter is rounded to one decimal, halves up."""
    assert size_class(mean_mm, texture, solid_mm) == expected


@pytest.mark.parametrize(
    ("volume_mm3", "texture", "solid_mm3", "expected"),
    [
        (112.4, "solid", 0, "2"), (112.5, "solid", 0, "3"), (113, "unknown", 0, "3"), (267.4, "solid", 0, "3"),
        (268, "solid", 0, "4A"), (1766.4, "solid", 0, "4A"), (1767, "solid", 0, "4B"),
        (14136, "ground-glass", 0, "2"), (14137, "ground-glass", 0, "3"),
        (112, "part-solid", 50, "2"), (113, "part-solid", 112, "3"), (400, "part-solid", 113, "4A"),
        (400, "part-solid", 267, "4A"), (400, "part-solid", 268, "4B"),
    ],
)  # fmt: skip
def test_size_classes_by_volume(volume_mm3, texture, solid_mm3, expected):
    """The same categories by volume, rounded to whole mm3."""
    assert size_class_by_volume(volume_mm3, texture, solid_mm3) == expected


@pytest.mark.parametrize("diameter_mm", [5.0, 6.0, 7.0, 8.0, 12.0, 15.0, 20.0])
def test_a_sphere_has_the_same_class_by_diameter_and_by_volume(diameter_mm):
    """The limits in mm3 are the spheres of the limits in mm."""
    volume_mm3 = np.pi / 6 * diameter_mm**3
    assert size_class(diameter_mm) == size_class_by_volume(volume_mm3)


@pytest.mark.parametrize("classify", [size_class, size_class_by_volume])
def test_an_unknown_texture_or_no_size_is_refused(classify):
    """A texture that Lung-RADS does not know, a negative size and one that is no number are errors."""
    with pytest.raises(ValueError, match="texture"):
        classify(7.0, "fluffy")
    with pytest.raises(ValueError, match="size"):
        classify(-1.0)
    with pytest.raises(ValueError, match="size"):
        classify(float("nan"))
    with pytest.raises(ValueError, match="size"):
        classify(9.0, "part-solid", float("nan"))


def outlined(n_annotations):
    """Annotations of nodules that at least three radiologists outlined, their masks, and the pixel spacing in mm."""
    scans = database.read_scans()[:150]
    annotations = database.read_annotations([scan.scan_id for scan in scans])
    groups = ((scan, group) for scan in scans for group in cluster_annotations(scan, annotations.get(scan.scan_id, [])))
    readings = chain.from_iterable(((scan, group, a) for a in group) for scan, group in groups if 3 <= len(group) <= 4)
    for scan, group, annotation in (next(readings) for _ in range(n_annotations)):
        frame, _ = even_frame(scan, group)
        yield annotation, rater_mask(annotation, frame), scan.pixel_spacing_mm


def widest(points):
    return float(pdist(points).max()) if len(points) > 1 else 0.0


def beside_lesion(contour, mask):
    """The points of an outline that touch a pixel of the mask, by a side or a corner."""
    k = int(np.rint(mask.frame.to_index((0.0, 0.0, contour.z_mm))[0])) - mask.start[0]
    padded = np.pad(mask.voxels[k], 2)
    x, y = (contour.points_xy - np.array(mask.start[:0:-1]) + 2).T
    near = [padded[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return contour.points_xy[np.any(near, axis=0)]


def test_diameters_beside_those_of_radiologists_outlines(capsys):
    """The largest distance between points of an outline is at most 1.41 pixels longer than ours, and never shorter.

    An outline's points are centres of pixels that touch the lesion from outside, by a side or a corner. Both corners of a
    lesion's pixel that such a centre is next to lie 0.71 pixels from it, so the distance between two of them exceeds that
    between corners by at most 1.41 pixels. And a corner of the lesion lies midway between two pixels that are either
    lesion or outline, hence within the outline's hull. Points of an outline that touch no pixel of the lesion (lines
    drawn out and back along themselves) lengthen its diameter and enclose nothing.
    """
    whole, touching, pixels = [], [], []
    for annotation, mask, pixel_mm in outlined(300):
        included = [contour for contour in annotation.contours if contour.included]
        ours = measure(mask).axial_long_mm / pixel_mm
        whole.append(max(widest(contour.points_xy) for contour in included) - ours)
        slices = {contour.z_mm: [] for contour in included}
        for contour in included:
            slices[contour.z_mm].append(beside_lesion(contour, mask))
        touching.append(max(widest(np.concatenate(points)) for points in slices.values()) - ours)
        pixels.append(pixel_mm)
    difference_mm = np.asarray(whole) * pixels
    with capsys.disabled():
        print(  # noqa: T201  figures to look at
            f"\noutline's diameter less ours: median {np.median(difference_mm):.2f} mm ({np.median(whole):.2f} pixels), "
            f"95th percentile {np.percentile(difference_mm, 95):.2f} mm ({np.percentile(whole, 95):.2f} pixels)"
        )
    assert len(whole) == 300
    assert min(touching) >= -1e-9
    assert max(touching) <= np.sqrt(2) + 1e-9
    assert 0 <= np.median(whole) <= np.sqrt(2)


@pytest.mark.real_data
def test_the_consensus_of_four_radiologists_is_as_long_as_their_outlines(lidc_0314):
    """The majority mask is no longer than the longest of four outlines, and no shorter than the shortest less the rim."""
    series = index_series(lidc_0314)
    nodules = read_annotations(load_dataset("lidc-idri"), None, series).nodules
    (nodule,) = (n for n in nodules if len(n.raters) == 4)
    (scan,) = database.read_scans(series.series[0].series_uid)
    groups = cluster_annotations(scan, database.read_annotations([scan.scan_id])[scan.scan_id])
    (group,) = (g for g in groups if len(g) == 4)
    pixel_mm = scan.pixel_spacing_mm
    outlines_mm = [max(widest(c.points_xy) for c in a.contours if c.included) * pixel_mm for a in group]
    found = measure(consensus_mask(nodule.raters))
    assert min(outlines_mm) - np.sqrt(2) * pixel_mm <= found.axial_long_mm <= max(outlines_mm)
    assert found.axial_short_mm < found.axial_long_mm <= found.diameter_3d_mm
