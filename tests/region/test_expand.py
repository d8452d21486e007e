import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import DatasetError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.expand import ShellSpec, expand, expand_all, grid_of_specs
from lungpipe.volume import Mask

SHELL_8 = ShellSpec("shell", 8.0)


@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (0.4, 0.1, 0.3), (0.2, 0.35, 0.05)])
def test_shell_of_a_ball_has_the_volume_of_analysis(make_ball, offset):
    """The 8 mm shell of a 10 mm ball on 0.7 x 0.7 x 1.25 mm voxels is within 4 % of 4/3 pi ((r+8)^3 - r^3)."""
    frame = Geometry((40, 70, 70), (1.25, 0.7, 0.7))
    centre = frame.to_lps((np.asarray(frame.shape) - 1) / 2.0 + offset)
    shell = expand(Mask(make_ball(frame, centre, 10.0), frame), SHELL_8)
    expected_mm3 = 4 / 3 * np.pi * (18.0**3 - 10.0**3)
    assert shell.volume_mm3 == pytest.approx(expected_mm3, rel=0.04)


@st.composite
def masks(draw):
    """Small random masks on anisotropic grids."""
    shape = tuple(draw(st.integers(6, 12)) for _ in range(3))
    spacing = tuple(draw(st.sampled_from([0.6, 0.8, 1.25, 2.5])) for _ in range(3))
    voxels = np.random.default_rng(draw(st.integers(0, 2**31))).random(shape) < 0.03
    voxels[tuple(n // 2 for n in shape)] = True
    return Mask(voxels, Geometry(shape, spacing))


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels


@settings(deadline=None)
@given(masks(), st.floats(0.5, 4.0), st.floats(0.1, 3.0))
def test_regions_are_nested_and_add_up(mask, radius_mm, more_mm):
    """Nodule and shell are disjoint and make up the grown region; a larger radius holds a smaller one."""
    grown = whole(expand(mask, ShellSpec("grown", radius_mm)))
    shell = whole(expand(mask, ShellSpec("shell", radius_mm)))
    wider = whole(expand(mask, ShellSpec("grown", radius_mm + more_mm)))
    assert not (shell & mask.voxels).any()
    assert np.array_equal(shell | mask.voxels, grown)
    assert not (grown & ~wider).any()


@settings(deadline=None)
@given(masks(), st.floats(0.5, 4.0), st.sampled_from([0, 1, 2]))
def test_mirrored_masks_have_mirrored_regions(mask, radius_mm, axis):
    """Growing does not prefer a side."""
    mirrored = Mask(np.flip(mask.voxels, axis), mask.frame)
    spec = ShellSpec("grown", radius_mm)
    assert np.array_equal(whole(expand(mirrored, spec)), np.flip(whole(expand(mask, spec)), axis))


@settings(deadline=None)
@given(masks(), st.floats(0.5, 4.0))
def test_distance_is_that_of_brute_force(mask, radius_mm):
    """A voxel is in the region exactly when some nodule voxel's centre lies within the radius, in millimetres."""
    spacing = np.asarray(mask.frame.spacing_mm)
    inside = np.argwhere(mask.voxels) * spacing
    every = np.argwhere(np.ones(mask.shape)) * spacing
    nearest = np.linalg.norm(every[:, None] - inside[None], axis=-1).min(axis=1).reshape(mask.shape)
    decided = np.abs(nearest - radius_mm) > 1e-9
    assert np.array_equal(whole(expand(mask, ShellSpec("grown", radius_mm)))[decided], (nearest <= radius_mm)[decided])


def test_cuboid_is_painted_in_rounded_voxels():
    """The published tool's 2 mm on 0.7 x 0.7 x 1.25 mm voxels is a cuboid of 3, 3 and 2 voxels to each side."""
    frame = Geometry((20, 20, 20), (1.25, 0.7, 0.7))
    seed = np.zeros(frame.shape, np.bool_)
    seed[10, 10, 10] = True
    grown = expand(Mask(seed, frame), ShellSpec("grown", 2.0, "cuboid"))
    assert grown.n_voxels == 5 * 7 * 7
    assert grown.bounds == ((8, 7, 7), (13, 14, 14))


def test_clipping_is_counted_and_spares_the_nodule(make_ball):
    """Clipping takes what lies outside the lung or in a neighbour, never the nodule, and says how much it took."""
    frame = Geometry((30, 30, 30), (1.0, 1.0, 1.0))
    nodule = Mask(make_ball(frame, (14, 14, 14), 4.0), frame)
    half = np.zeros(frame.shape, np.bool_)
    half[:, :, :14] = True
    neighbour = Mask(make_ball(frame, (14, 14, 22), 3.0), frame)
    free = expand_all(nodule, [SHELL_8])[0]
    clipped = expand_all(nodule, [SHELL_8, ShellSpec("grown", 8.0)], within=Mask(half, frame))
    assert free.clipped_fraction == 0
    assert clipped[0].clipped_fraction == pytest.approx(0.5, abs=0.06)
    assert not (whole(nodule) & ~whole(clipped[1].mask)).any()
    without = expand_all(nodule, [SHELL_8], without=[neighbour])[0]
    assert not (whole(without.mask) & whole(neighbour)).any()
    assert without.clipped_fraction == pytest.approx(1 - without.mask.n_voxels / free.mask.n_voxels)


def test_regions_stay_in_the_image():
    """A nodule at the corner has its surroundings cut at the border; nothing wraps round."""
    frame = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    voxels = np.zeros(frame.shape, np.bool_)
    voxels[0, 0, 0] = True
    grown = whole(expand(Mask(voxels, frame), ShellSpec("grown", 2.0)))
    assert grown.sum() == 1 + 3 + 3 + 3 + 1  # |(z, y, x)|^2 of 0; 1 (3 ways); 2 (3); 4 (3); 3 (1): all <= 4
    assert not grown[3:].any()


@pytest.mark.parametrize("wrong", [("nodule", 2.0), ("grown", 0.0), ("shell", -1.0), ("shell", float("inf"))])
def test_impossible_regions_are_refused(wrong):
    """A nodule has radius 0, surroundings a positive one."""
    with pytest.raises(DatasetError):
        ShellSpec(*wrong)


def test_empty_nodule_has_no_surroundings():
    """Nothing cannot be grown."""
    frame = Geometry((4, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(RegionError, match="empty"):
        expand(Mask(np.zeros(frame.shape, np.bool_), frame), SHELL_8)


def test_grid_of_a_recipe_has_thirteen_regions():
    """Seven radii in two kinds are thirteen regions: radius 0 is the nodule for both."""
    specs = grid_of_specs(("grown", "shell"), (0, 2, 4, 6, 8, 10, 12))
    assert len(specs) == 13
    assert specs[0] == ShellSpec("nodule", 0.0)
