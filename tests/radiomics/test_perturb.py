"""Perturbed nodules are what their names say, the same in any order, and all that the extractor needs."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import DatasetError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.perturb import AS_IT_IS, KINDS, Scheme, perturbations, seed_of
from lungpipe.radiomics.perturb_contour import (
    at_distance,
    drawn_to_dice,
    fraction_for_dice,
    randomised,
    with_volume,
)
from lungpipe.radiomics.perturb_movement import Movement
from lungpipe.radiomics.perturb_noise import noise_level_hu
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.segment.agreement import dice
from lungpipe.volume import CTVolume, Mask

SHAPE, SPACING_MM = (40, 64, 60), (1.25, 0.7, 0.8)
FRAME = Geometry(SHAPE, SPACING_MM, (-12.0, 7.0, -90.0))
CENTRE = (19.3, 31.6, 30.2)


def distances(frame=FRAME, centre=CENTRE, axes_mm=(1.0, 1.0, 1.0)):
    """Distance of each voxel from a centre, in units of three half axes along (z, y, x)."""
    parts = np.indices(frame.shape, dtype=float) - np.reshape(centre, (3, 1, 1, 1))
    return np.sqrt(
        ((parts * np.reshape(frame.spacing_mm, (3, 1, 1, 1)) / np.reshape(axes_mm, (3, 1, 1, 1))) ** 2).sum(axis=0)
    )


def scene(noise=15.0, axes_mm=(6.0, 6.0, 6.0)):
    inside = distances(axes_mm=axes_mm) <= 1
    hu = np.where(inside, 30.0, -850.0) + np.random.default_rng(3).normal(0, noise, SHAPE)
    return CTVolume(np.rint(hu).astype(np.int16), FRAME), Mask(inside, FRAME)


def whole(mask):
    return mask.within((0, 0, 0), mask.frame.shape).voxels


@pytest.mark.parametrize("sigma_hu", [5.0, 20.0, 60.0])
def test_the_noise_of_an_image_is_found_again(sigma_hu):
    """White noise round a nodule is measured to 5 %, also where half of the image is padding."""
    volume, _ = scene(sigma_hu)
    assert noise_level_hu(volume.hu) == pytest.approx(sigma_hu, rel=0.05)
    padded = volume.hu.copy()
    padded[:, :, :30] = -1024
    assert noise_level_hu(padded) == pytest.approx(sigma_hu, rel=0.05)
    assert noise_level_hu(np.full((3, 20, 20), -850)) == 0
    assert noise_level_hu(np.zeros((3, 4, 4))) == 0


def test_a_movement_of_a_ramp_is_exact():
    """A linear image keeps its form under a cubic spline: HU at a moved point are those at the point it came from."""
    z, y, x = np.indices(SHAPE, dtype=float)
    volume = CTVolume((3 * z + 2 * y * SPACING_MM[1] + 5 * x * SPACING_MM[2]).astype(np.float32), FRAME)
    movement = Movement(FRAME, CENTRE, 30.0, (0.25, 0.5, 0.75))
    start, stop = (15, 26, 25), (24, 37, 36)
    found = movement.image(movement.reads(volume, start, stop), start, stop)
    z, y, x = (axis.astype(float) for axis in np.mgrid[15:24, 26:37, 25:36])
    dy, dx = (y - CENTRE[1] - 0.5) * SPACING_MM[1], (x - CENTRE[2] - 0.75) * SPACING_MM[2]
    turn = np.deg2rad(30)
    came_y, came_x = dy * np.cos(turn) + dx * np.sin(turn), -dy * np.sin(turn) + dx * np.cos(turn)
    expected = 3 * (z - 0.25) + 2 * (came_y + CENTRE[1] * SPACING_MM[1]) + 5 * (came_x + CENTRE[2] * SPACING_MM[2])
    np.testing.assert_allclose(found.hu, expected, atol=1e-3)
    assert found.hu.dtype == np.float32


def test_a_quarter_turn_is_a_permutation():
    """On square voxels, 90 degrees about a voxel's centre puts every voxel on another."""
    frame = Geometry((7, 21, 21), (2.0, 0.8, 0.8))
    rng = np.random.default_rng(0)
    hu = rng.normal(0, 100, frame.shape).astype(np.float32)
    inside = rng.random(frame.shape) < 0.3
    inside[:, :3] = inside[:, -3:] = inside[:, :, :3] = inside[:, :, -3:] = False
    movement = Movement(frame, (3.0, 10.0, 10.0), 90.0)
    box = (0, 0, 0), frame.shape
    moved = movement.image(movement.reads(CTVolume(hu, frame), *box), *box)
    np.testing.assert_allclose(moved.hu[:, 4:-4, 4:-4], np.rot90(hu, 1, (1, 2))[:, 4:-4, 4:-4], atol=1e-2)
    expected = np.rot90(inside, 1, (1, 2))
    np.testing.assert_array_equal(whole(movement.other(Mask(inside, frame), *box)), expected)
    blob = np.zeros(frame.shape, dtype=bool)
    blob[2:5, 6:12, 5:15] = True
    np.testing.assert_array_equal(whole(movement.nodule(Mask(blob, frame))), np.rot90(blob, 1, (1, 2)))


