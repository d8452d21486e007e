"""Morphological and local features against analysis and against sums over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from scipy.special import ellipeinc, ellipkinc, eval_legendre

from lungpipe.radiomics.ibsi.autocorrelation import spatial_autocorrelation
from lungpipe.radiomics.ibsi.enclosing import ellipsoid_area, enclosing_ellipsoid, oriented_box
from lungpipe.radiomics.ibsi.local import RADIUS_MM, local_features
from lungpipe.radiomics.ibsi.morphology import mesh, mesh_area, mesh_volume, morphological_features, principal_semi_axes
from lungpipe.radiomics.ibsi.prepare import Prepared

SPACING = (3.0, 0.9, 1.1)


def prepared(values, mask, spacing=SPACING, **more):
    return Prepared(np.asarray(values, float), mask, more.pop("intensity", mask), spacing, **more)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_autocorrelation_is_the_sum_over_all_pairs(seed):
    """The Fourier way gives Moran's I and Geary's C of the definitions."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 6, 3)
    values, inside = rng.normal(0, 300, shape), rng.random(shape) < 0.7
    inside.flat[[0, -1]] = True
    x = values[inside]
    n = len(x)
    if n < 2:
        return
    weights = cdist(np.argwhere(inside) * SPACING, np.argwhere(inside) * SPACING)
    weights[weights > 0] = 1 / weights[weights > 0]
    z = x - x.mean()
    moran = n / weights.sum() * (z @ weights @ z) / (z @ z)
    geary = (n - 1) / (2 * weights.sum()) * np.sum(weights * (x[:, None] - x) ** 2) / (z @ z)
    assert spatial_autocorrelation(values, inside, SPACING) == pytest.approx((moran, geary), rel=1e-9, abs=1e-12)


def test_autocorrelation_of_equal_intensities_is_undefined():
    """So is that of a single voxel."""
    assert np.isnan(spatial_autocorrelation(np.ones((2, 2, 2)), np.ones((2, 2, 2), bool), SPACING)).all()


@pytest.mark.parametrize("semi_axes", [(9.0, 5.0, 2.0), (5.0, 5.0, 2.0), (5.0, 2.0, 2.0), (5.0, 4.0, 0.0)])
def test_area_of_ellipsoids_by_the_manuals_series(semi_axes):
    """The recursion sums the manual's Legendre series up to degree 20, ellipsoids of revolution included."""
    a, b, c = semi_axes
    alpha, beta = max(np.sqrt(1 - b**2 / a**2), 1e-7), np.sqrt(1 - c**2 / a**2)
    n = np.arange(21)
    argument = (alpha**2 + beta**2) / (2 * alpha * beta)
    terms = (alpha * beta) ** n / (1 - 4 * n**2) * eval_legendre(n, argument)
    assert ellipsoid_area(np.array(semi_axes)) == pytest.approx(4 * np.pi * a * b * terms.sum(), rel=1e-9)


def test_area_of_a_sphere():
    """The series is exact for it; a single point has no area."""
    assert ellipsoid_area(np.array([5.0, 5.0, 5.0])) == pytest.approx(4 * np.pi * 25)
    assert ellipsoid_area(np.zeros(3)) == 0.0


def test_the_manuals_series_is_not_the_area():
    """With its eccentricities the digital phantom's ellipsoid gets 286 mm2, on which the published 1.36 rests; it has 297."""
    a, b, c = 5.70, 4.654, 4.268
    angle = np.arccos(c / a)
    k = a**2 * (b**2 - c**2) / (b**2 * (a**2 - c**2))
    inner = ellipeinc(angle, k) * np.sin(angle) ** 2 + ellipkinc(angle, k) * np.cos(angle) ** 2
    exact = 2 * np.pi * (c**2 + a * b / np.sin(angle) * inner)
    assert exact == pytest.approx(297.5, abs=0.5)
    assert ellipsoid_area(np.array([a, b, c])) == pytest.approx(286.4, abs=0.5)


def test_the_smallest_ellipsoid_round_points_of_one():
    """Points on a turned ellipsoid give its axes back, and points inside change nothing."""
    rng = np.random.default_rng(3)
    on = rng.normal(size=(400, 3))
    on /= np.linalg.norm(on, axis=1)[:, None]
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    axes = np.array([9.0, 5.0, 2.0])
    turn = Rotation.from_euler("zyx", [30, 50, 70], degrees=True)
    points = turn.apply(np.concatenate([on, corners, on * rng.random((400, 1))]) * axes)
    assert enclosing_ellipsoid(points + np.array([1e3, -5, 7])) == pytest.approx(axes, rel=1e-3)


def test_the_smallest_ellipsoid_holds_every_point_of_a_box():
    """A box's is the one with semi-axes sqrt(3) of its half sides."""
    box = np.array(np.meshgrid([0, 2], [0, 4], [0, 10])).reshape(3, -1).T.astype(float)
    assert enclosing_ellipsoid(box) == pytest.approx(np.sqrt(3) * np.array([5.0, 2.0, 1.0]), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360))
def test_a_turned_box_is_its_own_smallest_box(a, b, c):
    """Whatever way it is turned."""
    box = np.array(np.meshgrid([0, 2], [0, 5], [0, 9])).reshape(3, -1).T.astype(float)
    hull = ConvexHull(Rotation.from_euler("zyx", [a, b, c], degrees=True).apply(box))
    assert oriented_box(hull) == pytest.approx([2.0, 5.0, 9.0], rel=1e-6)


