"""What classical segmenters share: prompts, orientation, parting from wall and vessels, clicks."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lungpipe.errors import AnnotationError, SegmentationError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Click, Nodule
from lungpipe.segment.agreement import dice
from lungpipe.segment.boundary import (
    ConfidenceConnected,
    ConnectedThreshold,
    MorphologicalSnake,
    RandomWalker,
    SaliencyContour,
)
from lungpipe.segment.cluster import FuzzyCMeans, GaussianMixtureClusters, KMeansClusters, Otsu
from lungpipe.segment.prompt import with_extent
from lungpipe.segment.steps import Steps, opened
from lungpipe.volume import CTVolume, Mask

CLUSTERS = [Otsu, KMeansClusters, GaussianMixtureClusters, FuzzyCMeans]
METHODS = [*CLUSTERS, ConnectedThreshold, ConfidenceConnected, RandomWalker, SaliencyContour, MorphologicalSnake]
SPACING = (2.0, 0.75, 0.75)
SHAPE = (24, 64, 64)


def scene(
    spacing=SPACING, shape=SHAPE, radius_mm=6.0, inside_hu=20.0, noise_hu=15.0, seed=0, vessel_mm=0.0, wall_mm=None
):
    """A ball in lung with the blur and noise of a scanner, with a vessel through it or a wall beside it; its true mask."""
    frame = Geometry(shape, spacing)
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s + 0.21 * k for k, (n, s) in enumerate(zip(shape, spacing, strict=True)))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    ball = z**2 + y**2 + x**2 <= radius_mm**2
    hu = np.where(ball, inside_hu, -850.0)
    if vessel_mm:
        hu[(z**2 + y**2 <= vessel_mm**2) & ~ball] = 40.0
    if wall_mm is not None:
        hu[(x > wall_mm) & ~ball] = 50.0
    hu = ndimage.gaussian_filter(hu, [0.6 / s for s in spacing])
    hu += np.random.default_rng(seed).normal(0, noise_hu, shape)
    volume = CTVolume(np.rint(hu).astype(np.int16), frame)
    index = [(n - 1) / 2 - 0.21 * k / s for k, (n, s) in enumerate(zip(shape, spacing, strict=True))]
    centre = tuple(frame.to_lps(index).tolist())
    return volume, Nodule("p", "s", "n", centre, (2 * radius_mm,) * 3), Mask(ball, frame)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prompt", ["box", "point", "off centre"])
def test_a_ball_is_found_from_a_box_or_a_point(method, prompt):
    """A solid ball is found from its box, from its centre, and from a point half a radius off."""
    volume, nodule, truth = scene()
    if prompt != "box":
        off = 3.0 if prompt == "off centre" else 0.0
        x, y, z = nodule.centre_mm
        nodule = replace(nodule, size_mm=None, centre_mm=(x + off, y, z))
    assert dice(method()(volume, nodule), truth) > 0.93


def overlap_or_nothing(segmenter, volume, nodule, truth):
    """Dice with the truth; 0 where the segmenter says that nothing is at the seed."""
    try:
        return dice(segmenter(volume, nodule), truth)
    except SegmentationError as error:
        if error.code != "nothing_at_seed":
            raise
        return 0.0


@pytest.mark.parametrize("method", CLUSTERS)
def test_ground_glass_takes_the_lower_threshold(method):
    """A ball of -600 HU with a vessel beside it in the box is found whole; without the step it is not."""
    volume, nodule, truth = scene(inside_hu=-600.0, radius_mm=7.0)
    hu = volume.hu.copy()
    hu[:, :8, :] = 60  # something solid in the margin, to which the first threshold goes
    hu[:, 20:23, :] = np.where(truth.voxels[:, 20:23, :], hu[:, 20:23, :], 40)
    volume = CTVolume(hu, volume.frame)
    assert dice(method()(volume, nodule), truth) > 0.85
    assert overlap_or_nothing(method(steps=Steps(subsolid="off")), volume, nodule, truth) < 0.5


def test_a_solid_core_in_ground_glass_is_not_all():
    """Ground glass round a solid core belongs to the nodule; the rim that blur makes round a solid ball does not."""
    volume, nodule, truth = scene(inside_hu=-650.0, radius_mm=8.0)
    core = scene(radius_mm=3.5)[2]
    hu = np.where(core.voxels, 30, volume.hu).astype(np.int16)
    part_solid = CTVolume(hu, volume.frame)
    assert dice(Otsu()(part_solid, nodule), truth) > 0.9
    assert dice(Otsu(steps=Steps(subsolid="off"))(part_solid, nodule), core) > 0.8
    solid, nodule, _ = scene()
    assert Otsu()(solid, nodule).content_id == Otsu(steps=Steps(subsolid="off"))(solid, nodule).content_id


def test_a_vessel_is_detached():
    """A vessel that runs through the nodule and leaves the box is cut near the nodule; without the step it fills the box."""
    volume, nodule, truth = scene(vessel_mm=1.6)
    with_step = Otsu(keep_margin_mm=6.0)(volume, nodule)
    without = Otsu(keep_margin_mm=6.0, steps=Steps(vessels=False))(volume, nodule)
    assert dice(with_step, truth) > 0.9
    assert without.volume_mm3 > 1.1 * truth.volume_mm3
    low, high = np.asarray(with_step.bounds)[:, 2]
    assert (high - low) * SPACING[2] < 12.0 + 2 * 2.5  # of 24 mm that the vessel fills


def test_a_wall_is_parted():
    """A nodule on the chest wall keeps its own half; without the steps the wall comes along."""
    volume, nodule, truth = scene(wall_mm=4.0, shape=(24, 96, 96))
    parted = Otsu(keep_margin_mm=6.0)(volume, nodule)
    along = Otsu(keep_margin_mm=6.0, steps=Steps(wall=False, vessels=False))(volume, nodule)
    assert dice(parted, truth) > 0.85
    assert dice(along, truth) < 0.8


def mirrored(volume, nodule, axis):
    """The image with one array axis reversed in place, and the nodule where it then lies."""
    hu = np.flip(volume.hu, axis).copy()
    index = volume.frame.to_index(nodule.centre_mm)
    index[axis] = volume.shape[axis] - 1 - index[axis]
    centre = tuple(volume.frame.to_lps(index).tolist())
    return CTVolume(hu, volume.frame), replace(nodule, centre_mm=centre)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 1000), axis=st.integers(0, 2), point=st.booleans(), vessel=st.booleans())
@settings(max_examples=8, deadline=None)
def test_mirroring_changes_nothing_but_position(method, seed, axis, point, vessel):
    """The mask of a mirrored image is the mirrored mask, voxel for voxel."""
    volume, nodule, _ = scene(seed=seed, noise_hu=40.0, vessel_mm=1.6 if vessel else 0.0)
    nodule = replace(nodule, size_mm=None) if point else nodule
    whole = (0, 0, 0), volume.shape
    expected = np.flip(method()(volume, nodule).within(*whole).voxels, axis)
    assert np.array_equal(method()(*mirrored(volume, nodule, axis)).within(*whole).voxels, expected)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 1000), order=st.sampled_from(list(permutations(range(3)))))
@settings(max_examples=6, deadline=None)
def test_permuting_axes_changes_nothing_but_position(method, seed, order):
    """The mask of an image with its axes in another order is the mask in that order, voxel for voxel."""
    volume, nodule, _ = scene(seed=seed, noise_hu=40.0, vessel_mm=1.6)
    frame = Geometry(tuple(volume.shape[a] for a in order), tuple(volume.frame.spacing_mm[a] for a in order))
    index = volume.frame.to_index(nodule.centre_mm)[list(order)]
    turned = CTVolume(np.transpose(volume.hu, order).copy(), frame)
    size = tuple(nodule.size_mm[::-1][a] for a in order)[::-1]
    moved = replace(nodule, centre_mm=tuple(frame.to_lps(index).tolist()), size_mm=size)
    expected = np.transpose(method()(volume, nodule).within((0, 0, 0), volume.shape).voxels, order)
    assert np.array_equal(method()(turned, moved).within((0, 0, 0), turned.shape).voxels, expected)


@pytest.mark.parametrize("method", METHODS)
@given(shift=st.tuples(st.integers(-2, 2), st.integers(-8, 8), st.integers(-8, 8)))
@settings(max_examples=6, deadline=None)
def test_translation_by_whole_voxels_changes_nothing_but_position(method, shift):
    """The mask of a shifted image is the shifted mask; noise of 0 HU changes nothing either."""
    volume, nodule, _ = scene(noise_hu=25.0)
    hu = np.roll(volume.hu, shift, (0, 1, 2)) + np.int16(0)
    index = volume.frame.to_index(nodule.centre_mm) + np.asarray(shift)
    moved = replace(nodule, centre_mm=tuple(volume.frame.to_lps(index).tolist()))
    mask = method()(volume, nodule)
    expected = Mask(mask.voxels, mask.frame, tuple(np.add(mask.start, shift).tolist()))
    assert method()(CTVolume(hu, volume.frame), moved).content_id == expected.content_id


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("radius_mm", [4.0, 6.0, 9.0])
def test_double_resolution_changes_the_volume_by_less_than_a_tenth(method, radius_mm):
    """The same image on voxels of half the size gives nearly the same volume."""
    volume, nodule, _ = scene(radius_mm=radius_mm, noise_hu=10.0, shape=(30, 64, 64))
    fine = ndimage.zoom(volume.hu.astype(np.float64), 2, order=1, grid_mode=True, mode="nearest")
    z, y, x = volume.frame.spacing_mm
    origin = (-x / 4, -y / 4, -z / 4)
    frame = Geometry(fine.shape, (z / 2, y / 2, x / 2), origin)
    finer = method()(CTVolume(np.rint(fine).astype(np.int16), frame), nodule)
    assert finer.volume_mm3 == pytest.approx(method()(volume, nodule).volume_mm3, rel=0.1)


def test_clicks_correct_a_mask():
    """A click outside takes the part round it away, one inside brings its part in, and both are as clicked."""
    volume, nodule, truth = scene()
    hu = volume.hu.copy()
    other = scene(shape=SHAPE, radius_mm=3.0)[2].voxels
    hu[np.roll(other, 14, 2)] = 10  # a second, smaller ball 10.5 mm to the side
    hu[11:13, 30:33, 36:44] = 10  # and a bridge to it
    volume = CTVolume(hu, volume.frame)
    x, y, z = nodule.centre_mm
    wide = replace(nodule, size_mm=(26.0, 13.0, 13.0), centre_mm=(x + 4.0, y, z))
    both = Otsu()(volume, wide)
    side = (x + 10.5, y, z)
    cut = Otsu()(volume, replace(wide, clicks=(Click(side, inside=False), Click((x, y, z), inside=True))))
    assert dice(both, truth) < dice(cut, truth)
    assert dice(cut, truth) > 0.9
    more = Otsu()(volume, replace(nodule, clicks=(Click(side, inside=True),)))
    index = np.rint(volume.frame.to_index(side)).astype(int)
    voxel = tuple(index.tolist()), tuple((index + 1).tolist())
    assert more.within(*voxel).n_voxels == 1
    assert cut.within(*voxel).n_voxels == 0
    assert more.volume_mm3 > 1.05 * truth.volume_mm3


def test_impossible_prompts_are_refused():
    """A click outside the image, a point in air without contrast and a constant image are told."""
    volume, nodule, _ = scene()
    with pytest.raises(AnnotationError) as outside:
        Otsu()(volume, replace(nodule, clicks=(Click((1e4, 0.0, 0.0), inside=True),)))
    assert outside.value.code == "click_outside_volume"
    flat = CTVolume(np.full(SHAPE, -850, np.int16), volume.frame)
    with pytest.raises(SegmentationError) as constant:
        Otsu()(flat, nodule)
    assert constant.value.code == "constant_region"
    assert "no_extent" in with_extent(flat, replace(nodule, size_mm=None)).codes


def test_opening_follows_the_spacing():
    """An opening erases what is thinner along fine axes, and nothing along an axis that is coarser than its radius."""
    thin = np.zeros((9, 21, 21), np.bool_)
    thin[4, 5:16, 5:16] = True  # a plate of one thick slice
    assert np.array_equal(opened(thin, 1.5, (5.0, 0.7, 0.7)).any(axis=(1, 2)), thin.any(axis=(1, 2)))
    line = np.zeros((9, 21, 21), np.bool_)
    line[2:7, 5:16, 5:16] = True
    line[2:7, 10, 16:20] = True  # a spike of one pixel
    assert not opened(line, 1.5, (5.0, 0.7, 0.7))[:, 10, 17:].any()
    assert np.array_equal(opened(thin, 1.5, (0.7, 0.7, 0.7)), thin), "a nodule that no ball fits into stays"