@pytest.mark.parametrize("angle_deg", [-9.0, 3.0, 35.0])
def test_masks_move_to_a_fraction_of_a_voxel(angle_deg):
    """The centre shifts by the shift, the long axis turns by the angle, and the volume stays within 2 %."""
    _, mask = scene(axes_mm=(5.0, 11.0, 5.0))
    shift = (0.25, 0.75, 0.5)
    moved = Movement(FRAME, CENTRE, angle_deg, shift).nodule(mask)
    assert moved.n_voxels == pytest.approx(mask.n_voxels, rel=0.02)
    z, y, x = (np.argwhere(whole(moved)).mean(axis=0) - np.argwhere(whole(mask)).mean(axis=0)).tolist()
    assert (z, y, x) == pytest.approx(shift, abs=0.08)
    points = (np.argwhere(whole(moved)) * np.asarray(SPACING_MM))[:, 1:]
    axis = np.linalg.eigh(np.cov(points.T))[1][:, -1]
    assert np.rad2deg(np.arctan(axis[1] / axis[0])) == pytest.approx(angle_deg, abs=1.0)


def test_no_movement_changes_nothing():
    """A mask that does not move is itself, voxel for voxel."""
    _, mask = scene()
    still = Movement(FRAME, CENTRE)
    np.testing.assert_array_equal(whole(still.nodule(mask)), mask.voxels)
    assert still.other(mask, (3, 4, 5), (30, 40, 50)).content_id == mask.within((3, 4, 5), (30, 40, 50)).content_id


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.9, 1.5), st.integers(0, 1000))
def test_volume_fractions_are_met_to_the_voxel(fraction, seed):
    """Growth and shrinkage end at the number of voxels asked for, hold or lie within the original, and never at none."""
    rng = np.random.default_rng(seed)
    frame = Geometry((30, 30, 30), (2.0, 0.7, 0.7))
    axes = rng.uniform(1.5, 5.0, 3)
    mask = Mask(distances(frame, rng.uniform(13, 17, 3), axes) <= 1, frame)
    found = with_volume(mask, fraction)
    assert found.n_voxels == max(1, round(mask.n_voxels * (1 + fraction)))
    small, large = (found, mask) if fraction < 0 else (mask, found)
    assert not (whole(small) & ~whole(large)).any()


def test_growth_in_mm_moves_the_surface():
    """A ball of 6 mm grown by 1 mm, or shrunk by it, has the volume of one of 7 mm, or 5 mm."""
    _, mask = scene()
    for change_mm in (-1.0, 1.0):
        expected = 4 / 3 * np.pi * (6 + change_mm) ** 3
        assert at_distance(mask, change_mm).volume_mm3 == pytest.approx(expected, rel=0.04)
    with pytest.raises(RegionError, match="20 mm deep"):
        at_distance(mask, -20.0)


