"""Separable wavelets: kernels, identities, and PyWavelets' own stationary transform."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import pywt

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2 import SeparableWavelet, response

ONE_MM = (1.0, 1.0, 1.0)


def unpooled(wavelet, band, level=1, boundary="periodic"):
    return SeparableWavelet(wavelet, band, level, None, boundary)


def test_an_impulse_becomes_haars_kernel_with_the_first_letter_along_x():
    """Haar's taps are 1/sqrt 2 (1, 1) and (-1, 1), the second of which stands at the voxel."""
    image = np.zeros((4, 4, 4))
    image[2, 2, 2] = 8**0.5
    found = response(image, ONE_MM, unpooled("haar", "HLL"))
    expected = np.zeros_like(image)
    expected[1:3, 1:3, 1], expected[1:3, 1:3, 2] = -1.0, 1.0
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize(("wavelet", "level"), [("db3", 1), ("db3", 2), ("coif1", 2), ("haar", 3), ("db2", 3)])
def test_bands_of_a_level_hold_the_energy_of_the_low_passes_before(wavelet, level):
    """A level's eight bands together have 2^3 times the energy of the low-passed image that enters it."""
    image = np.random.default_rng(14).normal(size=(16, 17, 18))
    bands = ["".join(letters) for letters in product("LH", repeat=3)]
    energy = sum(np.sum(response(image, ONE_MM, unpooled(wavelet, band, level)) ** 2) for band in bands)
    entering = image if level == 1 else response(image, ONE_MM, unpooled(wavelet, "LLL", level - 1))
    assert energy == pytest.approx(8 * np.sum(entering**2))


@pytest.mark.parametrize("band", ["LH", "HH", "HL", "LL"])
@pytest.mark.parametrize(("wavelet", "level"), [("haar", 1), ("db3", 1), ("db3", 2), ("coif2", 2), ("db2", 3)])
def test_coefficients_are_those_of_the_stationary_transform(wavelet, level, band):
    """PyWavelets' periodic undecimated transform gives the same coefficients, standing some voxels aside."""
    image = np.random.default_rng(15).normal(size=(1, 32, 40))
    # PyWavelets names the first axis (y) first, IBSI x.
    name = band[::-1].replace("L", "a").replace("H", "d")
    peer = pywt.swtn(image[0], wavelet, level, trim_approx=False)[0][name]
    found = response(image, ONE_MM, unpooled(wavelet, band, level))[0]
    aside = [(y, x) for y in range(-32, 33) for x in (y,) if np.allclose(np.roll(peer, (y, x), (0, 1)), found)]
    assert aside, "no common shift of both axes makes them equal"


@pytest.mark.parametrize("wavelet", ["db3", "coif1"])
def test_the_image_can_be_put_together_again(wavelet):
    """Correlating each band with its own kernel and adding gives 2^2 times the image."""
    image = np.random.default_rng(16).normal(size=(1, 24, 26))
    bank = pywt.Wavelet(wavelet)
    taps = {"L": np.asarray(bank.dec_lo), "H": np.asarray(bank.dec_hi)}
    total = np.zeros_like(image)
    for band in ("LL", "LH", "HL", "HH"):
        found = response(image, ONE_MM, unpooled(wavelet, band))
        for axis, letter in ((2, band[0]), (1, band[1])):
            kernel = taps[letter]
            half = len(kernel) // 2
            found = sum(tap * np.roll(found, half - k, axis) for k, tap in enumerate(kernel))
        total += found
    np.testing.assert_allclose(total, 4 * image, atol=1e-11)


@pytest.mark.parametrize("pooling", ["mean", "max", None])
def test_a_shifted_image_has_the_shifted_response(pooling):
    """Undecimated and periodic, every level keeps step with the image voxel by voxel."""
    image = np.random.default_rng(17).normal(size=(9, 10, 11))
    spec = SeparableWavelet("db3", "LLH", 2, pooling, "periodic")
    moved = response(np.roll(image, (1, 3, -2), (0, 1, 2)), ONE_MM, spec)
    np.testing.assert_allclose(moved, np.roll(response(image, ONE_MM, spec), (1, 3, -2), (0, 1, 2)), atol=1e-12)


def test_a_polynomial_below_the_vanishing_moments_leaves_no_detail():
    """Daubechies 3 has three vanishing moments: a quadratic has no high-pass response inside."""
    x = np.arange(40.0)
    image = np.broadcast_to(x**2 - 3 * x + 1, (2, 8, 40))
    found = response(image, ONE_MM, unpooled("db3", "HL", 2, "mirror"))
    np.testing.assert_allclose(found[:, :, 12:28], 0, atol=1e-8)
    assert np.abs(response(x[None, None] ** 3 * np.ones((1, 8, 1)), ONE_MM, unpooled("db3", "HL"))[..., 20]).min() > 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"wavelet": "sym4"}, "wavelet must be haar, db1 to db38"),
        ({"wavelet": None}, "wavelet must be haar"),
        ({"band": "LLHH"}, "band must be two .* or three"),
        ({"band": "LA"}, "band must be two"),
        ({"level": 0}, "level must be a whole number of at least 1"),
        ({"pooling": "sum"}, "pooling must be one of"),
    ],
)
def test_wrong_parameters_are_refused(wrong, message):
    """Each with its name."""
    with pytest.raises(DatasetError, match=f"ibsi-wavelet: {message}"):
        SeparableWavelet(**{"wavelet": "db3", "band": "LLH", **wrong})
