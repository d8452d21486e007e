"""The active contour driven by saliency and local image fitting, and what it has in common with morphological snakes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ball_scenes import at_seed, ball, dice, turns

from lungpipe.errors import SegmentationError
from lungpipe.segment.contour import saliency, saliency_contour, start_ellipsoid
from lungpipe.segment.grow import connected_threshold
from lungpipe.segment.snakes import morphological_snake

both = pytest.mark.parametrize("method", [saliency_contour, morphological_snake])


@both
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
def test_a_ball_is_found(method, scene):
    """A ball or ellipsoid, solid or of ground glass, is found with Dice above 0.9 and its volume within a tenth."""
    drawn = ball(**scene)
    mask = at_seed(drawn.segmented(method), drawn.seed)
    assert dice(mask, drawn.truth) > 0.9
    assert drawn.volume_of(mask) == pytest.approx(drawn.volume_mm3, rel=0.1)


def test_a_contour_in_even_tissue_moves_on():
    """In a ball much wider than the window, where local means do not differ, the saliency moves the contour to the edge."""
    drawn = ball(spacing_mm=(2.5, 1.4, 1.4), radius_mm=25.0, noise_hu=0.0)
    assert dice(drawn.segmented(saliency_contour), drawn.truth) > 0.98
    assert dice(drawn.segmented(saliency_contour, saliency_weight=0.0), drawn.truth) < 0.9


def test_local_means_follow_uneven_hu():
    """Where lung and nodule alike grow denser by 700 HU across the crop, local means find what one mean or level does not."""
    drawn = ball(spacing_mm=(1.25, 0.7, 0.7), radius_mm=8.0, hu=1.0, lung_hu=0.0, noise_hu=0.0)
    rise = 350.0 * np.linspace(-1.0, 1.0, drawn.hu.shape[2])
    noise = np.random.default_rng(2).normal(0.0, 15.0, drawn.hu.shape)
    uneven = replace(drawn, hu=np.clip(-650.0 + 500.0 * drawn.hu + rise + noise, -1000.0, 400.0))
    found = {
        method: dice(at_seed(uneven.segmented(method), uneven.seed), uneven.truth)
        for method in (saliency_contour, connected_threshold, morphological_snake)
    }
    assert found[saliency_contour] > 0.95
    assert found[saliency_contour] > found[connected_threshold] + 0.02
    assert found[saliency_contour] > found[morphological_snake] + 0.02


@both
def test_twice_the_resolution_is_the_same_volume(method):
    """Voxels of half the sides change the volume by less than a tenth."""
    coarse, fine = ball(noise_hu=10.0), ball(noise_hu=10.0, spacing_mm=(1.0, 0.35, 0.35))
    volumes = [drawn.volume_of(drawn.segmented(method)) for drawn in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_it_comes_to_rest():
    """More steps than it takes change nothing, and one step is not enough."""
    drawn = ball()
    rest = drawn.segmented(saliency_contour)
    np.testing.assert_array_equal(drawn.segmented(saliency_contour, iterations=600), rest)
    assert not np.array_equal(drawn.segmented(saliency_contour, iterations=1), rest)


@both
def test_a_wall_leaks_to_the_margin(method):
    """A wall as bright as the nodule comes along as far as the margin: alone, the method cannot part them."""
    drawn = ball(spacing_mm=(1.25, 0.7, 0.7), wall_mm=4.0)
    mask = drawn.segmented(method)
    assert np.count_nonzero(mask & drawn.truth) > 0.9 * np.count_nonzero(drawn.truth)
    assert np.count_nonzero(mask & ~drawn.box) > 0.3 * np.count_nonzero(mask)


def test_saliency_is_contrast_to_surroundings():
    """It is highest in the ball and nothing in lung, and a wall at the crop's edge is less salient than the ball."""
    drawn = ball(wall_mm=10.0, noise_hu=0.0)
    share = (drawn.hu + 850.0) / 870.0
    found = saliency(share, drawn.tissue, drawn.spacing_mm, drawn.box)
    wall = (share > 0.9) & ~drawn.box
    lung = (share < 0.01) & ~drawn.box
    assert found.max() == pytest.approx(1.0)
    assert found[drawn.seed].min() > 0.8
    assert found[lung].max() < 0.05
    assert np.median(found[wall]) < 0.8 * np.median(found[drawn.seed])


def test_saliency_of_even_tissue_is_nothing():
    """Where nothing differs, nothing is salient, whatever padding holds."""
    drawn = ball()
    tissue = drawn.tissue.copy()
    tissue[:, :5] = False
    share = np.where(tissue, 0.5, 9.0)
    assert saliency(share, tissue, drawn.spacing_mm, drawn.box).max() < 1e-6


def test_the_first_contour_is_an_ellipsoid_in_the_box():
    """Its volume is pi/6 of the box's times the cube of the share, and it keeps within."""
    box = np.zeros((60, 80, 100), dtype=bool)
    box[10:50, 10:60, 20:90] = True
    start = start_ellipsoid(box, 0.75)
    assert np.count_nonzero(start) == pytest.approx(np.pi / 6 * 0.75**3 * np.count_nonzero(box), rel=0.01)
    assert not np.any(start & ~box)


@both
def test_padding_and_clicks_outside_are_never_inside(method):
    """Padding, whatever its values, and voxels clicked outside are not in the mask; without them they are."""
    drawn = ball()
    part, clicked = np.zeros_like(drawn.tissue), np.zeros_like(drawn.tissue)
    part[:, : part.shape[1] // 2 - 4] = True
    clicked[:, :, part.shape[2] // 2 + 6 :] = True
    assert (drawn.segmented(method) & part).any()
    assert (drawn.segmented(method) & clicked).any()
    hu = np.where(part, 400.0, drawn.hu)
    mask = replace(drawn, hu=hu, tissue=~part, outside=clicked).segmented(method)
    assert mask.any()
    assert not np.any(mask & (part | clicked))


@both
@pytest.mark.parametrize("seed", range(3))
def test_orientation_changes_nothing(method, seed):
    """Mirrored or permuted arrays give the mirrored or permuted mask, but for rounding: 99.9 % of voxels agree."""
    drawn = ball(vessel_mm=1.2, seed=seed)
    mask = drawn.segmented(method)
    for turn, spacing_mm in turns(drawn.spacing_mm):
        assert np.mean(drawn.turned(turn, spacing_mm).segmented(method) == turn(mask)) >= 0.999


@both
def test_what_has_no_boundary_is_refused(method):
    """A constant crop is an error, and so are a contour that vanishes and one with the same tissue on both sides."""
    drawn = ball(noise_hu=0.0)
    cases = {
        "no_contrast": replace(drawn, hu=np.full_like(drawn.hu, -850.0)),
        "contour_vanished": replace(drawn, hu=np.where(drawn.seed, 20.0, -850.0)),
        "no_boundary": replace(drawn, hu=np.where(np.indices(drawn.hu.shape)[1] < 2, -850.0, 20.0)),
    }
    for code, case in cases.items():
        with pytest.raises(SegmentationError) as found:
            case.segmented(method)
        assert found.value.code == code