@pytest.mark.parametrize("wanted", [0.95, 0.8, 0.6])
def test_a_wanted_dice_is_reached(wanted):
    """Grown, shrunk and redrawn outlines overlap the original by what was asked for."""
    volume, mask = scene()
    for grown in (True, False):
        assert dice(mask, with_volume(mask, fraction_for_dice(wanted, grown=grown))) == pytest.approx(wanted, abs=1e-3)
    redrawn = randomised(volume, mask, np.random.default_rng(1))
    assert dice(mask, drawn_to_dice(mask, redrawn, wanted)) == pytest.approx(wanted, abs=0.02)
    scheme = Scheme(("volume", "contour"), dice=wanted)
    found = list(perturbations(volume, mask, scheme, 1))[1:]
    assert len(found) == 2 + scheme.repeats
    for copy in found:
        assert copy.dice == pytest.approx(wanted, abs=0.02)
        assert dice(copy.mask, mask) == pytest.approx(copy.dice)


def test_random_outlines_follow_the_image():
    """Where a nodule stands out its outline hardly changes; where the mask is wrong by 1 mm the image pulls it about."""
    volume, mask = scene()
    tight = [dice(mask, randomised(volume, mask, np.random.default_rng(k))) for k in range(5)]
    assert min(tight) > 0.95
    loose_mask = at_distance(mask, 1.0)
    loose = [dice(loose_mask, randomised(volume, loose_mask, np.random.default_rng(k))) for k in range(5)]
    assert 0.6 < min(loose) < max(loose) < 0.95
    assert len(set(loose)) > 1


def test_copies_are_what_their_names_say():
    """Each kind changes what it should: images move with outlines, noise has the image's level, outlines their overlap."""
    volume, mask = scene()
    scheme = Scheme(("rotation", "translation", "noise", "contour", "volume", "growth"))
    found = {copy.name: copy for copy in perturbations(volume, mask, scheme, 5)}
    assert next(iter(found)) == AS_IT_IS
    assert len(found) == 1 + 4 + 4 + 3 + 3 + 4 + 2
    same = found[AS_IT_IS]
    assert (same.mask.content_id, same.dice) == (mask.content_id, 1)
    np.testing.assert_array_equal(same.volume.hu, volume.hu)
    for name, copy in list(found.items())[1:]:
        kind = name.split()[0]
        inside = copy.volume.crop(*copy.mask.bounds).hu[copy.mask.trimmed().voxels]
        if kind in {"rotation", "translation"}:
            assert copy.dice == 1
            assert not np.array_equal(whole(copy.mask), mask.voxels)
            assert inside.mean() == pytest.approx(30, abs=40)  # the edge is blurred by less than a voxel
        elif kind == "noise":
            assert (copy.mask.content_id, copy.dice) == (mask.content_id, 1)
            assert np.std(copy.volume.hu - volume.hu) == pytest.approx(15, rel=0.05)
        else:
            np.testing.assert_array_equal(copy.volume.hu, volume.hu)
            assert 0.85 < copy.dice < 1
    assert found["volume +0.2"].mask.n_voxels == round(1.2 * mask.n_voxels)
    assert found["growth +0.5 mm"].mask.volume_mm3 == pytest.approx(4 / 3 * np.pi * 6.5**3, rel=0.04)


def test_chains_do_one_after_another():
    """A chain has as many copies as its longest link, in the published order whatever the order of the words."""
    volume, mask = scene()
    names = [change.name for change in Scheme(("contour+volume+noise+translation",), repeats=2).copies()]
    assert names == [
        "none",
        "noise 1 + translation 0.25 0.25 0.75 + volume -0.2 + contour 1",
        "noise 2 + translation 0.25 0.75 0.25 + volume -0.1 + contour 2",
        "noise 1 + translation 0.75 0.25 0.25 + volume +0.1 + contour 1",
        "noise 2 + translation 0.75 0.75 0.75 + volume +0.2 + contour 2",
    ]
    copies = list(perturbations(volume, mask, Scheme(("noise+translation+volume+contour",)), 1))
    assert all(copy.volume.hu.dtype == np.float32 and 0.5 < copy.dice < 1 for copy in copies[1:])


