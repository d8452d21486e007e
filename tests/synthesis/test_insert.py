"""Lesions put into scans: volume, noise, blur, and what they leave alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lung_block import LUNG_HU, QUIET, WALL_HU, ball, block, middle, neighbours_correlate, within_ball
from scipy import ndimage

from lungpipe.errors import DatasetError, RegionError
from lungpipe.synthesis import Look, inserted, scanner_at
from lungpipe.synthesis.sharpness import sharpness_of
from lungpipe.volume import CTVolume, Mask

SOLID = Look(30.0)


def floating(volume):
    """The image in floating point, so that rounding plays no part."""
    return CTVolume(volume.hu.astype(np.float32), volume.frame)


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.7, 0.7), (2.5, 0.8, 0.7), (1.25, 1.0, 0.6)])
def test_the_volume_is_the_balls(spacing_mm):
    """On voxels of any sides, contrast adds up to the analytic volume, half contrast and the mask hold it too."""
    volume, lung = block(spacing_mm=spacing_mm, noise_hu=0.0)
    radius_mm, truth = 8.0, 4 / 3 * np.pi * 8.0**3
    new, mask = inserted(floating(volume), ball(radius_mm), middle(volume), SOLID, QUIET, seed=0, lung=lung)
    share = (new.hu - LUNG_HU) / (30.0 - LUNG_HU)
    voxel_mm3 = volume.frame.voxel_volume_mm3
    assert share.sum() * voxel_mm3 == pytest.approx(truth, rel=0.01)
    assert np.count_nonzero(share > 0.5) * voxel_mm3 == pytest.approx(truth, rel=0.03)
    assert mask.volume_mm3 == pytest.approx(truth, rel=0.03)
    assert new.hu.dtype == np.float32


@pytest.mark.parametrize("blur_mm", [0.5, 0.9])
def test_the_border_is_as_blurred_as_the_scan(blur_mm):
    """The blur measured at the border of what was put in is the blur it was put in with."""
    volume, _ = block(spacing_mm=(0.8, 0.7, 0.7), noise_hu=0.0)
    in_plane, axial = (float(np.hypot(blur_mm, side / 12**0.5)) for side in (0.7, 0.8))
    scanner = replace(QUIET, sharpness=replace(QUIET.sharpness, in_plane_mm=in_plane, axial_mm=axial))
    new, _ = inserted(volume, ball(13.0), middle(volume), SOLID, scanner, seed=0)
    found = sharpness_of(new)
    assert min(found.in_plane_edges, found.axial_edges) >= 30
    assert (found.in_plane_mm, found.axial_mm) == pytest.approx((in_plane, axial), rel=0.1)


@pytest.mark.parametrize("grain_mm", [0.0, 0.7])
def test_noise_inside_is_the_noise_outside(grain_mm):
    """Level within 10 %, inside and on the border alike, and the same grain; without the scan's noise there is none."""
    volume, lung = block(noise_hu=40.0, grain_mm=grain_mm)
    centre, shape = middle(volume), ball(11.0)
    scanner = replace(QUIET, noise=scanner_at(volume, centre, lung).noise)
    new, _ = inserted(volume, shape, centre, SOLID, scanner, seed=1)
    clean, _ = inserted(floating(block(noise_hu=0.0)[0]), shape, centre, SOLID, QUIET, seed=1)
    noise = new.hu - clean.hu
    share = (clean.hu - LUNG_HU) / (SOLID.hu - LUNG_HU)
    inside, border, outside = share > 0.99, (share > 0.2) & (share < 0.8), share < 1e-6
    level = float(noise[outside].std())
    assert noise[inside].std() == pytest.approx(level, rel=0.1)
    assert noise[border].std() == pytest.approx(level, rel=0.1)
    assert noise[inside].mean() == pytest.approx(0, abs=4)
    for axis in range(3):
        expected = neighbours_correlate(noise, outside, axis)
        assert neighbours_correlate(noise, inside, axis) == pytest.approx(expected, abs=0.08)
    smooth, _ = inserted(volume, shape, centre, SOLID, QUIET, seed=1)
    assert (smooth.hu - clean.hu)[inside].std() < 1


@given(seed=st.integers(0, 99), radius_mm=st.floats(2.0, 7.0), shift=st.tuples(*[st.floats(-4.0, 4.0)] * 3))
@settings(max_examples=6, deadline=None)
def test_nothing_changes_beyond_the_blur(seed, radius_mm, shift):
    """No voxel further from the shape than three deviations of the blur and a voxel is changed; the input never is."""
    volume, lung = block()
    before = volume.hu.copy()
    centre = tuple(np.add(middle(volume), shift).tolist())
    new, mask = inserted(volume, ball(radius_mm), centre, SOLID, QUIET, seed=seed, lung=lung)
    reach_mm = radius_mm + (3 * 0.5 + np.linalg.norm(volume.frame.spacing_mm)) * np.sqrt(3)
    far = ~within_ball(volume, centre, reach_mm)
    assert np.array_equal(new.hu[far], before[far])
    assert np.array_equal(volume.hu, before)
    assert new.hu.dtype == np.int16
    assert np.all(new.hu[mask.within((0, 0, 0), volume.frame.shape).voxels] > LUNG_HU / 2 - 250)


