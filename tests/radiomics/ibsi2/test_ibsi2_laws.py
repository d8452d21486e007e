"""Laws' kernels and texture energy."""

from __future__ import annotations

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2 import Laws, Mean, response
from lungpipe.radiomics.ibsi2.laws import KERNELS

ONE_MM = (1.0, 1.0, 1.0)
L5 = np.asarray([1, 4, 6, 4, 1]) / np.sqrt(70)
E5 = np.asarray([-1, -2, 0, 2, 1]) / np.sqrt(10)
S5 = np.asarray([-1, 0, 2, 0, -1]) / np.sqrt(6)


def test_an_impulse_becomes_the_kernel_with_its_first_factor_along_x():
    """IBSI names kernels along x, y, z; the response to an impulse is their outer product."""
    image = np.zeros((5, 5, 5))
    image[2, 2, 2] = 1.0
    found = response(image, ONE_MM, Laws("L5E5S5", energy_distance=0, pooling=None))
    np.testing.assert_allclose(found, np.einsum("z,y,x->zyx", S5, E5, L5), atol=1e-15)


def test_a_separable_image_has_a_separable_response():
    """The response to a(z) b(y) c(x) is the product of the one-dimensional convolutions."""
    rng = np.random.default_rng(8)
    a, b, c = (rng.normal(size=n) for n in (9, 10, 11))
    image = np.einsum("z,y,x->zyx", a, b, c)
    rows = [np.convolve(line, taps, "same") for line, taps in ((a, S5), (b, E5), (c, L5))]
    found = response(image, ONE_MM, Laws("L5E5S5", energy_distance=0, pooling=None, boundary="zero"))
    np.testing.assert_allclose(found, np.einsum("z,y,x->zyx", *rows), atol=1e-13)


def test_every_kernel_has_norm_one_and_only_levels_see_a_constant():
    """Kernels are normalised to a Euclidean norm of 1; edge, spot, wave and ripple add up to zero."""
    for name, taps in KERNELS.items():
        assert np.linalg.norm(taps) == pytest.approx(1.0)
        assert len(taps) == int(name[1])
        assert (abs(taps.sum()) > 1e-12) == (name[0] == "L")


def test_a_checkerboard_is_ripple_and_nothing_else():
    """On +1 / -1 the ripple R5 gains 16 / sqrt(70) an axis, the level L5 nothing."""
    board = np.where(np.indices((8, 8, 8)).sum(axis=0) % 2, -1.0, 1.0)
    gain = (16 / np.sqrt(70)) ** 3
    ripple = response(board, ONE_MM, Laws("R5R5R5", energy_distance=0, pooling="max", boundary="periodic"))
    np.testing.assert_allclose(ripple, gain * board)
    energy = response(board, ONE_MM, Laws("R5R5R5", energy_distance=2, boundary="periodic"))
    np.testing.assert_allclose(energy, gain)
    level = response(board, ONE_MM, Laws("L5L5L5", energy_distance=0, boundary="periodic"))
    np.testing.assert_allclose(level, 0, atol=1e-12)


@pytest.mark.parametrize("kernels", ["L5E5E5", "E5S5"])
def test_energy_is_the_mean_absolute_response_within_the_distance(kernels):
    """Energy at distance 3 is the mean over 7 voxels a side of the absolute value of the pooled response."""
    image = np.random.default_rng(9).normal(size=(10, 11, 12))
    pooled = response(image, ONE_MM, Laws(kernels, energy_distance=0))
    expected = response(np.abs(pooled), ONE_MM, Mean(7, dimensions=len(kernels) // 2))
    np.testing.assert_allclose(response(image, ONE_MM, Laws(kernels, energy_distance=3)), expected)


def test_the_largest_over_rotations_of_an_odd_kernel_is_an_absolute_value():
    """E5 turned round is -E5, so the pooled maximum of an edge along one axis is not below zero."""
    image = np.random.default_rng(10).normal(size=(1, 12, 12))
    assert response(image, ONE_MM, Laws("E5L5", energy_distance=0)).min() >= 0


@pytest.mark.parametrize("kernels", ["L5", "L5E5E5E5", "L5E4", "l5e5", "L5E5E", "", None, 55])
def test_kernels_that_do_not_exist_are_refused(kernels):
    """The error lists the kernels there are."""
    with pytest.raises(DatasetError, match=r"ibsi-laws: kernels must be two .* L3, E3, S3, L5, E5, S5, W5, R5"):
        Laws(kernels)


def test_energy_distance_and_pooling_are_checked():
    """A distance is a whole number, a pooling one of three or none."""
    with pytest.raises(DatasetError, match="energy_distance must be a whole number of at least 0"):
        Laws("L5E5", energy_distance=-1)
    with pytest.raises(DatasetError, match="pooling must be one of 'max', 'mean', 'min', None"):
        Laws("L5E5", pooling="median")