def test_a_copy_depends_on_seed_and_name_alone():
    """Other kinds, other order and another process change nothing; another seed does."""
    volume, mask = scene()
    seed = seed_of("N-AAAAAAAAAAA2")
    assert seed != seed_of("N-AAAAAAAAAAA3")
    assert seed_of("a") == int(hashlib.sha256(b"0:a").hexdigest()[:16], 16)
    alone = {copy.name: copy for copy in perturbations(volume, mask, Scheme(("noise", "contour")), seed)}
    among = {copy.name: copy for copy in perturbations(volume, mask, Scheme(("contour", "rotation", "noise")), seed)}
    other = {copy.name: copy for copy in perturbations(volume, mask, Scheme(("noise", "contour")), seed + 1)}
    for name in ("noise 2", "contour 3"):
        np.testing.assert_array_equal(alone[name].volume.hu, among[name].volume.hu)
        assert alone[name].mask.content_id == among[name].mask.content_id
    assert not np.array_equal(alone["noise 2"].volume.hu, other["noise 2"].volume.hu)


def test_features_of_a_crop_are_those_of_the_whole_image():
    """With the margin that the extractor reads, a copy on a crop has the features of a copy of the whole image."""
    frame = Geometry((90, 100, 104), SPACING_MM, (-12.0, 7.0, -90.0))
    inside = distances(frame, (44.4, 49.6, 52.2)) <= 4
    hu = np.where(inside, 30.0, -850.0) + np.random.default_rng(3).normal(0, 15, frame.shape)
    volume, mask = CTVolume(np.rint(hu).astype(np.int16), frame), Mask(inside, frame)
    scheme = Scheme(("rotation", "volume"), angles_deg=(7.0,), volume_fractions=(0.2,))
    chosen, extractor = RadiomicsSettings(), PyRadiomics()
    crops = list(perturbations(volume, mask, scheme, 1, margin=(30, 33, 32)))
    wholes = list(perturbations(volume, mask, scheme, 1))
    for crop, full in zip(crops, wholes, strict=True):
        assert crop.volume.hu.size < 0.6 * volume.hu.size
        a, b = (extractor(one.volume, [one.mask], chosen)[0] for one in (crop, full))
        assert a == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize("chain", KINDS)
def test_a_nodule_of_one_voxel_at_the_edge(chain):
    """The smallest mask in a corner gives copies within the image, or an empty one, and no error."""
    volume, _ = scene()
    voxels = np.zeros(SHAPE, dtype=bool)
    voxels[0, 0, 0] = True
    for copy in perturbations(volume, Mask(voxels, FRAME), Scheme((chain,)), 1, margin=(3, 3, 3)):
        assert copy.mask.n_voxels or np.isnan(copy.dice) or copy.dice == 0


def test_wrong_schemes_are_refused():
    """Unknown kinds, doubled links and impossible values are told apart; an empty mask has no copies."""
    for words, match in (
        ({"kinds": ("rotate",)}, "no perturbation 'rotate'"),
        ({"kinds": ("noise+noise",)}, "names a link twice"),
        ({"kinds": ()}, "one or more"),
        ({"kinds": ("noise", "noise")}, "each once"),
        ({"volume_fractions": (-1.0,)}, "above -1"),
        ({"repeats": 0}, "at least 1"),
        ({"dice": 1.0}, "between 0 and 1"),
    ):
        with pytest.raises(DatasetError, match=match):
            Scheme(**words)
    volume, mask = scene()
    with pytest.raises(RegionError, match="nothing to perturb"):
        next(perturbations(volume, Mask(np.zeros_like(mask.voxels), FRAME), Scheme(), 1))
