"""Distances between surfaces, against slabs, boxes and balls whose distances are known."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import GeometryError, PluginError
from lungpipe.geometry import Geometry
from lungpipe.segment.distances import surface_distances
from lungpipe.volume import Mask

#: A thick-slice CT.
SPACING_MM = (2.5, 0.7, 0.7)
FRAME = Geometry((30, 90, 90), SPACING_MM)


def box(start, shape, frame: Geometry = FRAME) -> Mask:
    return Mask(np.ones(shape, dtype=np.bool_), frame, start)


def moved(mask: Mask, axis: int, voxels: int) -> Mask:
    start = list(mask.start)
    start[axis] += voxels
    return Mask(mask.voxels, mask.frame, (start[0], start[1], start[2]))


def ball(frame: Geometry, radius_mm: float, off_mm=(0.0, 0.0, 0.0)) -> Mask:
    centre = (np.asarray(frame.shape) - 1) / 2 * frame.spacing_mm + off_mm
    index = np.indices(frame.shape).transpose(1, 2, 3, 0) * frame.spacing_mm
    return Mask(np.linalg.norm(index - centre, axis=-1) <= radius_mm, frame)


@pytest.mark.parametrize(("axis", "voxels"), [(0, 1), (0, 2), (1, 3), (2, 1), (2, 5)])
def test_a_box_shifted_along_an_axis(axis: int, voxels: int) -> None:
    """The outer face across the shift lies d apart, the inner one d or as far as its rim, a strip of width d up to d."""
    shape = (10, 40, 40)
    sides = np.multiply(shape, SPACING_MM)
    d = voxels * SPACING_MM[axis]
    p, q = np.delete(sides, axis)
    area = 2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[0] * sides[2])
    first = box((10, 20, 20), shape)
    found = surface_distances(first, moved(first, axis, voxels), 0.9 * d)
    assert found.hd95_mm == pytest.approx(d, abs=1e-5)
    # Of each surface the outer face, p q, lies d away; the strip, 2 (p + q) d, on average d / 2; of the inner face every
    # point lies min(d, u) away, with u its distance from the rim, which leaves p q d - (p + q) d^2 + 4 d^3 / 3.
    assert found.assd_mm == pytest.approx((2 * p * q * d + 4 * d**3 / 3) / area, rel=0.05)
    far = p * q + 0.1 * d * 2 * (p + q) + (p - 1.8 * d) * (q - 1.8 * d)
    assert found.nsd == pytest.approx(1 - far / area, abs=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_parallel_slabs(axis: int) -> None:
    """Of two thin slabs, faces that look at each other lie d - t apart, the outer ones d, half of the area each."""
    apart, t = 4, SPACING_MM[axis]
    d = apart * t
    shape = [24, 80, 80]
    shape[axis] = 1
    start = [3, 5, 5]
    first = box(tuple(start), tuple(shape))
    second = moved(first, axis, apart)
    found = surface_distances(first, second, d - t)
    assert found.hd95_mm == pytest.approx(d, abs=1e-5)
    assert found.assd_mm == pytest.approx(d - t / 2, rel=0.02)
    assert found.nsd == pytest.approx(0.5, abs=0.03)
    assert surface_distances(first, second, 0.99 * (d - t)).nsd == 0.0
    assert surface_distances(first, second, d).nsd == 1.0


@pytest.mark.parametrize(
    ("spacing_mm", "shape"),
    [((0.5, 0.5, 0.5), (48, 48, 48)), ((1.0, 0.5, 0.5), (25, 48, 48)), (SPACING_MM, (12, 36, 36))],
)
def test_two_concentric_balls(spacing_mm, shape) -> None:
    """Balls of 10 and 7 mm around one centre lie 3 mm apart everywhere, within half a voxel's diagonal."""
    frame = Geometry(shape, spacing_mm)
    found = surface_distances(ball(frame, 10.0), ball(frame, 7.0), 3.0)
    blur_mm = float(np.linalg.norm(spacing_mm)) / 2
    assert found.hd95_mm == pytest.approx(3.0, abs=blur_mm)
    assert found.assd_mm == pytest.approx(3.0, abs=blur_mm)
    assert surface_distances(ball(frame, 10.0), ball(frame, 7.0), 3.0 + 2 * blur_mm).nsd == pytest.approx(1.0, abs=1e-3)
    assert surface_distances(ball(frame, 10.0), ball(frame, 7.0), 0.2).nsd < 0.01


def test_two_balls_side_by_side() -> None:
    """A ball of 10 mm shifted by 6 mm: 95 % of its surface lies within 0.95 * 6 mm, and half of it within 3 mm."""
    frame = Geometry((52, 52, 64), (0.5, 0.5, 0.5))
    found = surface_distances(ball(frame, 10.0), ball(frame, 10.0, (0.0, 0.0, 6.0)), 3.0)
    # A point at angle a from the shift lies |sqrt(r2 + d2 - 2 r d cos a) - r| away, and cos a is uniform on a sphere.
    cosine = (np.arange(200_000) + 0.5) / 100_000 - 1
    apart = np.abs(np.sqrt(100 + 36 - 120 * cosine) - 10)
    assert found.hd95_mm == pytest.approx(np.quantile(apart, 0.95), abs=0.3)
    assert found.assd_mm == pytest.approx(apart.mean(), abs=0.25)
    assert found.nsd == pytest.approx((apart <= 3).mean(), abs=0.08)


