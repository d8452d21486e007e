"""Corruptions do to an image what their values say, and no more."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe import corrupt
from lungpipe.corrupt import CORRUPTIONS, SEVERITIES, corrupted
from lungpipe.corrupt.motion import moved
from lungpipe.corrupt.noise import HALF_PER_MM, at_dose, noise_of, with_noise
from lungpipe.corrupt.resolution import ENHANCED_MM, blurred, sharper_kernel, softer_kernel, thicker_slices
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.volume import PADDING_HU, CTVolume

SPACING_MM = (1.25, 0.8, 0.8)
LINEAR = (blurred, softer_kernel, sharper_kernel, thicker_slices)


def rng():
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def chest(make_ct):
    """A noisy ball in lung."""
    return make_ct(SPACING_MM, (40, 48, 48), 6.0)[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_image_departs_further_with_every_severity(chest, name):
    """Severity 0 is the image itself; the mean squared difference from it rises with each severity after."""
    assert corrupted(chest, name, 0) is chest
    off = [np.mean((corrupted(chest, name, k).hu - chest.hu.astype(float)) ** 2) for k in SEVERITIES]
    assert off[0] > 1.0
    assert np.all(np.diff(off) > 0), off


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_image(chest, name):
    """A corruption is the same each time, on the same grid and in the same kind of number; the input is not touched."""
    before = chest.hu.copy()
    first, again = corrupted(chest, name, 3, 4), corrupted(chest, name, 3, 4)
    np.testing.assert_array_equal(first.hu, again.hu)
    np.testing.assert_array_equal(chest.hu, before)
    assert (first.frame, first.start, first.hu.dtype) == (chest.frame, chest.start, chest.hu.dtype)
    drawn = name in ("noise", "motion", "dose")
    assert np.array_equal(first.hu, corrupted(chest, name, 3, 5).hu) != drawn


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_homogeneous_tissue_keeps_its_mean(name):
    """Where all voxels have one value, blur, kernels, motion and thickness change nothing, and noise keeps the mean."""
    flat = CTVolume(np.full((12, 20, 20), -700.0, dtype=np.float32), Geometry((12, 20, 20), SPACING_MM))
    worse = corrupted(flat, name, 2)
    assert float(worse.hu.mean()) == pytest.approx(-700.0, abs=0.01)
    if name != "noise":
        np.testing.assert_allclose(worse.hu, -700.0, atol=0.01)


def test_padding_stays_and_nothing_becomes_padding(make_ct):
    """Padding outside the field of view is left alone, and noise in dark lung does not reach its value."""
    volume, _, _ = make_ct(SPACING_MM, (20, 32, 32), 4.0)
    hu = volume.hu.copy()
    hu[:, :6] = PADDING_HU
    worse = corrupted(CTVolume(hu, volume.frame), "noise", 5).hu
    np.testing.assert_array_equal(worse == PADDING_HU, hu == PADDING_HU)
    assert worse[:, 6:].min() == PADDING_HU + 1  # so much noise that the lower limit is met


@given(
    sigma_hu=st.floats(1.0, 200.0),
    spacing=st.tuples(st.floats(0.5, 5.0), st.floats(0.4, 1.2), st.floats(0.4, 1.2)),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_noise_has_the_strength_asked_for(sigma_hu, spacing, seed):
    """The standard deviation over many voxels is the one asked for, on any grid, and every slice's mean is kept."""
    found = with_noise(np.zeros((40, 33, 30), np.float32), spacing, sigma_hu, np.random.default_rng(seed))
    assert float(found.std()) == pytest.approx(sigma_hu, rel=0.05)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0.0, atol=1e-3 * sigma_hu)


