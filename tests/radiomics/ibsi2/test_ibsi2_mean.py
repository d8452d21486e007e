"""IBSI's mean filter and the boundary conditions, which it shows best."""

from __future__ import annotations

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2 import Mean, response

ONE_MM = (1.0, 1.0, 1.0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_impulse_becomes_a_box_of_its_share(dimensions):
    """The response to an impulse is the kernel: 1 / M^D in a box of M voxels a side."""
    image = np.zeros((9, 9, 9))
    image[4, 4, 4] = 1.0
    expected = np.zeros((9, 9, 9))
    depth = slice(2, 7) if dimensions == 3 else slice(4, 5)
    expected[depth, 2:7, 2:7] = 1 / 5**dimensions
    np.testing.assert_allclose(response(image, ONE_MM, Mean(5, dimensions)), expected, atol=1e-15)


@pytest.mark.parametrize("boundary", ["nearest", "mirror", "periodic"])
def test_a_constant_image_stays_itself(boundary):
    """Every extension of a constant image but zero is that constant."""
    image = np.full((4, 5, 6), -850.0)
    np.testing.assert_allclose(response(image, ONE_MM, Mean(3, 3, boundary)), image, rtol=1e-14)


@pytest.mark.parametrize(
    ("boundary", "first", "last"),
    [
        ("zero", (0 + 0 + 1 + 2 + 3) / 5, (3 + 4 + 5 + 0 + 0) / 5),
        ("nearest", (1 + 1 + 1 + 2 + 3) / 5, (3 + 4 + 5 + 5 + 5) / 5),
        ("mirror", (2 + 1 + 1 + 2 + 3) / 5, (3 + 4 + 5 + 5 + 4) / 5),
        ("periodic", (4 + 5 + 1 + 2 + 3) / 5, (3 + 4 + 5 + 1 + 2) / 5),
    ],
)
def test_beyond_the_edge_lies_what_the_boundary_condition_says(boundary, first, last):
    """Along a row 1 2 3 4 5, a support of five sees two voxels beyond either edge."""
    image = np.broadcast_to(np.arange(1.0, 6.0), (5, 5, 5))
    row = response(image, ONE_MM, Mean(5, 2, "nearest"))[2, 2]
    assert row[2] == pytest.approx(3.0)
    # Along y and z the image is constant, so those axes matter for zero alone: keep them out of the way.
    tall = np.broadcast_to(np.arange(1.0, 6.0), (9, 9, 5))
    found = response(tall, ONE_MM, Mean(5, 3, boundary))[4, 4]
    assert found[0] == pytest.approx(first)
    assert found[-1] == pytest.approx(last)


def test_by_slice_no_value_crosses_to_the_next_slice():
    """In two dimensions a slice's response is that of the slice alone."""
    image = np.random.default_rng(1).normal(size=(3, 8, 9))
    whole = response(image, ONE_MM, Mean(3, 2))
    alone = response(image[1:2], ONE_MM, Mean(3, 2))
    np.testing.assert_array_equal(whole[1:2], alone)


def test_the_image_is_left_as_it_is():
    """A filter does not write to its input, even a read-only one of whole numbers."""
    image = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    kept = image.copy()
    image.flags.writeable = False
    assert response(image, ONE_MM, Mean(1)).dtype == np.float64
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("support", [4, 0, -3, 2.5, True, "5"])
def test_a_support_without_a_middle_is_refused(support):
    """IBSI's support is odd."""
    with pytest.raises(DatasetError, match="ibsi-mean: support must be"):
        Mean(support)


@pytest.mark.parametrize("wrong", [{"dimensions": 1}, {"dimensions": True}, {"boundary": "reflect"}])
def test_an_unknown_choice_names_the_choices(wrong):
    """Errors list what there is."""
    with pytest.raises(DatasetError, match=r"must be one of .*(2, 3|'zero', 'nearest', 'mirror', 'periodic')"):
        Mean(5, **wrong)