def test_equal_masks_touch_everywhere() -> None:
    """A mask and itself, on another crop, lie nowhere apart."""
    first = box((4, 5, 6), (3, 4, 5))
    found = surface_distances(first, first.within((0, 0, 0), FRAME.shape), 0.0)
    assert (found.hd95_mm, found.assd_mm, found.nsd) == (0.0, 0.0, 1.0)


def test_one_voxel_has_a_surface() -> None:
    """Two single voxels five columns apart lie five columns apart, less the width of one on the near sides."""
    found = surface_distances(box((4, 5, 6), (1, 1, 1)), box((4, 5, 11), (1, 1, 1)), 1.0)
    assert found.hd95_mm == pytest.approx(5 * 0.7, abs=1e-5)
    assert found.assd_mm == pytest.approx(4.5 * 0.7, abs=1e-5)


def test_a_surface_is_closed_at_the_edge_of_the_image() -> None:
    """A mask that fills its image is compared as the same mask in a larger one."""
    small = Geometry((4, 6, 6), SPACING_MM)
    alone = surface_distances(box((0, 0, 0), (4, 6, 6), small), box((0, 0, 0), (4, 6, 3), small), 1.0)
    inside = surface_distances(box((9, 9, 9), (4, 6, 6)), box((9, 9, 9), (4, 6, 3)), 1.0)
    assert alone == inside


def test_empty_masks_have_no_surface() -> None:
    """Against nothing every figure is not a number, whichever of the two is empty."""
    empty = Mask(np.zeros((2, 2, 2), dtype=np.bool_), FRAME)
    full = box((4, 5, 6), (3, 4, 5))
    for pair in ((empty, full), (full, empty), (empty, empty)):
        found = surface_distances(*pair, 1.0)
        assert all(math.isnan(value) for value in (found.hd95_mm, found.assd_mm, found.nsd))


def test_wrong_pairs_and_tolerances_are_refused() -> None:
    """Masks of two grids have no distance, and a tolerance is a length."""
    first = box((4, 5, 6), (3, 4, 5))
    with pytest.raises(GeometryError, match="one grid"):
        surface_distances(first, box((4, 5, 6), (3, 4, 5), Geometry(FRAME.shape, (2.0, 0.7, 0.7))), 1.0)
    for tolerance in (-0.1, math.nan):
        with pytest.raises(ValueError, match="at least 0 mm"):
            surface_distances(first, first, tolerance)


def test_a_missing_library_is_named(monkeypatch) -> None:
    """Without MONAI the error says what to install."""
    monkeypatch.setitem(sys.modules, "monai.metrics.utils", None)
    first = box((4, 5, 6), (3, 4, 5))
    with pytest.raises(PluginError, match=r"lungpipe\[surfaces\]"):
        surface_distances(first, first, 1.0)


SMALL = (6, 6, 6)


@st.composite
def two_masks(draw) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Two random masks of at least a voxel, and a spacing."""
    stack = np.random.default_rng(draw(st.integers(0, 10**6))).random((2, *SMALL)) < draw(st.floats(0.05, 0.6))
    stack[:, 2, 3, 3] = True
    spacing = tuple(draw(st.sampled_from([0.5, 0.7, 1.0, 1.25, 2.5, 5.0])) for _ in range(3))
    return stack[0], stack[1], (spacing[0], spacing[1], spacing[2])


def figures(first: np.ndarray, second: np.ndarray, spacing_mm, tolerance_mm: float = 1.0) -> list[float]:
    frame = Geometry(first.shape, tuple(spacing_mm))
    found = surface_distances(Mask(first, frame), Mask(second, frame), tolerance_mm)
    return [found.hd95_mm, found.assd_mm, found.nsd]


@settings(max_examples=30, deadline=None)
@given(two_masks(), st.permutations([0, 1, 2]), st.integers(0, 2), st.sampled_from([0.5, 2.0, 3.0]))
def test_swaps_mirrors_and_scales(case, order, axis, scale) -> None:
    """Order and mirroring change nothing, axes go with their spacing, and twice the spacing is twice the distance."""
    first, second, spacing_mm = case
    found = figures(first, second, spacing_mm)
    assert figures(second, first, spacing_mm) == pytest.approx(found, abs=1e-9)
    assert figures(np.flip(first, axis), np.flip(second, axis), spacing_mm) == pytest.approx(found, abs=1e-5)
    turned = [np.ascontiguousarray(one.transpose(order)) for one in (first, second)]
    assert figures(*turned, [spacing_mm[k] for k in order]) == pytest.approx(found, abs=1e-5)
    scaled = figures(first, second, np.multiply(spacing_mm, scale), scale)
    assert scaled == pytest.approx([found[0] * scale, found[1] * scale, found[2]], rel=1e-5, abs=1e-5)