def test_noise_has_the_spectrum_of_filtered_back_projection():
    """Its power at a frequency is as f times the square of the kernel, against white noise as the negative."""
    plane, step = np.zeros((150, 64, 64), np.float32), 0.7
    found = with_noise(plane, (1.0, step, step), 20.0, rng())
    f = np.abs(np.fft.fftfreq(64, step))[1:24]
    expected = f * 4.0 ** (-((f / HALF_PER_MM) ** 2))

    def share(image):
        power = np.mean(np.abs(np.fft.fft2(image)) ** 2, axis=0)[0, 1:24]
        return power / power.sum()

    np.testing.assert_allclose(share(found), expected / expected.sum(), rtol=0.35, atol=0.003)
    white = share(rng().normal(size=plane.shape))
    assert np.abs(white - expected / expected.sum()).max() > 0.02
    assert abs(np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]) < 0.05  # slices are independent


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_noise_grows_with_one_over_the_root_of_the_dose(share):
    """At a share of the dose the whole noise is 1/sqrt(share) of what it was; at all of it the image stays."""
    scan = with_noise(np.full((24, 64, 64), -800.0, np.float32), SPACING_MM, 12.0, rng())
    worse = at_dose(scan, SPACING_MM, share, np.random.default_rng(6))
    assert float(worse.std()) == pytest.approx(12.0 / math.sqrt(share), rel=0.05)
    np.testing.assert_array_equal(at_dose(scan, SPACING_MM, 1.0, rng()), scan)


@given(sigma_hu=st.floats(5, 100), spacing=st.tuples(st.floats(0.7, 3), *[st.floats(0.5, 0.9)] * 2))
@settings(max_examples=12, deadline=None)
def test_noise_is_read_off_beside_a_nodule(sigma_hu, spacing):
    """Within 10 % of what was added, coloured as it is, though a ball of another tissue lies in the middle."""
    z, y, x = np.indices((12, 72, 72))
    ball = (y - 36) ** 2 + (x - 36) ** 2 + (4 * (z - 6)) ** 2 < 14**2
    scan = with_noise(np.where(ball, 20.0, -850.0).astype(np.float32), spacing, sigma_hu, rng())
    assert noise_of(scan, spacing) == pytest.approx(sigma_hu, rel=0.1)
    assert noise_of(scan[:, :8, :8], spacing) == 0


@given(sigma_mm=st.floats(0.8, 2.5), spacing=st.tuples(*[st.floats(0.4, 1.0)] * 3))
@settings(max_examples=12, deadline=None)
def test_blur_widens_a_line_by_its_standard_deviation(sigma_mm, spacing):
    """The second moment of a blurred point is sigma squared along every axis, mm; of the soft kernel 0 along z."""
    point = np.zeros((65, 65, 65), np.float32)
    point[32, 32, 32] = 1000.0
    for change, widths in ((blurred, (sigma_mm,) * 3), (softer_kernel, (0.0, sigma_mm, sigma_mm))):
        found = change(point, spacing, sigma_mm)
        for axis, expected in enumerate(widths):
            assert _width_mm(found, axis, spacing) == pytest.approx(expected, rel=0.03, abs=1e-3)


def _width_mm(image, axis, spacing):
    """Standard deviation of the line-spread function along an axis, mm."""
    line = image.sum(axis=tuple(a for a in range(3) if a != axis)).astype(float)
    place = np.arange(len(line)) * spacing[axis]
    mean = (line * place).sum() / line.sum()
    return math.sqrt((line * (place - mean) ** 2).sum() / line.sum())


@pytest.mark.parametrize("thickness_mm", [2.0, 4.0, 6.0])
def test_thick_slices_widen_a_line_by_average_and_interpolation(thickness_mm):
    """Over all places of a point, the second moment is that of a box and a triangle, T2/12 + T2/6."""
    step, found = 0.5, []
    for z in range(100, 100 + round(thickness_mm / step)):
        point = np.zeros((200, 1, 1), np.float32)
        point[z] = 1.0
        line = thicker_slices(point, (step, 1, 1), thickness_mm)[:, 0, 0].astype(float)
        found.append((line * ((np.arange(200) - z) * step) ** 2).sum() / line.sum())
        assert line.sum() == pytest.approx(1.0, rel=1e-5)
    assert np.mean(found) == pytest.approx(thickness_mm**2 / 12 + thickness_mm**2 / 6, rel=1e-3)


