import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lungpipe.errors import DatasetError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.expand import CAUSES, expand, expand_all
from lungpipe.region.specs import ShellSpec, grid_of_specs
from lungpipe.volume import Mask

SHELL_8 = ShellSpec("shell", 8.0)


@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (0.4, 0.1, 0.3), (0.2, 0.35, 0.05)])
def test_shell_of_a_ball_has_the_volume_of_analysis(make_ball, offset):
    """The 8 mm shell of a 10 mm ball on 0.7 x 0.7 x 1.25 mm voxels is within 1 % of 4/3 pi ((r+8)^3 - r^3)."""
    frame = Geometry((40, 70, 70), (1.25, 0.7, 0.7))
    centre = frame.to_lps((np.asarray(frame.shape) - 1) / 2.0 + offset)
    shell = expand(Mask(make_ball(frame, centre, 10.0), frame), SHELL_8)
    expected_mm3 = 4 / 3 * np.pi * (18.0**3 - 10.0**3)
    assert shell.volume_mm3 == pytest.approx(expected_mm3, rel=0.01)


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
@given(masks(), st.floats(0.5, 4.0), st.sampled_from(["grown", "shell", "band", "core"]), st.sampled_from([0, 1, 2]))
def test_mirrored_masks_have_mirrored_regions(mask, radius_mm, kind, axis):
    """Growing does not prefer a side."""
    mirrored = Mask(np.flip(mask.voxels, axis), mask.frame)
    spec = ShellSpec(kind, radius_mm)
    assert np.array_equal(whole(expand(mirrored, spec)), np.flip(whole(expand(mask, spec)), axis))


@settings(deadline=None)
@given(masks(), st.floats(0.5, 4.0), st.permutations([0, 1, 2]))
def test_permuted_masks_have_permuted_regions(mask, radius_mm, order):
    """Growing does not prefer an axis either."""
    frame = Geometry(
        tuple(mask.frame.shape[axis] for axis in order), tuple(mask.frame.spacing_mm[axis] for axis in order)
    )
    spec = ShellSpec("shell", radius_mm)
    permuted = whole(expand(Mask(np.transpose(mask.voxels, order), frame), spec))
    assert np.array_equal(permuted, np.transpose(whole(expand(mask, spec)), order))


@pytest.mark.parametrize("shape", ["ball", "oblique ellipsoid", "pair", "cube", "voxel"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.25, 0.7, 0.7)])
def test_symmetric_masks_have_symmetric_regions(shape, spacing):
    """Where a mask is its own mirror image, so are its regions: ties between sides are no matter of chance."""
    frame = Geometry((17, 19, 21), spacing)
    z, y, x = (a - (n - 1) / 2 for a, n in zip(np.ogrid[:17, :19, :21], frame.shape, strict=True))
    voxels = {
        "ball": z**2 + y**2 + x**2 <= 9,
        "oblique ellipsoid": (z + y) ** 2 / 8 + (z - y) ** 2 / 2 + x**2 / 4 <= 3,
        "pair": (np.abs(z + y / 2) + np.abs(np.abs(x) - 4) <= 1) & (np.abs(y) <= 2),
        "cube": (np.abs(z) <= 2) & (np.abs(y) <= 2) & (np.abs(x) <= 2),
        "voxel": (z == 0) & (y == 0) & (x == 0),
    }[shape]
    shell = whole(expand(Mask(voxels, frame), ShellSpec("shell", 2.0)))
    assert np.array_equal(shell, shell[::-1, ::-1, ::-1])
    for axis in range(3):
        mirrored = Mask(np.flip(voxels, axis), frame)
        assert np.array_equal(whole(expand(mirrored, ShellSpec("shell", 2.0))), np.flip(shell, axis))


@settings(deadline=None)
@given(masks(), st.lists(st.sampled_from([1.0, 1.7, 2.5, 3.0, 4.2]), min_size=1, max_size=4, unique=True))
def test_disjoint_rings_and_the_nodule_add_up(mask, radii_mm):
    """Rings between one radius and the next share no voxel, and with the nodule they are the grown region."""
    rings = [region.mask for region in expand_all(mask, grid_of_specs(("ring",), radii_mm))]
    parts = [whole(mask), *(whole(ring) for ring in rings)]
    grown = whole(expand(mask, ShellSpec("grown", max(radii_mm))))
    assert np.array_equal(np.sum(parts, axis=0), grown.astype(int))


