"""Pooling over right-angle rotations, against rotating the image."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from lungpipe.radiomics.ibsi2 import Gabor, Laws, SeparableWavelet, Simoncelli, response
from lungpipe.radiomics.ibsi2.convolve import separable
from lungpipe.radiomics.ibsi2.laws import KERNELS
from lungpipe.radiomics.ibsi2.rotation import orientations, pool, pooled_separable, rotations

ONE_MM = (1.0, 1.0, 1.0)


def cube_rotations():
    """The 24 rotations of a cube as (axes, flips): signed permutation matrices of determinant 1."""
    for axes in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            matrix = np.eye(3)[list(axes)] * np.asarray(flips)[:, None]
            if np.linalg.det(matrix) > 0:
                yield axes, tuple(i for i, sign in enumerate(flips) if sign < 0)


def turn(image, axes, flips):
    return np.flip(image.transpose(axes), flips)


def turn_back(image, axes, flips):
    return np.flip(image, flips).transpose(np.argsort(axes))


def test_there_are_four_and_twenty_four_rotations():
    """The rotation groups of the square and of the cube, each rotation once."""
    assert len(set(rotations(2))) == len(rotations(2)) == 4
    assert len(set(rotations(3))) == len(rotations(3)) == 24


@pytest.mark.parametrize("pooling", ["max", "mean", "min"])
@pytest.mark.parametrize("names", [("L5", "E5", "W5"), ("L5", "L5", "E5"), ("S5", "S5", "S5")])
def test_turning_the_kernel_is_turning_the_image(pooling, names):
    """Pooled responses equal those of one kernel to all 24 turned images, turned back."""
    image = np.random.default_rng(4).normal(size=(7, 8, 9))
    kernels = [KERNELS[name] for name in names]
    turned = [turn_back(separable(turn(image, *r), kernels, "zero"), *r) for r in cube_rotations()]
    expected = {"max": np.max, "mean": np.mean, "min": np.min}[pooling](turned, axis=0)
    np.testing.assert_allclose(pooled_separable(image, kernels, pooling, "zero"), expected, atol=1e-14)


def test_kernels_that_a_rotation_leaves_alone_are_convolved_once():
    """A symmetric kernel has one orientation, an odd one on every axis eight times fewer than 24 rotations."""
    level, edge, asymmetric = KERNELS["L5"], KERNELS["E5"], np.asarray([1.0, 2.0, 4.0])
    assert len(orientations([level] * 3)) == 1
    assert len(orientations([level, level, edge])) == 6
    assert len(orientations([level, edge, edge])) == 12
    assert len(orientations([level, level, asymmetric])) == 6
    assert len(orientations([level, edge])) == 4


SPECS_3D = [
    Laws("L5E5E5"),
    Laws("L3E3S3", energy_distance=0, pooling="min"),
    SeparableWavelet("db3", "LLH"),
    SeparableWavelet("coif1", "HHH", level=2, pooling="max"),
    SeparableWavelet("haar", "LHH"),
    Gabor(1.5, 3.0, 1.5, step_deg=45.0, pooling="mean"),
    Simoncelli(1),
]


@pytest.mark.parametrize("spec", SPECS_3D, ids=lambda spec: spec.label())
def test_a_turned_image_has_the_turned_response(spec):
    """Pooled responses turn with the image, by every right-angle rotation of the cube."""
    image = np.random.default_rng(5).normal(size=(15, 17, 19))
    straight = response(image, ONE_MM, spec)
    for rotation in cube_rotations():
        found = response(turn(image, *rotation), ONE_MM, spec)
        np.testing.assert_allclose(found, turn(straight, *rotation), atol=1e-11)


@pytest.mark.parametrize(
    "spec",
    [
        Laws("L5E5"),
        SeparableWavelet("db3", "LH"),
        Gabor(2.0, 4.0, step_deg=90.0, dimensions=2, pooling="max"),
        Simoncelli(2, 2),
    ],
    ids=lambda spec: spec.label(),
)
def test_by_slice_a_turned_slice_has_the_turned_response(spec):
    """The same within slices, by quarter turns."""
    image = np.random.default_rng(6).normal(size=(2, 15, 19))
    straight = response(image, ONE_MM, spec)
    for quarters in range(4):
        found = response(np.rot90(image, quarters, axes=(1, 2)), ONE_MM, spec)
        np.testing.assert_allclose(found, np.rot90(straight, quarters, axes=(1, 2)), atol=1e-11)


def test_without_pooling_a_response_does_not_turn():
    """The unpooled kernel tells directions apart."""
    image = np.random.default_rng(7).normal(size=(1, 15, 15))
    spec = Laws("L5E5", pooling=None)
    turned = np.rot90(response(image, ONE_MM, spec), axes=(1, 2))
    assert np.abs(response(np.rot90(image, axes=(1, 2)), ONE_MM, spec) - turned).max() > 0.1


def test_pooling_takes_largest_mean_and_smallest():
    """Voxel by voxel over what it is given."""
    given = np.asarray([[1.0, 5.0], [3.0, -1.0], [5.0, 2.0]])
    found = {pooling: pool(iter(given.copy()), pooling).tolist() for pooling in ("max", "mean", "min")}
    assert found == {"max": [5.0, 5.0], "mean": [3.0, 2.0], "min": [1.0, -1.0]}
