"""IBSI's Gabor filter against its formula and the analytic gain of a plane wave."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.radiomics.ibsi2 import Gabor, response

ONE_MM = (1.0, 1.0, 1.0)


def gaussian(shape, sigma, gamma, theta):
    """Modulus of the kernel about the middle of a plane (y, x)."""
    y, x = np.indices(shape) - np.asarray(shape)[:, None, None] // 2
    u, v = x * math.cos(theta) + y * math.sin(theta), x * math.sin(theta) - y * math.cos(theta)
    return np.exp(-(u**2 + gamma**2 * v**2) / (2 * sigma**2))


@pytest.mark.parametrize("theta_deg", [0.0, 30.0, 90.0, 120.0])
def test_an_impulse_becomes_the_kernels_modulus(theta_deg):
    """In its own slice alone, the elliptic Gaussian across the direction of the wave."""
    image = np.zeros((3, 31, 33))
    image[1, 15, 16] = 2.0
    spec = Gabor(2.0, 3.0, 1.5, theta_deg=theta_deg, dimensions=2, boundary="zero")
    found = response(image, ONE_MM, spec)
    np.testing.assert_allclose(found[1], 2 * gaussian((31, 33), 2.0, 1.5, math.radians(theta_deg)), atol=1e-7)
    np.testing.assert_allclose(found[[0, 2]], 0, atol=1e-15)


@pytest.mark.parametrize("boundary", ["periodic", "mirror"])
@pytest.mark.parametrize("cycles", [8, 7, 10])
def test_a_plane_wave_has_the_gain_of_a_gaussian_band(cycles, boundary):
    """A cosine of frequency f gives, all over, pi sigma^2 / gamma exp(-2 pi^2 sigma^2 (f - 1 / lambda)^2)."""
    count, sigma, wavelength, gamma = 64, 4.0, 8.0, 1.5
    image = np.broadcast_to(np.cos(2 * math.pi * cycles * np.arange(count) / count), (2, count, count))
    spec = Gabor(sigma, wavelength, gamma, dimensions=2, boundary=boundary)
    detuned = cycles / count - 1 / wavelength
    expected = math.pi * sigma**2 / gamma * math.exp(-2 * math.pi**2 * sigma**2 * detuned**2)
    found = response(image, ONE_MM, spec)
    # Away from the edges, where a mirrored wave has a kink.
    np.testing.assert_allclose(found[:, :, 26:38], expected, rtol=3e-4 if boundary == "mirror" else 1e-6)


def test_theta_runs_from_x_towards_y():
    """A wave along y is seen at 90 degrees and not at 0."""
    image = np.broadcast_to(np.cos(2 * math.pi * np.arange(32) / 4)[:, None], (1, 32, 32))
    along_x, along_y = (
        response(image, ONE_MM, Gabor(4.0, 4.0, theta_deg=theta, dimensions=2, boundary="periodic")).max()
        for theta in (0.0, 90.0)
    )
    assert along_y == pytest.approx(math.pi * 16, rel=1e-6)
    assert along_x < 1e-6


@pytest.mark.parametrize("pooling", ["max", "mean", "min"])
@pytest.mark.parametrize("step_deg", [22.5, 45.0, 120.0])
def test_orientations_are_pooled_over_the_full_turn(pooling, step_deg):
    """Pooling over steps equals pooling the responses of every single orientation from 0 to 360 degrees."""
    image = np.random.default_rng(11).normal(size=(2, 20, 21))
    single = [
        response(image, ONE_MM, Gabor(1.5, 3.0, 0.5, theta_deg=theta, dimensions=2))
        for theta in np.arange(0, 360, step_deg).tolist()
    ]
    expected = {"max": np.max, "mean": np.mean, "min": np.min}[pooling](single, axis=0)
    found = response(image, ONE_MM, Gabor(1.5, 3.0, 0.5, step_deg=step_deg, pooling=pooling, dimensions=2))
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_in_the_volume_the_three_stacks_of_planes_are_averaged():
    """The volume's response is the mean of those by axial, coronal and sagittal slice."""
    image = np.random.default_rng(12).normal(size=(14, 15, 16))
    by_slice = Gabor(1.5, 3.0, step_deg=90.0, dimensions=2)
    stacks = [np.moveaxis(response(np.moveaxis(image, axis, 0), ONE_MM, by_slice), 0, axis) for axis in range(3)]
    found = response(image, ONE_MM, Gabor(1.5, 3.0, step_deg=90.0))
    np.testing.assert_allclose(found, np.mean(stacks, axis=0), atol=1e-11)


def test_lengths_are_in_mm():
    """Half the voxel with half the lengths is the same filter."""
    image = np.random.default_rng(13).normal(size=(9, 9, 9))
    coarse = response(image, ONE_MM, Gabor(2.0, 4.0))
    fine = response(image, (0.5, 0.5, 0.5), Gabor(1.0, 2.0))
    np.testing.assert_allclose(coarse, fine, rtol=1e-12)


def test_a_small_gamma_reaches_further():
    """The longer axis of the Gaussian sets the reach."""
    assert Gabor(5.0, 2.0, 1.5).reach_voxels(ONE_MM) == 30
    assert Gabor(5.0, 2.0, 0.5).reach_voxels(ONE_MM) == 60
    assert Gabor(5.0, 2.0, 0.5, boundary="periodic").reach_voxels(ONE_MM) is None


def test_unequal_sides_are_refused():
    """Orthogonal planes need equal sides all round, slices in the plane."""
    image = np.zeros((4, 5, 6))
    with pytest.raises(GeometryError, match=r"ibsi-gabor: .* equal sides"):
        response(image, (3.0, 1.0, 1.0), Gabor(2.0, 4.0))
    with pytest.raises(GeometryError, match=r"ibsi-gabor: .* equal sides"):
        response(image, (1.0, 1.0, 0.8), Gabor(2.0, 4.0, dimensions=2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sigma_mm": 0.0}, "sigma_mm must be a positive number"),
        ({"lambda_mm": -2}, "lambda_mm must be a positive number"),
        ({"gamma": None}, "gamma must be a positive number"),
        ({"theta_deg": math.inf}, "theta_deg must be an angle"),
        ({"step_deg": 50.0}, "step_deg must divide 360"),
        ({"pooling": None}, "pooling must be one of"),
    ],
)
def test_wrong_parameters_are_refused(wrong, message):
    """Each with its name."""
    with pytest.raises(DatasetError, match=f"ibsi-gabor: {message}"):
        Gabor(**{"sigma_mm": 5.0, "lambda_mm": 2.0, **wrong})
