"""Shape features equal PyRadiomics' own, and geometry's where a formula exists."""

import logging
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from radiomics.shape import RadiomicsShape
from scipy import ndimage

from lungpipe.errors import FeatureError
from lungpipe.radiomics import shape
from lungpipe.radiomics.shape import shape_features

logging.getLogger("radiomics.shape").setLevel(logging.CRITICAL)  # it logs divisions by a volume of 0

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.703125, 0.703125), (1.3, 0.61, 0.97)]
spacings = st.tuples(*[st.floats(0.3, 5.0)] * 3)
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)).filter(np.any)


def pyradiomics(voxels, spacing_mm):
    """PyRadiomics' features of the region, cropped to it as its extractor does."""
    mask = sitk.GetImageFromArray(crop(voxels).astype(np.uint8))
    mask.SetSpacing(spacing_mm[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 of a single voxel
        values = RadiomicsShape(mask, mask, label=1).execute()
    # On diagonal lines its solver may find a conjugate pair around 0, and its features are then complex.
    return {f"original_shape_{name}": float(np.real(value)) for name, value in values.items()}


def crop(voxels):
    return voxels[ndimage.find_objects(voxels.astype(int))[0]]


def assert_same(voxels, spacing_mm):
    """All values to 1e-9; where PyRadiomics' is the root of a rounding error, ours must be one too."""
    ours, theirs = shape_features(voxels, spacing_mm), pyradiomics(voxels, spacing_mm)
    assert list(ours) == list(theirs)
    if ours["original_shape_MeshVolume"] == 0:  # PyRadiomics' volume is then a rounding error, or 0, and so its ratios
        assert np.isnan(ours.pop("original_shape_SurfaceVolumeRatio"))
        del theirs["original_shape_SurfaceVolumeRatio"]
    for name, value in theirs.items():
        noise = 1e-6 * (theirs["original_shape_MajorAxisLength"] if "Length" in name else 1)
        absolute = noise if abs(value) < noise else 0
        assert ours[name] == pytest.approx(value, rel=1e-9, abs=absolute, nan_ok=True), name


def ball(radius, spacing=(1.0, 1.0, 1.0), inner=0.0):
    """A ball, or a shell from the inner radius on, in mm, centred on a voxel."""
    half = [int(radius / s) + 2 for s in spacing]
    axes = [np.arange(-h, h + 1) * s for h, s in zip(half, spacing, strict=True)]
    squares = sum(g**2 for g in np.meshgrid(*axes, indexing="ij"))
    return (squares <= radius**2) & (squares >= inner**2)


def named(features, *names):
    return [features[f"original_shape_{name}"] for name in names]


def line(step, n=7):
    voxels = np.zeros((n, n, n), bool)
    voxels[tuple(np.arange(n) * s for s in step)] = True
    return voxels


def blob(seed, shape_=(18, 24, 21), sigma=1.5, level=0.55):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape_), sigma)
    return noise > np.quantile(noise, level)


REGIONS = {
    "voxel": np.ones((1, 1, 1), bool),
    "box": np.ones((3, 5, 4), bool),
    "slice": ball(9)[11:12],
    "slice across y": ball(9)[:, 11:12],
    "slice across x": ball(9)[:, :, 11:12],
    "line along x": line((0, 0, 1)),
    "line along z": line((1, 0, 0)),
    "two voxels far apart": np.eye(9, dtype=bool)[[0, -1]][:, None],
    "opposite corners": np.isin(np.arange(4 * 5 * 6), [0, 4 * 5 * 6 - 1]).reshape(4, 5, 6),
    "two slices without overlap": np.stack([np.indices((7, 9))[1] < 3, np.indices((7, 9))[1] > 5]),
    "ball": ball(8.3),
    "shell": ball(10, inner=7),
    "shell of anisotropic voxels": ball(12, (2.5, 0.7, 0.7), inner=9),
    "speckles": np.random.default_rng(5).random((9, 8, 10)) > 0.8,
    "porous": np.random.default_rng(6).random((9, 8, 10)) > 0.3,
    "smooth blobs": blob(1),
    "rough blobs": blob(2, sigma=0.7, level=0.7),
}


@pytest.mark.parametrize("spacing_mm", SPACINGS, ids=str)
@pytest.mark.parametrize("name", REGIONS)
def test_values_are_pyradiomics_values(name, spacing_mm):
    """Names, order and values to 1e-9 are PyRadiomics' for solid, hollow, flat, scattered and single-voxel regions."""
    assert_same(REGIONS[name], spacing_mm)


@settings(max_examples=150, deadline=None)
@given(masks, spacings)
def test_any_small_mask_has_pyradiomics_values(voxels, spacing_mm):
    """Any small mask has PyRadiomics' values, holes in its mesh included."""
    assert_same(voxels, spacing_mm)


@pytest.mark.parametrize("spacing_mm", SPACINGS, ids=str)
@pytest.mark.parametrize("step", [(0, 1, 1), (1, 0, 1), (1, 1, 1)])
def test_a_diagonal_line_has_pyradiomics_values(step, spacing_mm):
    """On a diagonal line lesser eigenvalues are rounding errors, as PyRadiomics' are, and all else is the same."""
    assert_same(line(step), spacing_mm)


def test_every_cell_contributes_pyradiomics_volume_wherever_it_lies():
    """Each of the 256 cells adds PyRadiomics' volume at an offset from the origin along all axes at once."""
    for code in range(256):
        voxels = np.pad(shape._cell(code), ((3, 2), (2, 4), (4, 2)))
        voxels[0, 0, 0] = True  # or the crop would bring the cell to the origin
        assert_same(voxels, (1.7, 0.8, 1.1))
        assert_same(~voxels, (1.7, 0.8, 1.1))


