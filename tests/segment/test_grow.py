"""Region growing: connected threshold and confidence-connected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from ball_scenes import at_seed, ball, dice, turns

from lungpipe.errors import SegmentationError
from lungpipe.segment import grow
from lungpipe.segment.grow import bursts, confidence_connected, connected_threshold, contrast_hu, grown_above, near

METHODS = [connected_threshold, confidence_connected]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "scene",
    [
        pytest.param({}, id="2 mm slices"),
        pytest.param({"spacing_mm": (5.0, 0.7, 0.7), "radius_mm": 8.0}, id="5 mm slices"),
        pytest.param({"spacing_mm": (1.0, 0.7, 0.7), "radius_mm": 4.0}, id="small"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "axes": (1.0, 1.6, 0.7)}, id="ellipsoid"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "hu": -600.0}, id="ground glass"),
        pytest.param({"spacing_mm": (1.25, 0.7, 0.7), "vessel_mm": 1.2}, id="thin vessel"),
    ],
)
def test_a_ball_is_found(method, scene):
    """A ball or ellipsoid, solid or of ground glass, is found with Dice above 0.9 and its volume within a tenth."""
    drawn = ball(**scene)
    mask = drawn.segmented(method)
    assert dice(mask, drawn.truth) > 0.9
    assert drawn.volume_of(mask) == pytest.approx(drawn.volume_mm3, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_twice_the_resolution_is_the_same_volume(method):
    """Voxels of half the sides change the volume by less than a tenth."""
    coarse, fine = ball(noise_hu=10.0), ball(noise_hu=10.0, spacing_mm=(1.0, 0.35, 0.35))
    volumes = [drawn.volume_of(drawn.segmented(method)) for drawn in (coarse, fine)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_wall_leaks_and_is_seen_to_leak(method):
    """A wall as bright as the nodule comes along as far as the margin: alone, the method cannot part them, and it shows."""
    drawn = ball(spacing_mm=(1.25, 0.7, 0.7), wall_mm=4.0)
    mask = drawn.segmented(method)
    assert bursts(mask, drawn.box)
    assert np.count_nonzero(mask & drawn.truth) > 0.85 * np.count_nonzero(drawn.truth)


def test_a_dim_vessel_is_left_at_a_higher_level(monkeypatch):
    """Where half the contrast bursts into something wide and dimmer than the nodule, a higher level keeps out of it."""
    drawn = ball(spacing_mm=(1.25, 0.7, 0.7), vessel_mm=5.5, vessel_hu=-370.0, noise_hu=10.0)
    kept = drawn.segmented(connected_threshold)
    monkeypatch.setattr(grow, "BURST_SHARE", 1.0)
    leaked = drawn.segmented(connected_threshold)
    assert np.count_nonzero(kept & ~drawn.truth) < 0.7 * np.count_nonzero(leaked & ~drawn.truth)
    assert dice(kept, drawn.truth) > 0.85 > dice(leaked, drawn.truth)


@pytest.mark.parametrize("noise_hu", [10.0, 60.0])
def test_growing_is_that_of_simpleitk(noise_hu):
    """The region above a threshold is voxel for voxel that of ITK's filter."""
    drawn = ball(noise_hu=noise_hu, vessel_mm=1.5)
    z, y, x = np.nonzero(drawn.seed)
    image = sitk.GetImageFromArray(drawn.hu)
    image.SetSpacing(drawn.spacing_mm[::-1])
    seeds = [tuple(int(v) for v in at) for at in zip(x, y, z, strict=True)]
    expected = sitk.GetArrayFromImage(sitk.ConnectedThreshold(image, seeds, -300.0, 5000.0)).astype(bool)
    np.testing.assert_array_equal(grown_above(drawn.hu, -300.0, np.ones_like(drawn.seed), drawn.seed), expected)


def test_confidence_is_that_of_simpleitk_where_nothing_is_brighter():
    """On a ball whose noise never passes the upper bound, and with neither floor in reach, ITK's filter finds the same."""
    drawn = ball(noise_hu=0.0)
    rng = np.random.default_rng(3)
    inside = drawn.truth
    hu = np.where(inside, rng.uniform(-170.0, 170.0, inside.shape), -850.0)  # sd 98, a ninth of the contrast
    flat = replace(drawn, hu=hu)
    z, y, x = np.nonzero(drawn.seed)
    seeds = [tuple(int(v) for v in at) for at in zip(x, y, z, strict=True)]
    image = sitk.GetImageFromArray(hu)
    filtered = sitk.ConfidenceConnected(image, seeds, 20, 3.0, 0, 1)
    np.testing.assert_array_equal(flat.segmented(confidence_connected), sitk.GetArrayFromImage(filtered).astype(bool))
    np.testing.assert_array_equal(flat.segmented(confidence_connected), at_seed(inside, drawn.seed))