def test_the_same_seed_gives_the_same_image_whole_or_in_a_crop():
    """A crop gets the lesion that the whole scan gets; another seed gives other noise and texture."""
    volume, lung = block()
    centre = middle(volume)
    scanner = scanner_at(volume, centre, lung, QUIET.sharpness)
    look = Look(-100.0, 22.0)
    new, mask = inserted(volume, ball(6.0), centre, look, scanner, seed=5, lung=lung)
    crop = volume.crop((4, 8, 9), (30, 60, 63))
    small, same = inserted(crop, ball(6.0), centre, look, scanner, seed=5, lung=lung)
    assert np.array_equal(small.hu, new.crop((4, 8, 9), (30, 60, 63)).hu)
    assert same.content_id == mask.content_id
    other, _ = inserted(volume, ball(6.0), centre, look, scanner, seed=6, lung=lung)
    inside = mask.within((0, 0, 0), volume.frame.shape).voxels
    assert np.mean(other.hu[inside] == new.hu[inside]) < 0.1


def test_vessels_run_through_ground_glass():
    """A vessel stays as it was in ground glass, while the lung beside it becomes ground glass."""
    volume, lung = block(noise_hu=20.0, grain_mm=0.0)
    hu = volume.hu.astype(np.int16).copy()
    y, x = hu.shape[1] // 2, hu.shape[2] // 2
    hu[:, y - 2 : y + 3, x - 2 : x + 3] = 35
    full = CTVolume(hu, volume.frame)
    centre = middle(volume)
    scanner = replace(QUIET, noise=scanner_at(volume, centre, lung).noise)
    new, mask = inserted(full, ball(7.0), centre, Look(-600.0), scanner, seed=0, lung=lung)
    inside = mask.within((0, 0, 0), hu.shape).voxels
    vessel = np.zeros_like(inside)
    vessel[:, y - 1 : y + 2, x - 1 : x + 2] = inside[:, y - 1 : y + 2, x - 1 : x + 2]
    assert new.hu[vessel].mean() == pytest.approx(35, abs=5)
    near = ndimage.binary_dilation(vessel, iterations=4)
    deep = ndimage.binary_erosion(inside, iterations=2) & ~near
    assert new.hu[deep].mean() == pytest.approx(-600, abs=5)
    dark, _ = inserted(full, ball(7.0), centre, Look(30.0), scanner, seed=0, lung=lung)
    assert dark.hu[deep].mean() == pytest.approx(30, abs=5)


def test_a_lesion_at_the_wall_ends_there():
    """The wall is not changed beyond the blur, and the mask holds no voxel of it."""
    volume, lung = block(wall_mm=30.0)
    centre = tuple(volume.frame.to_lps((16, 32, 26.0 / 0.7)).tolist())  # 4 mm before the wall
    scanner = scanner_at(volume, centre, lung, QUIET.sharpness)
    new, mask = inserted(volume, ball(8.0), centre, Look(-20.0), scanner, seed=0, lung=lung)
    inside = mask.within((0, 0, 0), lung.shape).voxels
    assert not np.any(inside & ~lung.voxels)
    x_mm = np.arange(lung.shape[2]) * 0.7
    assert np.array_equal(new.hu[:, :, x_mm > 33], volume.hu[:, :, x_mm > 33])
    assert new.hu[:, :, (x_mm > 30) & (x_mm < 33)].mean() == pytest.approx(WALL_HU, abs=10)
    free, _ = inserted(volume, ball(8.0), centre, Look(-400.0), scanner, seed=0)
    assert free.hu[inside].mean() < -200  # what would be put there is seen


def test_padding_outside_the_field_of_view_stays():
    """Voxels of -1024 HU, where the scanner saw nothing, keep that value."""
    volume, _ = block()
    hu = volume.hu.copy()
    hu[:, :30] = -1024
    new, _ = inserted(CTVolume(hu, volume.frame), ball(7.0), middle(volume), SOLID, QUIET, seed=0)
    assert np.all(new.hu[:, :30] == -1024)


def test_what_does_not_fit_is_refused():
    """Outside the lung, beyond the image, smaller than a voxel, or of no tissue: each says what was found."""
    volume, lung = block(wall_mm=24.0)
    frame = volume.frame
    cases = {
        "outside_lung": (ball(4.0), tuple(frame.to_lps((16, 32, 50)).tolist()), "in the lung"),
        "leaves_image": (ball(6.0), tuple(frame.to_lps((2, 32, 20)).tolist()), "choose a place further inside"),
        "too_small": (ball(0.3, step_mm=0.1), tuple(frame.to_lps((16.5, 32.5, 20.5)).tolist()), "half inside"),
    }
    for code, (shape, centre, told) in cases.items():
        with pytest.raises(RegionError, match=told) as error:
            inserted(volume, shape, centre, SOLID, QUIET, seed=0, lung=lung)
        assert error.value.code == code
    for wrong in ({"hu": -2000.0}, {"hu": 0.0, "texture_hu": -1.0}, {"hu": 0.0, "texture_mm": 0.0}):
        with pytest.raises(DatasetError, match="a lesion's HU lie between"):
            Look(**wrong)
    nothing = Mask(np.zeros_like(lung.voxels), frame)
    with pytest.raises(RegionError, match="only 0%"):
        inserted(volume, ball(4.0), middle(volume), SOLID, QUIET, seed=0, lung=nothing)
