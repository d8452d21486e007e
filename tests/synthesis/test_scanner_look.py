"""Blur, noise and texture, measured in scans where they are known."""

import numpy as np
import pytest
from lung_block import LUNG_HU, SPACING_MM, WALL_HU, block, middle, neighbours_correlate
from scipy import ndimage

from lungpipe.errors import RegionError
from lungpipe.geometry import Geometry
from lungpipe.synthesis.scanner import scanner_at, tissue_of
from lungpipe.synthesis.sharpness import Sharpness, sharpness_of
from lungpipe.synthesis.texture import gaussian_texture, slow_part, texture_of
from lungpipe.volume import CTVolume, Mask


def chest(spacing_mm, blur_mm, noise_hu):
    """An ellipsoid of lung in tissue, drawn twice as fine, blurred (z, y, x) and averaged over voxels."""
    shape = tuple(int(side / s) for side, s in zip((104, 80, 84), spacing_mm, strict=True))
    steps = [s / 2 for s in spacing_mm]
    z, y, x = np.meshgrid(
        *(np.arange(2 * n) * s for n, s in zip(shape, steps, strict=True)), indexing="ij", sparse=True
    )
    inside = ((z - 52) / 38) ** 2 + ((y - 40) / 31) ** 2 + ((x - 42) / 33) ** 2 < 1
    fine = np.where(inside, np.float32(LUNG_HU), np.float32(WALL_HU))
    fine = ndimage.gaussian_filter(fine, [b / s for b, s in zip(blur_mm, steps, strict=True)])
    hu = fine.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean(axis=(1, 3, 5))
    hu = hu + np.random.default_rng(1).normal(0, noise_hu, shape)
    return CTVolume(np.rint(hu).astype(np.int16), Geometry(shape, spacing_mm))


@pytest.mark.parametrize(
    ("spacing_mm", "in_plane_mm", "axial_mm", "noise_hu"),
    [((2.0, 0.8, 0.8), 0.5, 1.0, 20), pytest.param((1.25, 0.8, 0.8), 0.9, 0.6, 45, marks=pytest.mark.slow)],
)
def test_blur_is_found_along_and_across_the_slices(spacing_mm, in_plane_mm, axial_mm, noise_hu):
    """Within 10 % of the blur that was put in, averaging over voxels included, in noise of any level."""
    found = sharpness_of(chest(spacing_mm, (axial_mm, in_plane_mm, in_plane_mm), noise_hu))
    assert min(found.in_plane_edges, found.axial_edges) >= 100
    assert found.in_plane_mm == pytest.approx(np.hypot(in_plane_mm, spacing_mm[1] / 12**0.5), rel=0.1)
    assert found.axial_mm == pytest.approx(np.hypot(axial_mm, spacing_mm[0] / 12**0.5), rel=0.1)
    assert found.beyond_voxels_mm(spacing_mm) == pytest.approx((axial_mm, in_plane_mm, in_plane_mm), rel=0.15)


def test_without_edges_the_blur_is_that_of_the_voxels():
    """A block of lung alone says nothing, and neither does an image smaller than the look."""
    for volume in (block()[0], block((6, 5, 5))[0]):
        found = sharpness_of(volume)
        assert (found.in_plane_edges, found.axial_edges) == (0, 0)
        assert found.beyond_voxels_mm(SPACING_MM) == pytest.approx((0, 0, 0), abs=1e-6)
    assert Sharpness(0.1, 0.1, 50, 50).beyond_voxels_mm(SPACING_MM) == (0, 0, 0)


@pytest.mark.parametrize("grain_mm", [0.0, 0.9])
def test_noise_is_measured_with_its_grain(grain_mm):
    """Level within 5 %, correlation of neighbours within 0.06; vessels are left out and do not raise the level."""
    volume, lung = block(noise_hu=35.0, grain_mm=grain_mm)
    hu = volume.hu.copy()
    hu[::9, ::13, :] = 30  # vessels along x
    noise = scanner_at(CTVolume(hu, volume.frame), middle(volume), lung).noise
    assert noise.sd_hu == pytest.approx(35.0, rel=0.05)
    rho = np.exp(-((0.7 / (2 * grain_mm)) ** 2)) if grain_mm else 0.0
    assert noise.neighbours == pytest.approx((0.0, rho, rho), abs=0.06)
    assert not tissue_of(hu, lung.voxels, SPACING_MM)[::9, ::13, :].any()


def test_drawn_noise_is_as_it_was_measured():
    """A field drawn from a measured texture has its level and grain, is the same by the same seed, and another by another."""
    volume, lung = block(noise_hu=25.0, grain_mm=0.8)
    texture = scanner_at(volume, middle(volume), lung).noise
    field = texture.draw(np.random.default_rng(3), (40, 50, 60))
    everywhere = np.ones(field.shape, bool)
    assert field.std() == pytest.approx(25.0, rel=0.05)
    for axis, rho in enumerate(texture.neighbours):
        assert neighbours_correlate(field, everywhere, axis) == pytest.approx(rho, abs=0.05)
    assert np.array_equal(field, texture.draw(np.random.default_rng(3), (40, 50, 60)))
    assert not np.array_equal(field, texture.draw(np.random.default_rng(4), (40, 50, 60)))
    # Its ends do not touch: the first slice is not next to the last row of a periodic field.
    assert abs(np.corrcoef(field[:, 0].ravel(), field[:, -1].ravel())[0, 1]) < 0.1


def test_texture_of_tissue_has_the_grain_asked_for():
    """Neighbours correlate as those of white noise that a Gaussian smoothed; a flat patch has no texture."""
    field = gaussian_texture(22.0, 1.5, SPACING_MM).draw(np.random.default_rng(0), (60, 80, 80))
    assert field.std() == pytest.approx(22.0, rel=0.08)
    for axis, spacing in enumerate(SPACING_MM):
        rho = np.exp(-((spacing / 3.0) ** 2))
        assert neighbours_correlate(field, np.ones(field.shape, bool), axis) == pytest.approx(rho, abs=0.03)
    flat = texture_of(np.zeros((9, 9, 9)), np.ones((9, 9, 9), bool), SPACING_MM)
    assert flat.sd_hu == 0
    assert not flat.draw(np.random.default_rng(0), (9, 9, 9)).any()


def test_the_slow_part_is_blind_to_what_is_outside():
    """A ramp of lung is followed into a hole, whatever the hole holds."""
    ramp = np.broadcast_to(np.linspace(-900, -800, 60), (20, 40, 60)).copy()
    inside = np.ones(ramp.shape, bool)
    inside[5:15, 10:30, 25:35] = False
    ramp[~inside] = 3000
    mean = slow_part(ramp, inside, 4.0, SPACING_MM)
    expected = np.linspace(-900, -800, 60)
    assert np.abs(mean - expected)[:, :, 12:-12].max() < 5
    assert mean[10, 20, 30] == pytest.approx(expected[30], abs=2)


def test_a_place_without_lung_tissue_says_nothing_of_noise():
    """Where too few voxels of lung lie near, the noise is refused and not guessed."""
    volume, lung = block()
    with pytest.raises(RegionError, match="500 are needed") as told:
        scanner_at(volume, middle(volume), Mask(np.zeros_like(lung.voxels), volume.frame))
    assert told.value.code == "no_lung_near"
