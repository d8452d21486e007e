"""Morphological snakes on near-cubic voxels; test_contour.py has what they share with the other contour."""

from __future__ import annotations

import numpy as np
import pytest
from ball_scenes import ball
from skimage.segmentation import morphological_chan_vese
from skimage.segmentation.morphsnakes import inf_sup, sup_inf

from lungpipe.segment import snakes
from lungpipe.segment.snakes import chan_vese, lattice, morphological_snake


def test_operators_are_those_of_scikit_image():
    """Both smoothing operators are scikit-image's on random masks that touch the border."""
    rng = np.random.default_rng(0)
    for share in (0.2, 0.5, 0.8):
        mask = rng.random((9, 10, 11)) < share
        np.testing.assert_array_equal(snakes._sup_inf(mask), sup_inf(mask).astype(bool))
        np.testing.assert_array_equal(snakes._inf_sup(mask), inf_sup(mask).astype(bool))


@pytest.mark.parametrize("smoothing", [0, 1])
def test_steps_are_those_of_scikit_image(smoothing):
    """Four steps move a mask as scikit-image's do from a fresh start, and five as well."""
    drawn = ball(spacing_mm=(1.0, 1.0, 1.0), noise_hu=60.0)
    image, start = (drawn.hu + 850.0) / 870.0, drawn.seed
    everywhere = np.ones_like(start)
    for iterations in (4, 5):
        found = chan_vese(image, start, everywhere, smoothing=smoothing, iterations=iterations)
        expected = morphological_chan_vese(image, iterations, start, smoothing=smoothing).astype(bool)
        if smoothing and iterations % 2:
            morphological_chan_vese(image, 1, start, smoothing=smoothing)  # the next caller starts afresh
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, start)


def test_what_was_segmented_before_changes_nothing():
    """One mask is the same after an odd number of smoothings, which would turn the order of scikit-image's."""
    drawn = ball(noise_hu=60.0)
    first = drawn.segmented(morphological_snake)
    drawn.segmented(morphological_snake, iterations=1)
    np.testing.assert_array_equal(drawn.segmented(morphological_snake), first)


def test_samples_there_and_back():
    """Resampling keeps a constant, a straight line away from the ends, and the middle in the middle."""
    for n, spacing_mm in ((7, 5.0), (20, 0.7), (30, 0.3)):
        to, back = lattice(n, spacing_mm, 0.4)
        assert to.shape == back.T.shape
        np.testing.assert_allclose(to.sum(axis=1), 1.0)
        np.testing.assert_allclose(back.sum(axis=1), 1.0)
        line = (np.arange(n) - (n - 1) / 2) * spacing_mm
        inner = slice(1, -1)
        np.testing.assert_allclose((back @ (to @ line))[inner], line[inner], atol=0.05 * spacing_mm)
        np.testing.assert_allclose(to @ line, -(to @ line)[::-1], atol=1e-12)