def test_thick_slices_no_thicker_than_the_image_change_nothing():
    """At the image's own thickness nothing changes; at more than its height one mean is left."""
    image = rng().normal(size=(9, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(thicker_slices(image, (2.0, 1, 1), 2.0), image)
    np.testing.assert_allclose(
        thicker_slices(image, (2.0, 1, 1), 99.0), np.broadcast_to(image.mean(axis=0), image.shape), atol=1e-6
    )


@pytest.mark.parametrize("periods", [2, 6, 12])
def test_kernels_have_the_gain_of_their_formula(periods):
    """The amplitude of a wave in the slice is multiplied by the kernel's gain at its frequency; along z it is not."""
    n, step = 120, 0.5
    f = periods / (n * step)
    wave = np.cos(2 * np.pi * periods * np.arange(n) / n).astype(np.float32)
    across = np.broadcast_to(wave, (3, 3, n)).copy()
    low = math.exp(-2 * (math.pi * f * ENHANCED_MM) ** 2)
    soft = math.exp(-2 * (math.pi * f * 0.9) ** 2)
    inner = np.s_[1, 1, 30:90]  # away from the edge
    spacing = (step, step, step)
    np.testing.assert_allclose(
        sharper_kernel(across, spacing, 2.0)[inner], (1 + 2.0 * (1 - low)) * wave[30:90], atol=0.01
    )
    np.testing.assert_allclose(softer_kernel(across, spacing, 0.9)[inner], soft * wave[30:90], atol=0.01)
    along = np.broadcast_to(wave[:, None, None], (n, 3, 3)).copy()
    np.testing.assert_allclose(sharper_kernel(along, spacing, 2.0), along, atol=1e-4)


def test_motion_moves_one_side_and_doubles_contours_between():
    """Slices before the level stay, those after lie the shift away within the plane, and those between are in both places."""
    spacing, shift_mm = (1.0, 0.5, 0.5), 6.0
    image = np.zeros((60, 81, 81), np.float32)
    image[:, 38:43, 38:43] = 100.0
    found = moved(image, spacing, shift_mm, rng())
    centres = [np.array([(s * np.arange(81)).sum() / s.sum() * 0.5 for s in (p.sum(1), p.sum(0))]) for p in found]
    np.testing.assert_array_equal(found[:20], image[:20])
    assert np.linalg.norm(centres[-1] - centres[0]) == pytest.approx(shift_mm, rel=0.01)
    np.testing.assert_allclose(centres[-20:], [centres[-1]] * 20, atol=1e-3)
    middle = [k for k in range(60) if 0.3 < np.linalg.norm(centres[k] - centres[0]) / shift_mm < 0.7]
    assert middle
    for k in middle:  # both places are there, each fainter
        assert 20 < found[k][40, 40] < 80
        y, x = (round(c / 0.5) for c in centres[-1])
        assert 20 < found[k][y, x] < 80


@pytest.mark.parametrize("change", LINEAR)
def test_resolution_is_linear(change):
    """A sum of images becomes the sum of what they become: nothing depends on the HU themselves."""
    a, b = rng().normal(size=(2, 12, 14, 16)).astype(np.float32)
    both = change(2 * a + b, SPACING_MM, 2.0)
    np.testing.assert_allclose(both, 2 * change(a, SPACING_MM, 2.0) + change(b, SPACING_MM, 2.0), atol=1e-4)


def test_values_of_every_corruption_get_worse_in_one_direction():
    """Each has five values with a unit, in order."""
    for name, one in CORRUPTIONS.items():
        steps = np.diff(one.values)
        assert len(one.values) == len(SEVERITIES)
        assert np.all(steps < 0) if name == "dose" else np.all(steps > 0), name
        assert one.unit in ("HU", "mm", "1")


def test_wrong_words_are_told(chest):
    """An unknown corruption or severity is refused with what there is."""
    with pytest.raises(DatasetError, match="no corruption 'nois'; there are noise, blur"):
        corrupted(chest, "nois", 1)
    for severity in (-1, 6):
        with pytest.raises(DatasetError, match=f"found {severity}"):
            corrupted(chest, "noise", severity)


def test_image_without_noise_has_no_dose():
    """Where no noise is read off, less dose adds none; a slice of one voxel takes no noise."""
    flat = np.full((4, 16, 16), 20.0, np.float32)
    np.testing.assert_array_equal(at_dose(flat, SPACING_MM, 0.1, rng()), flat)
    one = np.zeros((4, 1, 1), np.float32)
    np.testing.assert_array_equal(with_noise(one, SPACING_MM, 50.0, rng()), one)
    assert corrupt.LOWEST_HU == PADDING_HU + 1