@pytest.mark.parametrize("few", [0, 10**9])
def test_hulls_and_all_pairs_give_the_same_diameters(monkeypatch, few):
    """Diameters do not depend on whether a set of points went through a convex hull, collinear sets included."""
    monkeypatch.setattr(shape, "_FEW_POINTS", few)
    for voxels in REGIONS.values():
        assert_same(voxels, (1.3, 0.61, 0.97))


@pytest.mark.parametrize("n", [(1, 1, 1), (4, 7, 5), (2, 20, 3)])
@pytest.mark.parametrize("spacing_mm", SPACINGS, ids=str)
def test_a_box_has_the_extents_of_its_bevelled_mesh(n, spacing_mm):
    """A box of n voxels spans n spacings along one axis and n - 1 along the others, since its edges are bevelled.

    Its vertices lie half a voxel out from the surface voxels' centres along one axis each. Two of them differ by n
    along an axis only where both lie on faces across it, and so by n - 1 at most along the two others; vertices on
    two different faces differ by n - 1/2 along both axes.
    """
    full, less, half = (np.array(n) - k for k in (0, 1, 0.5))
    options = [np.where(np.arange(3) == a, full, less) for a in range(3)]
    options += [np.where(np.arange(3) == a, less, half) for a in range(3)]

    def longest(keep):
        return max(np.linalg.norm((option * spacing_mm)[list(keep)]) for option in options)

    found = shape_features(np.ones(n, bool), spacing_mm)
    expected = [longest((0, 1, 2)), longest((1, 2)), longest((0, 2)), longest((0, 1))]
    names = ["Maximum3DDiameter", *(f"Maximum2DDiameter{p}" for p in ("Slice", "Column", "Row"))]
    np.testing.assert_allclose(named(found, *names), expected, rtol=1e-12)


def test_a_ball_has_the_volume_and_surface_of_a_sphere():
    """A finely sampled ball has the sphere's volume to 1 %, its diameter to a voxel and its area plus up to 10 % for the steps."""
    radius, spacing = 12.0, (0.75, 0.5, 0.5)
    found = shape_features(ball(radius, spacing), spacing)
    volume, voxel_volume, area, diameter, axis = named(
        found, "MeshVolume", "VoxelVolume", "SurfaceArea", "Maximum3DDiameter", "LeastAxisLength"
    )
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    assert voxel_volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    assert 4 * np.pi * radius**2 < area < 1.1 * 4 * np.pi * radius**2
    assert 2 * radius <= diameter <= 2 * radius + max(spacing)
    assert axis == pytest.approx(4 * radius / np.sqrt(5), rel=0.01)


def test_a_mesh_whose_holes_cancel_its_volume_has_no_ratio():
    """A lone voxel and two that touch by an edge, so placed that holes cancel the volume, have a NaN ratio."""
    voxels = np.pad(shape._cell(6), ((3, 2), (2, 4), (4, 2)))
    voxels[0, 0, 0] = True
    ours, theirs = (f(voxels, (1.0, 1.0, 1.0)) for f in (shape_features, pyradiomics))
    assert named(ours, "MeshVolume", "Sphericity") == named(theirs, "MeshVolume", "Sphericity") == [0, 0]
    assert np.isnan([named(each, "SurfaceVolumeRatio") for each in (ours, theirs)]).all()


@settings(max_examples=50, deadline=None)
@given(masks, spacings, st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 3))
def test_a_shift_changes_nothing(voxels, spacing_mm, margins):
    """Background around a region leaves every value as it is, bit by bit."""
    shifted = shape_features(np.pad(voxels, margins), spacing_mm)
    np.testing.assert_equal(shifted, shape_features(voxels, spacing_mm))


@settings(max_examples=50, deadline=None)
@given(masks, spacings, st.permutations(range(3)))
def test_permuted_axes_permute_the_planes(voxels, spacing_mm, order):
    """With permuted axes the 3-D diameter and the variances stay and Slice, Column and Row permute alike."""
    planes = ["Maximum2DDiameterSlice", "Maximum2DDiameterColumn", "Maximum2DDiameterRow"]
    same = ["Maximum3DDiameter", "VoxelVolume", "MajorAxisLength"]
    first = shape_features(voxels, spacing_mm)
    second = shape_features(voxels.transpose(order), tuple(spacing_mm[a] for a in order))
    np.testing.assert_allclose(named(second, *planes), named(first, *(planes[a] for a in order)), rtol=1e-12)
    np.testing.assert_allclose(named(second, *same), named(first, *same), rtol=1e-9)


def test_any_memory_layout_will_do():
    """A transposed, strided or read-only view gives what its copy gives."""
    view = blob(3).transpose(2, 0, 1)[::2, :, ::-1]
    view.flags.writeable = False
    np.testing.assert_equal(
        shape_features(view, (1.0, 2.0, 0.5)), shape_features(view.copy(order="C"), (1.0, 2.0, 0.5))
    )


def test_an_empty_region_is_refused():
    """A region without a voxel raises FeatureError."""
    with pytest.raises(FeatureError, match="at least one voxel"):
        shape_features(np.zeros((3, 3, 3), bool), (1.0, 1.0, 1.0))


@pytest.mark.slow
def test_a_large_shell_has_pyradiomics_values():
    """A shell of 60 ml has PyRadiomics' values, its diameters from large hulls included."""
    assert_same(ball(26, inner=14), (1.0, 1.0, 1.0))
