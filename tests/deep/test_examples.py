"""What a network learns from: every look has the same nodule."""

import numpy as np
import pytest

from lungpipe.deep.examples import Example, drawn
from lungpipe.deep.looks import other_look
from lungpipe.deep.view import View
from lungpipe.errors import DatasetError

SPACING_MM = (2.0, 0.8, 0.8)


def ball(radius_mm=6.0, shape=(24, 56, 56)):
    """A ball of tissue in lung, with the share of each voxel inside."""
    fine = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij"), axis=-1)
    cover = np.zeros(shape, dtype=np.float32)
    for offset in np.stack(np.meshgrid(*[[-0.25, 0.25]] * 3, indexing="ij"), axis=-1).reshape(-1, 3):
        away = np.linalg.norm((fine + offset) * SPACING_MM, axis=-1)
        cover += np.clip(0.5 + (radius_mm - away) / 0.8, 0, 1).astype(np.float32) / 8
    return Example((-850 + 850 * cover).astype(np.float32), (cover,), SPACING_MM)


def longest_mm(example):
    """Longest side of the box of the voxels that are half inside."""
    held = np.argwhere(example.covers[0] >= 0.5)
    return float(((np.ptp(held, axis=0) + 1) * example.spacing_mm).max())


@pytest.mark.parametrize("seed", range(4))
def test_turned_and_zoomed_a_ball_stays_a_ball(seed):
    """Whatever is drawn, the target is a ball of the volume that the zoom gives, and of equal extents."""
    view = View(voxels=40, reach=2.0)
    _, target = drawn(ball(), view, np.random.default_rng(seed))
    side = longest_mm(ball()) * view.reach
    inside = np.argwhere(target[0] >= 0.5)
    extents = np.ptp(inside, axis=0) + 1
    assert np.ptp(extents) <= 3
    step_mm = side / view.voxels
    zoom = (4 / 3 * np.pi * 6.0**3 / target.sum()) ** (1 / 3) / step_mm
    assert 0.8 < zoom < 1.25
    assert target.sum() == pytest.approx(np.pi / 6 * np.prod(extents), rel=0.12)


def test_without_variation_a_nodule_is_shown_as_it_is():
    """Volume and HU are those of the scan, and the same every time."""
    view = View(voxels=48, reach=2.0)
    first, second = (drawn(ball(), view, np.random.default_rng(seed), varied=False) for seed in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    channels, target = first
    step_mm = longest_mm(ball()) * 2 / 48
    assert target.sum() * step_mm**3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)
    assert channels[0][24, 24, 24] == pytest.approx(1000 / 1400, abs=0.01)
    assert channels[0][2, 2, 2] == pytest.approx(150 / 1400, abs=0.01)


@pytest.mark.parametrize("prompt", ["box", "point", "saliency"])
def test_a_draw_is_the_same_for_the_same_numbers(prompt):
    """Same random numbers, same patch; others give another."""
    view = View(voxels=24, prompt=prompt)
    a, b, c = (drawn(ball(), view, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], c[0])
    assert a[0].dtype == np.float32
    assert a[0][0].min() >= 0
    assert a[0][0].max() <= 1


def test_the_nodule_stays_above_the_lung():
    """However its tissue is drawn, a nodule can be told from what is about it."""
    rng = np.random.default_rng(3)
    _, target = drawn(ball(), View(voxels=32), rng, varied=False)
    quiet = np.where(target[0] > 0.5, 0.0, -850.0).astype(np.float32)
    for _ in range(40):
        hu = other_look(quiet, target[0], rng)
        core, rim = target[0] > 0.95, np.zeros(target[0].shape, dtype=bool)
        rim[[0, -1]] = True
        assert hu[core].mean() - np.median(hu[rim]) > 40 or np.median(hu[rim]) > -400  # a wall may fill the rim


def test_raters_are_drawn_in_turn():
    """A nodule that several outlined has now one's outline, now another's."""
    small, large = ball(4.0), ball(7.0)
    both = Example(large.hu, (small.covers[0], large.covers[0]), SPACING_MM)
    view = View(voxels=24, reach=0.0, spacing_mm=1.5)
    volumes = {round(float(drawn(both, view, np.random.default_rng(s), varied=False)[1].sum())) for s in range(12)}
    assert len(volumes) == 2


def test_the_prompt_does_not_tell_the_rater():
    """Whoever is drawn, the box is that of what at least half of the raters hold."""
    small, large = ball(4.0), ball(7.0)
    three = Example(large.hu, (small.covers[0], large.covers[0], large.covers[0]), SPACING_MM)
    found = [drawn(three, View(voxels=24), np.random.default_rng(seed), varied=False) for seed in range(30)]
    assert len({target.sum() for _, target in found}) == 2
    assert all(np.array_equal(channels[1], found[0][0][1]) for channels, _ in found)


def test_a_nodule_without_a_mask_is_refused():
    """An empty cover, none, or one of another shape teaches nothing."""
    good = ball()
    for covers in ((), (np.zeros_like(good.hu),), (np.ones((2, 2, 2), dtype=np.float32),)):
        with pytest.raises(DatasetError, match="nodule to learn from"):
            Example(good.hu, covers, SPACING_MM)
