"""The random walker on voxels that are not cubes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ball_scenes import ball, dice, turns
from skimage.segmentation import random_walker as walker_of_scikit_image

from lungpipe.errors import SegmentationError
from lungpipe.segment import walker
from lungpipe.segment.walker import probability_inside, random_walker


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param({}, id="2 mm slices"),
        pytest.param({"spacing_mm": (5.0, 0.7, 0.7), "radius_mm": 8.0}, id="5 mm slices"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "axes": (1.0, 1.6, 0.7)}, id="ellipsoid"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "hu": -600.0}, id="ground glass"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "vessel_mm": 1.2}, id="thin vessel"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "wall_mm": 4.0}, id="wall"),
    ],
)
def test_a_ball_is_found(scene):
    """A ball or ellipsoid, with a vessel or beside a wall too, is found with Dice above 0.9 and its volume within a tenth."""
    drawn = ball(**scene)
    mask = drawn.segmented(random_walker)
    assert dice(mask, drawn.truth) > 0.9
    assert drawn.volume_of(mask) == pytest.approx(drawn.volume_mm3, rel=0.1)


def test_twice_the_resolution_is_the_same_volume():
    """Voxels of half the sides change the volume by less than a tenth."""
    coarse, fine = ball(noise_hu=10.0), ball(noise_hu=10.0, spacing_mm=(1.0, 0.35, 0.35))
    volumes = [drawn.volume_of(drawn.segmented(random_walker)) for drawn in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_probabilities_are_those_of_scikit_image():
    """On cubic voxels no smaller than the blur, without priors, the probabilities are scikit-image's with its scaling of beta, to 1e-4."""
    rng = np.random.default_rng(1)
    values = rng.random((7, 8, 9))
    inside, beyond = np.zeros(values.shape, dtype=bool), np.zeros(values.shape, dtype=bool)
    inside[3, 4, 4], beyond[0], beyond[:, 0] = True, True, True
    ours = probability_inside(values, (2.0, 2.0, 2.0), inside, ~inside & ~beyond, 4.0, np.inf)
    theirs = walker_of_scikit_image(
        values, inside + 2 * beyond, beta=4.0 * 10 * values.std(), mode="cg_j", tol=1e-10, return_full_prob=True
    )
    np.testing.assert_allclose(ours, theirs[0], atol=1e-4)


def test_walks_in_even_tissue_are_straight_lines():
    """Between two plates the probability falls evenly with the distance, along thick slices as along thin ones."""
    for spacing in (0.7, 5.0):
        inside, free = np.zeros((9, 3, 3), dtype=bool), np.zeros((9, 3, 3), dtype=bool)
        inside[0], free[1:-1] = True, True
        found = probability_inside(np.zeros(inside.shape), (spacing, 0.7, 0.7), inside, free, 200.0, np.inf)
        np.testing.assert_allclose(found[:, 1, 1], np.linspace(1.0, 0.0, 9), atol=1e-6)


def test_distances_are_in_mm():
    """Between a plate across z and one across x, one half is met at equal distance in mm, not in voxels."""
    shape, spacing = (13, 3, 25), (2.0, 1.0, 1.0)  # 24 mm by 24 mm
    inside, free = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    inside[0, :, 1:] = True
    free[0], free[:, :, 0] = False, False
    found = probability_inside(np.zeros(shape), spacing, inside, free, 200.0, np.inf)[:, 1]
    for index in range(2, 12):
        assert found[index, 2 * index] == pytest.approx(0.5, abs=0.03)
    assert found[6, 6] < 0.35  # as many voxels away, and twice as far in z


def test_priors_end_walks_at_their_length():
    """In lung, the probability of meeting the seed falls as exp(-sqrt(2) x / length), the solution of l^2 u'' = 2 u."""
    n, spacing, length = 120, 0.25, 5.0
    inside, free = np.zeros((n, 1, 1), dtype=bool), np.ones((n, 1, 1), dtype=bool)
    inside[0], free[0] = True, False
    found = probability_inside(np.zeros((n, 1, 1)), (spacing,) * 3, inside, free, 200.0, length)[:, 0, 0]
    distance = np.arange(60) * spacing
    np.testing.assert_allclose(found[:60], np.exp(-np.sqrt(2) * distance / length), atol=2e-3)


def test_a_step_keeps_walks_apart():
    """Nearly all walks end on their own side of a step of HU, and half of them do so where there is none."""
    inside, free = np.zeros((10, 5, 5), dtype=bool), np.zeros((10, 5, 5), dtype=bool)
    inside[0], free[1:-1] = True, True
    values = np.zeros(inside.shape)
    values[:8] = 1.0
    found = probability_inside(values, (1.0, 1.0, 1.0), inside, free, 200.0, np.inf)[:, 2, 2]
    assert found[7] > 0.99
    assert found[8] < 0.01
    even = probability_inside(np.ones(inside.shape), (1.0, 1.0, 1.0), inside, free, 200.0, np.inf)[:, 2, 2]
    assert even[7] < 0.3


def test_padding_and_clicks_outside_are_never_inside():
    """Padding, whatever its values, and voxels clicked outside are not in the mask; without them they are."""
    drawn = ball()
    part, clicked = np.zeros_like(drawn.tissue), np.zeros_like(drawn.tissue)
    part[:, : part.shape[1] // 2 - 4] = True
    clicked[:, :, part.shape[2] // 2 + 6 :] = True
    assert (drawn.segmented(random_walker) & part).any()
    assert (drawn.segmented(random_walker) & clicked).any()
    hu = np.where(part, 400.0, drawn.hu)
    mask = replace(drawn, hu=hu, tissue=~part, outside=clicked).segmented(random_walker)
    assert mask.any()
    assert not np.any(mask & (part | clicked))


@pytest.mark.parametrize("seed", range(3))
def test_orientation_changes_nothing(seed):
    """Mirrored or permuted arrays give the mirrored or permuted mask: the equations are solved far beyond what flips one."""
    drawn = ball(vessel_mm=1.2, seed=seed)
    mask = drawn.segmented(random_walker)
    for turn, spacing_mm in turns(drawn.spacing_mm):
        turned = drawn.turned(turn, spacing_mm).segmented(random_walker)
        assert np.mean(turned == turn(mask)) >= 0.9999


def test_what_cannot_be_told_apart_is_refused(monkeypatch):
    """A constant crop is an error, and so are equations that do not settle."""
    drawn = ball()
    with pytest.raises(SegmentationError) as found:
        replace(drawn, hu=np.full_like(drawn.hu, -850.0)).segmented(random_walker)
    assert found.value.code == "no_contrast"
    monkeypatch.setattr(walker, "MOST_STEPS", 2)
    with pytest.raises(SegmentationError) as found:
        drawn.segmented(random_walker)
    assert found.value.code == "not_solved"
