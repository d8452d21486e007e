"""Morphological snakes on near-cubic voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ball_scenes import at_seed, ball, dice, turns
from skimage.segmentation import morphological_chan_vese
from skimage.segmentation.morphsnakes import inf_sup, sup_inf

from lungpipe.errors import SegmentationError
from lungpipe.segment import snakes
from lungpipe.segment.snakes import chan_vese, lattice, morphological_snake


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param({}, id="2 mm slices"),
        pytest.param({"spacing_mm": (5.0, 0.7, 0.7), "radius_mm": 8.0}, id="5 mm slices"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "radius_mm": 2.5}, id="5 mm across"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "axes": (1.0, 1.6, 0.7)}, id="ellipsoid"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "hu": -600.0, "noise_hu": 40.0}, id="noisy ground glass"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "vessel_mm": 1.2}, id="thin vessel"),
    ],
)
def test_a_ball_is_found(scene):
    """A ball or ellipsoid, solid or of ground glass, is found with Dice above 0.9 and its volume within a tenth."""
    drawn = ball(**scene)
    mask = at_seed(drawn.segmented(morphological_snake), drawn.seed)
    assert dice(mask, drawn.truth) > 0.9
    assert drawn.volume_of(mask) == pytest.approx(drawn.volume_mm3, rel=0.1)


def test_twice_the_resolution_is_the_same_volume():
    """Voxels of half the sides change the volume by less than a tenth."""
    coarse, fine = ball(noise_hu=10.0), ball(noise_hu=10.0, spacing_mm=(1.0, 0.35, 0.35))
    volumes = [drawn.volume_of(drawn.segmented(morphological_snake)) for drawn in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


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


def test_a_wall_leaks_to_the_margin():
    """A wall as bright as the nodule comes along as far as the margin: alone, the method cannot part them."""
    drawn = ball(spacing_mm=(1.25, 0.7, 0.7), wall_mm=4.0)
    mask = drawn.segmented(morphological_snake)
    assert np.count_nonzero(mask & drawn.truth) > 0.9 * np.count_nonzero(drawn.truth)
    assert np.count_nonzero(mask & ~drawn.box) > 0.3 * np.count_nonzero(mask)


def test_padding_and_clicks_outside_are_never_inside():
    """Padding, whatever its values, and voxels clicked outside are not in the mask; without them they are."""
    drawn = ball()
    part, clicked = np.zeros_like(drawn.tissue), np.zeros_like(drawn.tissue)
    part[:, : part.shape[1] // 2 - 4] = True
    clicked[:, :, part.shape[2] // 2 + 6 :] = True
    assert (drawn.segmented(morphological_snake) & part).any()
    assert (drawn.segmented(morphological_snake) & clicked).any()
    hu = np.where(part, 400.0, drawn.hu)
    mask = replace(drawn, hu=hu, tissue=~part, outside=clicked).segmented(morphological_snake)
    assert mask.any()
    assert not np.any(mask & (part | clicked))


@pytest.mark.parametrize("seed", range(3))
def test_orientation_changes_nothing(seed):
    """Mirrored or permuted arrays give the mirrored or permuted mask, but for ties at one half: 99.9 % of voxels agree."""
    drawn = ball(vessel_mm=1.2, seed=seed)
    mask = drawn.segmented(morphological_snake)
    for turn, spacing_mm in turns(drawn.spacing_mm):
        assert np.mean(drawn.turned(turn, spacing_mm).segmented(morphological_snake) == turn(mask)) >= 0.999


def test_what_has_no_boundary_is_refused():
    """A constant crop is an error, and so are a snake that vanishes and one with the same tissue on both sides."""
    drawn = ball(noise_hu=0.0)
    cases = {
        "no_contrast": replace(drawn, hu=np.full_like(drawn.hu, -850.0)),
        "contour_vanished": replace(drawn, hu=np.where(drawn.seed, 20.0, -850.0)),
        "no_boundary": replace(drawn, hu=np.where(np.indices(drawn.hu.shape)[1] < 2, -850.0, 20.0)),
    }
    for code, case in cases.items():
        with pytest.raises(SegmentationError) as found:
            case.segmented(morphological_snake)
        assert found.value.code == code