def test_confidence_leaves_what_is_unlike_the_seed():
    """A dimmer shell, above half the contrast, is outside the interval of an even core, and inside at the threshold."""
    drawn = ball(noise_hu=5.0, radius_mm=8.0, hu=-300.0)
    core = ball(noise_hu=5.0, radius_mm=8.0).truth & np.asarray(ball(radius_mm=8.0).seed)
    hu = np.where(core, 20.0, drawn.hu)
    both = replace(drawn, hu=hu)
    assert np.array_equal(both.segmented(confidence_connected) & drawn.truth, core)
    assert dice(both.segmented(connected_threshold), drawn.truth) > 0.8
    assert dice(core, drawn.truth) < 0.4


@pytest.mark.parametrize("method", METHODS)
def test_calcification_belongs_to_the_nodule(method):
    """A calcified core away from the seed is not left out for being brighter."""
    drawn = ball(radius_mm=8.0)
    bright = np.roll(drawn.seed, 4, axis=2) & ~drawn.seed & drawn.truth
    mask = replace(drawn, hu=np.where(bright, 400.0, drawn.hu)).segmented(method)
    assert mask[bright].all()


@pytest.mark.parametrize("method", METHODS)
def test_padding_and_clicks_outside_are_never_inside(method):
    """Padding, whatever its values, and voxels clicked outside are not in the mask; without them they are."""
    drawn = ball(vessel_mm=2.0)
    part, clicked = np.zeros_like(drawn.tissue), np.zeros_like(drawn.tissue)
    part[:, : part.shape[1] // 2 - 4] = True
    clicked[:, :, part.shape[2] // 2 + 6 :] = True
    assert (drawn.segmented(method) & part).any()
    assert (drawn.segmented(method) & clicked).any()
    hu = np.where(part, 400.0, drawn.hu)
    mask = replace(drawn, hu=hu, tissue=~part, outside=clicked).segmented(method)
    assert mask.any()
    assert not np.any(mask & (part | clicked))


@pytest.mark.parametrize("method", METHODS)
def test_orientation_changes_nothing(method):
    """Mirrored or permuted arrays give the mirrored or permuted mask, exactly."""
    drawn = ball(vessel_mm=1.2)
    mask = drawn.segmented(method)
    for turn, spacing_mm in turns(drawn.spacing_mm):
        np.testing.assert_array_equal(drawn.turned(turn, spacing_mm).segmented(method), turn(mask))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda s: replace(s, hu=np.full_like(s.hu, -850.0)), "no_contrast"),
        (lambda s: replace(s, hu=-s.hu - 850.0), "no_contrast"),
        (lambda s: replace(s, tissue=~s.seed), "no_seed"),
        (lambda s: replace(s, outside=s.seed.copy()), "no_seed"),
        (lambda s: replace(s, tissue=s.box.copy()), "no_surroundings"),
    ],
    ids=["constant", "darker than lung", "seed in padding", "seed clicked away", "box in padding"],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_told_apart_is_refused(method, change, code):
    """A crop without contrast, seed or surroundings is an error with a code, not an empty or full mask."""
    with pytest.raises(SegmentationError) as found:
        change(ball()).segmented(method)
    assert found.value.code == code


def test_nothing_at_the_seed_is_refused():
    """A threshold above all that the seed has is an error."""
    drawn = ball(noise_hu=0.0)
    with pytest.raises(SegmentationError, match="no voxel at the annotated centre has 300 HU"):
        grown_above(drawn.hu, 300.0, drawn.tissue, drawn.seed)


def test_surroundings_are_lung_even_beside_a_wall():
    """With a wall in half of the crop, what surrounds the nodule still has the lung's HU."""
    drawn = ball(wall_mm=4.0, noise_hu=10.0)
    around_hu, nodule_hu = contrast_hu(drawn.view)
    assert around_hu == pytest.approx(-850.0, abs=15.0)
    assert nodule_hu == pytest.approx(20.0, abs=15.0)


def test_the_margin_is_in_mm():
    """A margin of 4 mm is two slices of 2 mm and five voxels of 0.8 mm, and at least one voxel."""
    box = np.zeros((11, 21, 21), dtype=bool)
    box[5, 10, 10] = True
    grown = near(box, (2.0, 0.8, 0.8), 4.0)
    assert [np.ptp(found) + 1 for found in np.nonzero(grown)] == [5, 11, 11]
    assert [np.ptp(found) + 1 for found in np.nonzero(near(box, (5.0, 0.8, 0.8), 1.0))] == [3, 3, 3]