@settings(deadline=None)
@given(masks(), st.floats(0.3, 2.0))
def test_core_and_band_lie_about_the_surface(mask, radius_mm):
    """The core is within the nodule; core, band and what is beyond share no voxel and hold all of the grown region."""
    nodule, core, band, grown = (
        whole(expand(mask, ShellSpec(kind, 0.0 if kind == "nodule" else radius_mm)))
        for kind in ("nodule", "core", "band", "grown")
    )
    assert not (core & ~nodule).any()
    assert np.array_equal(core | band, grown)
    assert not (core & band & ~nodule).any()


@settings(deadline=None)
@given(masks(), st.floats(0.5, 4.0))
def test_no_distance_is_further_off_than_a_voxel(mask, radius_mm):
    """Whatever the mask: nothing further than the radius and a voxel's diagonal from its voxels is inside, and all nearer is."""
    spacing = np.asarray(mask.frame.spacing_mm)
    to_nodule = ndimage.distance_transform_edt(~mask.voxels, sampling=spacing)
    grown, diagonal = whole(expand(mask, ShellSpec("grown", radius_mm))), float(np.linalg.norm(spacing))
    assert grown[to_nodule <= radius_mm - diagonal].all()
    assert not grown[to_nodule > radius_mm + diagonal].any()


def test_core_of_a_ball_has_the_volume_of_analysis(make_ball):
    """A ball of 10 mm has a core of 8 mm under 2 mm, and none under 12 mm."""
    frame = Geometry((30, 40, 40), (1.0, 0.7, 0.7))
    ball = Mask(make_ball(frame, frame.to_lps((14.6, 19.3, 19.8)), 10.0), frame)
    assert expand(ball, ShellSpec("core", 2.0)).volume_mm3 == pytest.approx(4 / 3 * np.pi * 8.0**3, rel=0.03)
    assert expand(ball, ShellSpec("core", 12.0)).n_voxels == 0


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


def test_regions_stay_in_the_image(make_ball):
    """A nodule at the corner has its surroundings cut at the border, which is counted; nothing wraps round."""
    frame = Geometry((24, 24, 24), (1.0, 1.0, 1.0))
    corner = Mask(make_ball(frame, (0.0, 0.0, 0.0), 3.0), frame)
    region = expand_all(corner, [ShellSpec("grown", 4.0)])[0]
    assert not whole(region.mask)[8:].any()
    assert not whole(region.mask)[:, 8:].any()
    assert region.taken == {**dict.fromkeys(CAUSES, 0.0), "edge": region.clipped_fraction}
    inner = expand_all(Mask(np.roll(corner.voxels, (10, 10, 10), (0, 1, 2)), frame), [ShellSpec("grown", 4.0)])[0]
    assert inner.clipped_fraction == 0
    assert inner.mask.n_voxels == pytest.approx(region.mask.n_voxels / (1 - region.clipped_fraction), rel=1e-9)


def test_each_loss_has_its_cause(make_ball):
    """What the lung's border, a neighbour, a vessel and the edge of the scan take adds up, and each voxel counts once."""
    frame = Geometry((30, 30, 30), (1.0, 1.0, 1.0))
    nodule = Mask(make_ball(frame, (14, 14, 5), 4.0), frame)
    lung = np.ones(frame.shape, np.bool_)
    lung[:, :, :8] = False
    neighbour = Mask(make_ball(frame, (14, 14, 14), 3.0), frame)
    vessel = np.zeros(frame.shape, np.bool_)
    vessel[:, 20:23, :] = True
    free = expand_all(nodule, [SHELL_8])[0]
    region = expand_all(
        nodule, [SHELL_8], within=Mask(lung, frame), without=[neighbour], structures=[Mask(vessel, frame)]
    )[0]
    assert free.taken["edge"] == free.clipped_fraction > 0
    assert min(region.taken.values()) > 0
    assert sum(region.taken.values()) == pytest.approx(region.clipped_fraction, abs=1e-12)
    n_whole = region.mask.n_voxels / (1 - region.clipped_fraction)
    everywhere = whole(free.mask)
    assert region.taken["edge"] == pytest.approx(free.taken["edge"])
    assert region.taken["neighbour"] * n_whole == pytest.approx(np.count_nonzero(everywhere & neighbour.voxels))
    assert region.taken["vessel"] * n_whole == pytest.approx(np.count_nonzero(everywhere & vessel & ~neighbour.voxels))


@pytest.mark.parametrize(
    "wrong",
    [
        ("nodule", 2.0),
        ("grown", 0.0),
        ("shell", -1.0),
        ("shell", float("inf")),
        ("cuboid", 2.0),
        ("ring", 2.0, "ball", 2.0),
        ("shell", 4.0, "ball", 2.0),
        ("core", 2.0, "cuboid"),
    ],
)
def test_impossible_regions_are_refused(wrong):
    """A nodule has radius 0, all else a positive one; only rings begin away from the nodule, and they end further out."""
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
