"""Diameters by analysis."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.segment.diameters import measure, size_class
from lungpipe.volume import Mask


def ellipsoid(half_mm, spacing_mm, degrees=0.0):
    """Voxels whose centres lie in an ellipsoid of half axes (z, y, x), turned in plane."""
    shape = tuple(int(2 * max(half_mm) / s) + 5 for s in spacing_mm)
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    y, x = c * y - s * x, s * y + c * x
    inside = sum((v / h) ** 2 for v, h in zip((z, y, x), half_mm, strict=True)) <= 1
    return Mask(inside, Geometry(shape, spacing_mm))


@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_axes_of_an_ellipsoid(degrees):
    """Long, short and 3D axes are those of the ellipsoid to about a pixel's diagonal."""
    found = measure(ellipsoid((14.0, 6.0, 11.0), (1.0, 0.5, 0.5), degrees))
    assert found.axial_long_mm == pytest.approx(22.0, abs=0.8)
    assert found.axial_short_mm == pytest.approx(12.0, abs=0.9)
    assert found.axial_mean_mm == pytest.approx((found.axial_long_mm + found.axial_short_mm) / 2)
    assert found.diameter_3d_mm == pytest.approx(28.0, abs=1.2)


def test_a_single_voxel_has_its_diagonals():
    """One voxel of 2 x 0.6 x 0.8 mm: the diagonal of its pixel, the extent across it, and its diagonal in space."""
    found = measure(Mask(np.ones((1, 1, 1), np.bool_), Geometry((3, 3, 3), (2.0, 0.6, 0.8)), (1, 1, 1)))
    assert found.axial_long_mm == pytest.approx(1.0)
    assert found.axial_short_mm == pytest.approx(2 * 0.6 * 0.8 / 1.0)
    assert found.diameter_3d_mm == pytest.approx(np.sqrt(5.0))


def test_a_bar_is_as_long_as_its_pixels():
    """Ten pixels of 0.5 mm in a row, one wide: the diagonal of 5 x 0.5 mm."""
    found = measure(Mask(np.ones((1, 1, 10), np.bool_), Geometry((1, 1, 10), (1.0, 0.5, 0.5))))
    assert found.axial_long_mm == pytest.approx(np.hypot(5.0, 0.5))


@given(st.integers(0, 10**6), st.tuples(st.booleans(), st.booleans(), st.booleans()))
@settings(deadline=None, max_examples=40)
def test_mirroring_and_turning_change_nothing(seed, flips):
    """Any blob has the same diameters mirrored, with its in-plane axes exchanged, and elsewhere in the image."""
    voxels = np.random.default_rng(seed).random((4, 7, 9)) < 0.3
    voxels[1, 2, 3] = True
    frame = Geometry((20, 20, 20), (1.5, 0.7, 0.7))
    first = measure(Mask(voxels, frame))
    turned = voxels[tuple(slice(None, None, -1 if f else 1) for f in flips)].transpose(0, 2, 1).copy()
    second = measure(Mask(turned, frame, (5, 3, 2)))
    for name in ("axial_long_mm", "axial_short_mm", "diameter_3d_mm"):
        assert getattr(first, name) == pytest.approx(getattr(second, name))
    assert first.axial_short_mm <= first.axial_long_mm + 1e-9
    assert first.axial_long_mm <= first.diameter_3d_mm + 1e-9
    corners = np.argwhere(voxels)[:, None] + np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    points = corners.reshape(-1, 3) * frame.spacing_mm
    farthest = max(np.linalg.norm(points - p, axis=1).max() for p in points)
    assert first.diameter_3d_mm == pytest.approx(farthest)


def test_a_large_mass_is_quick():
    """A mass of 100 mm takes less than a second on any machine."""
    mask = ellipsoid((50.0, 50.0, 50.0), (1.25, 0.7, 0.7))
    start = time.perf_counter()
    measure(mask)
    assert time.perf_counter() - start < 1.0


def test_an_empty_mask_has_no_diameter():
    """Nothing to measure is an error, not a zero."""
    with pytest.raises(GeometryError):
        measure(Mask(np.zeros((2, 2, 2), np.bool_), Geometry((2, 2, 2), (1.0, 1.0, 1.0))))


@pytest.mark.parametrize(
    ("mean_mm", "texture", "solid_mm", "expected"),
    [
        (5.94, "solid", 0, "2"), (5.96, "solid", 0, "3"), (6.0, "solid", 0, "3"), (7.9, "solid", 0, "3"),
        (8.0, "solid", 0, "4A"), (14.9, "solid", 0, "4A"), (15.0, "solid", 0, "4B"),
        (29.9, "ground-glass", 0, "2"), (30.0, "ground-glass", 0, "3"),
        (5.9, "part-solid", 3, "2"), (6.0, "part-solid", 5.9, "3"), (9.0, "part-solid", 6.0, "4A"),
        (9.0, "part-solid", 8.0, "4B"),
    ],
)  # fmt: skip
def test_size_classes_of_lung_rads(mean_mm, texture, solid_mm, expected):
    """The categories of Lung-RADS v2022 at their borders; the diameter is rounded to one decimal."""
    assert size_class(mean_mm, texture, solid_mm) == expected


def test_an_unknown_texture_is_refused():
    """A texture that Lung-RADS does not know is an error."""
    with pytest.raises(ValueError, match="texture"):
        size_class(7.0, "fluffy")
