"""Simoncelli's wavelets: gains, identities and the grid of frequencies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2 import Simoncelli, response
from lungpipe.radiomics.ibsi2.simoncelli import nyquist_fractions

ONE_MM = (1.0, 1.0, 1.0)


def direct(image, level, dimensions):
    """The definition, coefficient by coefficient: n frequencies from -1 to 1, the real part of the inverse."""
    axes = (1, 2) if dimensions == 2 else (0, 1, 2)
    grids = np.meshgrid(*(np.linspace(-1, 1, image.shape[a]) for a in axes), indexing="ij")
    r = np.sqrt(sum(g**2 for g in grids)) * 2 ** (level - 1)
    gain = np.zeros(r.shape)
    for index, value in np.ndenumerate(r):
        if 0.25 < value <= 1:
            gain[index] = math.cos(math.pi / 2 * math.log2(2 * value))
    spectrum = np.fft.fftshift(np.fft.fftn(image, axes=axes), axes=axes) * gain
    return np.fft.ifftn(np.fft.ifftshift(spectrum, axes=axes), axes=axes).real


@pytest.mark.parametrize("shape", [(8, 9, 10), (9, 8, 7), (6, 6, 6), (2, 12, 13)])
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_response_is_the_definitions(shape, level, dimensions):
    """Half the spectrum and a mean of two gains do what the whole definition does, on odd and even sizes."""
    image = np.random.default_rng(18).normal(size=shape)
    found = response(image, ONE_MM, Simoncelli(level, dimensions))
    np.testing.assert_allclose(found, direct(image, level, dimensions), atol=1e-12)


@pytest.mark.parametrize(("level", "cycles"), [(1, 8), (1, 15), (2, 6), (2, 4), (3, 3)])
def test_a_plane_wave_takes_the_gain_of_its_frequency(level, cycles):
    """On 33 voxels, a wave of k cycles stands at k / 16 of the Nyquist frequency."""
    image = np.broadcast_to(np.cos(2 * math.pi * cycles * np.arange(33) / 33 + 0.4), (5, 7, 33))
    fraction = cycles / 16 * 2 ** (level - 1)
    gain = math.cos(math.pi / 2 * math.log2(2 * fraction))
    np.testing.assert_allclose(response(image, ONE_MM, Simoncelli(level)), gain * image, atol=1e-12)


def test_a_level_passes_all_at_half_its_band_and_nothing_outside():
    """The gain is 1 at half the Nyquist frequency, 0 at a quarter, at it and beyond, an octave lower each level."""
    at = np.asarray([0.0, 0.2, 0.25, 0.5, 1.0, 1.2])
    np.testing.assert_allclose(Simoncelli(1).gain(at), [0, 0, 0, 1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(Simoncelli(2).gain(at / 2), [0, 0, 0, 1, 0, 0], atol=1e-15)


def test_neighbouring_levels_share_the_energy_between_them():
    """Squared gains of two levels add up to 1 where both pass, so that the levels are a tight frame."""
    at = np.linspace(0.251, 0.5, 50)
    np.testing.assert_allclose(Simoncelli(1).gain(at) ** 2 + Simoncelli(2).gain(at) ** 2, 1.0, atol=1e-12)
    image = np.random.default_rng(19).normal(size=(1, 31, 33))
    low = np.sqrt(nyquist_fractions(31)[:, None] ** 2 + nyquist_fractions(33)[None, :] ** 2)
    spectrum = np.abs(np.fft.fft2(image[0])) ** 2 / image.size
    between = (low > 0.25) & (low <= 0.5)
    kept = sum(np.abs(np.fft.fft2(response(image, ONE_MM, Simoncelli(j, 2))[0])) ** 2 / image.size for j in (1, 2))
    np.testing.assert_allclose(kept[between], spectrum[between], atol=1e-12)


def test_a_shifted_image_has_the_shifted_response():
    """Even sizes too: the filter is a convolution on the torus."""
    image = np.random.default_rng(20).normal(size=(8, 9, 10))
    moved = response(np.roll(image, (2, -3, 5), (0, 1, 2)), ONE_MM, Simoncelli(1))
    np.testing.assert_allclose(
        moved, np.roll(response(image, ONE_MM, Simoncelli(1)), (2, -3, 5), (0, 1, 2)), atol=1e-12
    )


def test_a_constant_has_no_response_and_no_crop_will_do():
    """The mean is no detail, and the reach is without end."""
    odd = np.full((7, 9, 11), 40.0)
    np.testing.assert_allclose(response(odd, ONE_MM, Simoncelli(1)), 0, atol=1e-12)
    assert Simoncelli(1).reach_voxels(ONE_MM) is None


@pytest.mark.parametrize("level", [0, 1.0, None, True])
def test_a_level_is_a_whole_number_from_one(level):
    """Errors name the filter and the parameter."""
    with pytest.raises(DatasetError, match="ibsi-simoncelli: level must be a whole number of at least 1"):
        Simoncelli(level)
