"""IBSI's Laplacian of a Gaussian against its formula and its analytic responses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.radiomics.ibsi2 import LaplacianOfGaussian, response


def kernel(sigma: float, radius: int, dimensions: int) -> np.ndarray:
    """IBSI's formula, sampled in full on a square or cube."""
    k = np.indices((2 * radius + 1,) * dimensions) - radius
    squared = (k**2).sum(axis=0) / sigma**2
    scale = -1 / sigma**2 / (math.sqrt(2 * math.pi) * sigma) ** dimensions
    return scale * (dimensions - squared) * np.exp(-squared / 2)


@pytest.mark.parametrize(
    ("sigma_mm", "side", "radius"), [(1.5, 1.0, 6), (1.5, 0.977, 6), (2.0, 1.25, 6), (1.0, 1.0, 4)]
)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_impulse_becomes_the_kernel_and_nothing_beyond(sigma_mm, side, radius, dimensions):
    """The sum of separable terms is IBSI's kernel, cut to a box of 1 + 2 floor(4 sigma + 0.5) voxels."""
    image = np.zeros((17, 17, 17))
    image[8, 8, 8] = 1.0
    expected = np.zeros_like(image)
    inside = slice(8 - radius, 9 + radius)
    formula = kernel(sigma_mm / side, radius, dimensions)
    expected[(inside,) * 3 if dimensions == 3 else (8, inside, inside)] = formula
    spec = LaplacianOfGaussian(sigma_mm, dimensions=dimensions, boundary="zero")
    assert spec.reach_voxels((side,) * 3) == radius
    np.testing.assert_allclose(response(image, (side,) * 3, spec), expected, atol=1e-15)


@pytest.mark.parametrize("frequency", [(0, 0, 3), (2, 0, 3), (1, 4, 2)])
def test_a_plane_wave_keeps_its_shape_and_takes_the_analytic_gain(frequency):
    """The gain at angular frequency w is -|w|^2 exp(-sigma^2 |w|^2 / 2), once the kernel is not cut short."""
    count, sigma = 32, 2.0
    w = 2 * math.pi * np.asarray(frequency) / count
    image = np.cos(np.tensordot(w, np.indices((count,) * 3), axes=1) + 0.3)
    gain = -(w @ w) * math.exp(-(sigma**2) * (w @ w) / 2)
    found = response(image, (1.0, 1.0, 1.0), LaplacianOfGaussian(sigma, cutoff=8.0, boundary="periodic"))
    np.testing.assert_allclose(found, gain * image, atol=1e-9)


def test_scale_is_in_mm_and_curvature_per_squared_voxel():
    """Twice the voxel and twice the sigma is the same filter."""
    image = np.random.default_rng(2).normal(size=(12, 12, 12))
    fine = response(image, (1.0, 1.0, 1.0), LaplacianOfGaussian(1.5))
    coarse = response(image, (2.0, 2.0, 2.0), LaplacianOfGaussian(3.0))
    np.testing.assert_array_equal(fine, coarse)


def test_unequal_voxel_sides_are_refused_in_the_volume_alone():
    """A sigma in mm is several numbers of voxels on a 3 mm slice; by slice only the plane counts."""
    image, spacing_mm = np.zeros((5, 6, 7)), (3.0, 0.977, 0.977)
    with pytest.raises(GeometryError, match=r"equal sides, found 3 x 0.977 x 0.977 mm; resample"):
        response(image, spacing_mm, LaplacianOfGaussian(1.5))
    assert response(image, spacing_mm, LaplacianOfGaussian(1.5, dimensions=2)).shape == image.shape


@pytest.mark.parametrize("sigma_mm", [0, -1.0, math.inf, math.nan, "1.5", True])
def test_a_sigma_that_is_no_length_is_refused(sigma_mm):
    """Errors name the filter and the parameter."""
    with pytest.raises(DatasetError, match="ibsi-log: sigma_mm must be a positive number"):
        LaplacianOfGaussian(sigma_mm)