def test_a_ball_is_nearly_a_ball():
    """Volume, sphericity, axes and enclosing bodies of a ball of 12 mm, whose mesh is a little rough."""
    spacing = (1.0, 0.8, 0.8)
    index = np.indices((31, 37, 37)).transpose(1, 2, 3, 0) - [15, 18, 18]
    mask = np.linalg.norm(index * spacing, axis=-1) <= 12
    found = morphological_features(prepared(np.ones(mask.shape), mask, spacing))
    volume = 4 / 3 * np.pi * 12**3
    assert found["morph_volume"] == pytest.approx(volume, rel=0.01)
    assert found["morph_vol_approx"] == pytest.approx(volume, rel=0.01)
    assert 0.9 < found["morph_sphericity"] < 1
    assert found["morph_com"] == pytest.approx(0, abs=1e-9)
    assert found["morph_diam"] == pytest.approx(24, abs=1.0)
    # 4 standard deviations along an axis: those of a ball are r / sqrt(5).
    for name in ("maj", "min", "least"):
        assert found[f"morph_pca_{name}_axis"] == pytest.approx(4 * 12 / np.sqrt(5), rel=0.01)
    assert found["morph_vol_dens_mvee"] == pytest.approx(1, abs=0.12)
    assert found["morph_vol_dens_conv_hull"] == pytest.approx(1, abs=0.06)
    assert found["morph_vol_dens_aabb"] == pytest.approx(np.pi / 6, abs=0.06)
    assert found["morph_integ_int"] == pytest.approx(found["morph_volume"])


def test_relations_between_features_of_one_mesh():
    """Compactness, sphericity, asphericity and disproportion are functions of each other (manual, section 3.1)."""
    mask = np.random.default_rng(0).random((4, 5, 6)) < 0.6
    f = morphological_features(prepared(np.random.default_rng(1).normal(50, 9, mask.shape), mask))
    assert f["morph_comp_1"] == pytest.approx(np.sqrt(f["morph_comp_2"]) / (6 * np.pi))
    assert f["morph_sphericity"] == pytest.approx(f["morph_comp_2"] ** (1 / 3))
    assert f["morph_sph_dispr"] == pytest.approx(1 / f["morph_sphericity"])
    assert f["morph_asphericity"] == pytest.approx(f["morph_sph_dispr"] - 1)
    assert f["morph_av"] == pytest.approx(f["morph_area_mesh"] / f["morph_volume"])
    for name in ("conv_hull", "ombb", "aabb", "mvee"):
        assert 0 < f[f"morph_vol_dens_{name}"] <= 1
    assert f["morph_vol_dens_ombb"] >= f["morph_vol_dens_aabb"] * (1 - 1e-9)


def test_a_voxel_alone_is_meshed_as_an_octahedron():
    """Six vertices half a voxel from its centre: volume abc / 6."""
    vertices, faces = mesh(np.ones((1, 1, 1), bool), SPACING)
    assert mesh_volume(vertices, faces) == pytest.approx(np.prod(SPACING) / 6)
    assert mesh_area(vertices, faces) > 0
    assert np.isnan(principal_semi_axes(np.zeros((1, 3)))).all()


def test_a_plane_is_flat_whichever_way_it_lies():
    """The least axis of a plane of voxels is 0, not a rounding error, and its ellipsoid has no volume."""
    mask = np.zeros((5, 5, 5), bool)
    for z in range(5):
        mask[z, :, z] = True
    found = morphological_features(prepared(np.arange(125.0).reshape(5, 5, 5), mask, (0.7, 0.7, 0.7)))
    assert found["morph_pca_least_axis"] == 0.0
    assert np.isnan(found["morph_vol_dens_aee"])
    assert np.isfinite(found["morph_area_dens_aee"])


def test_the_centre_shift_takes_both_masks():
    """The geometric centre is the morphological mask's, the other that of the intensities left (KLMA)."""
    mask = np.zeros((1, 1, 4), bool)
    mask[:] = True
    intensity = np.array([[[False, False, True, True]]])
    found = morphological_features(prepared([[[9.0, 9.0, 1.0, 3.0]]], mask, intensity=intensity))
    assert found["morph_com"] == pytest.approx((2.75 - 1.5) * SPACING[2])
    balanced = morphological_features(prepared([[[1.0, -1.0, 2.0, -2.0]]], mask))
    assert np.isnan(balanced["morph_com"])


@pytest.mark.parametrize("spacing", [(3.0, 0.977, 0.977), (2.0, 2.0, 2.0)])
def test_peaks_are_means_of_balls(spacing):
    """Against all voxel centres within 6.2 mm; the highest of several maxima counts, and the border cuts the ball."""
    rng = np.random.default_rng(4)
    values = rng.normal(0, 80, (9, 14, 14)).round()
    mask = np.zeros(values.shape, bool)
    mask[2:6, 1:9, 3:9] = True
    values[3, 4, 5] = values[5, 2, 7] = 500.0
    values[0, 0, 0] = 9000.0  # in no ball of the mask's greatest voxels
    centres = np.argwhere(np.ones(values.shape)) * spacing
    near = cdist(np.argwhere(mask) * spacing, centres) <= RADIUS_MM
    means = (near @ values.ravel()) / near.sum(axis=1)
    found = local_features(prepared(values, mask, spacing))
    assert found["loc_peak_glob"] == pytest.approx(means.max())
    assert found["loc_peak_loc"] == pytest.approx(means[values[mask] == 500].max())


def test_peaks_need_what_a_crop_lacks():
    """Where a crop ends within the ball the means are unknown."""
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    inner = prepared(np.ones(mask.shape), mask, (2.0, 2.0, 2.0), whole=False)
    assert local_features(inner)["loc_peak_loc"] == 1.0
    edge = np.roll(mask, 3, axis=0)
    assert np.isnan(local_features(prepared(np.ones(mask.shape), edge, (2.0, 2.0, 2.0), whole=False))["loc_peak_glob"])
