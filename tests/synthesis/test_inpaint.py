"""Lesions taken out of scans: what takes their place, and what is left alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lung_block import LUNG_HU, QUIET, WALL_HU, ball, block, middle, neighbours_correlate, within_ball
from scipy import ndimage

from lungpipe.errors import DatasetError, FeatureError, RegionError
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.expand import expand_all
from lungpipe.region.specs import ShellSpec
from lungpipe.scan.controls import controls_of
from lungpipe.synthesis import Look, inpainted, inserted
from lungpipe.synthesis.inpaint import _kriged
from lungpipe.synthesis.texture import gaussian_texture
from lungpipe.volume import CTVolume, Mask


def with_ball(radius_mm=7.0, centre_mm=None, **lung):
    """A lung with a ball of 30 HU in it: image before, with the ball, its mask."""
    before, inside = block(**lung)
    centre = centre_mm or middle(before)
    after, mask = inserted(before, ball(radius_mm), centre, Look(30.0), QUIET, seed=0, lung=inside)
    return before, after, mask


@pytest.mark.parametrize("grain_mm", [0.8, pytest.param(0.0, marks=pytest.mark.slow)])
def test_what_was_put_in_and_taken_out_leaves_the_lung_that_was_there(grain_mm):
    """Mean, standard deviation and correlation of neighbours in the fill are near those of the lung before."""
    before, after, mask = with_ball(8.0, noise_hu=35.0, grain_mm=grain_mm)
    inside = mask.within((0, 0, 0), before.frame.shape).voxels
    assert after.hu[inside].mean() > -50
    gone = inpainted(after, mask, seed=1)
    assert gone.hu[inside].mean() == pytest.approx(LUNG_HU, abs=6)
    assert gone.hu[inside].std() == pytest.approx(35.0, rel=0.1)
    assert np.abs(gone.hu - LUNG_HU).max() < 6.5 * 35
    for axis in range(3):
        expected = neighbours_correlate(before.hu.astype(float), inside, axis)
        assert neighbours_correlate(gone.hu.astype(float), inside, axis) == pytest.approx(expected, abs=0.1)
    assert np.mean(gone.hu[inside] == inpainted(after, mask, seed=2).hu[inside]) < 0.1


@given(radius_mm=st.floats(3.0, 8.0), margin_mm=st.floats(0.0, 4.0), shift=st.tuples(*[st.floats(-5.0, 5.0)] * 3))
@settings(max_examples=3, deadline=None)
def test_no_voxel_beyond_the_margin_changes(radius_mm, margin_mm, shift):
    """What lies further than the margin from the mask is the scan's own, bit for bit; the input is not touched."""
    volume, _ = block()
    ball_ = within_ball(volume, np.add(middle(volume), shift), radius_mm)
    mask = Mask(ball_, volume.frame)
    kept = volume.hu.copy()
    gone = inpainted(volume, mask, seed=0, margin_mm=margin_mm)
    away_mm = ndimage.distance_transform_edt(~ball_, sampling=volume.frame.spacing_mm)
    assert np.array_equal(gone.hu[away_mm > margin_mm], kept[away_mm > margin_mm])
    assert np.array_equal(volume.hu, kept)
    assert gone.hu.dtype == kept.dtype
    assert np.mean(gone.hu[ball_] != kept[ball_]) > 0.9


def test_features_of_shells_beyond_the_margin_do_not_change():
    """A ring from 4 to 8 mm has the very features it had, the nodule has others."""
    _, after, mask = with_ball(5.0)
    gone = inpainted(after, mask, seed=0)
    (ring,) = expand_all(mask, (ShellSpec("ring", 8.0, inner_mm=4.0),))
    plain = RadiomicsSettings(spacing_mm=None)
    (ring_before, nodule_before), (ring_after, nodule_after) = (
        Nested()(one, [ring.mask, mask], plain) for one in (after, gone)
    )
    assert dict(ring_before) == dict(ring_after)
    assert nodule_before["original_firstorder_Mean"] > -100
    assert nodule_after["original_firstorder_Mean"] == pytest.approx(LUNG_HU, abs=10)
    assert nodule_before["original_shape_MeshVolume"] == nodule_after["original_shape_MeshVolume"]


def test_the_control_reads_the_mask_where_the_nodule_was():
    """Rows ``inpainted`` have the shape of the nodule and the HU of lung; what cannot be filled is a row that says why."""
    _, after, mask = with_ball(5.0)
    plain = SimpleNamespace(extractor=Nested(), radiomics=RadiomicsSettings(spacing_mm=None), controls=("inpainted",))
    ((name, region, found),) = controls_of(after, mask, plain)
    assert (name, region.mask.content_id, region.clipped_fraction) == ("inpainted", mask.content_id, 0.0)
    (own,) = Nested()(after, [mask], plain.radiomics)
    assert found["original_firstorder_Mean"] == pytest.approx(LUNG_HU, abs=10)
    assert found["original_shape_Sphericity"] == own["original_shape_Sphericity"]
    assert dict(found) == dict(next(controls_of(after, mask, plain))[2])
    solid = CTVolume(np.full(after.shape, 40, np.int16), after.frame)
    ((_, _, refused),) = controls_of(solid, mask, plain)
    assert isinstance(refused, FeatureError)
    assert refused.code == "no_lung_beside"


def test_a_crop_gives_what_the_whole_scan_gives():
    """A crop with enough lung round the lesion is filled as the whole is."""
    _, after, mask = with_ball(4.0)
    (z, y, x), (z1, y1, x1) = mask.bounds
    box = (z - 12, y - 25, x - 25), (z1 + 12, y1 + 25, x1 + 25)
    assert np.array_equal(inpainted(after.crop(*box), mask, seed=3).hu, inpainted(after, mask, seed=3).crop(*box).hu)


def test_the_slow_rise_of_the_lung_goes_on_through_the_fill():
    """Where lung grows denser towards the back, so does the fill."""
    before, _, mask = with_ball(7.0)
    rise = (np.arange(before.shape[1]) * 3.0)[:, None] - 90
    tilted = CTVolume((before.hu + rise).astype(np.int16), before.frame)
    gone = inpainted(tilted, mask, seed=0)
    inside = mask.within((0, 0, 0), before.frame.shape).voxels
    rows = np.nonzero(inside)[1]
    slope = np.polyfit(rows, gone.hu[inside].astype(float), 1)[0]
    assert slope == pytest.approx(3.0, abs=1.0)


def test_a_lesion_at_the_wall_gives_way_to_lung_and_wall():
    """Lung is filled with lung and, behind the pleura, wall with wall: the border runs where the closed lung has it."""
    centre = tuple(block()[0].frame.to_lps((16, 32, 28.0 / 0.7)).tolist())
    before, _ = block(wall_mm=33.0, noise_hu=20.0)
    hu = before.hu.copy()
    lesion = within_ball(before, centre, 7.0)  # 2 mm of it lie in the wall
    hu[lesion] = 90
    gone = inpainted(CTVolume(hu, before.frame), Mask(lesion, before.frame), seed=0)
    x_mm = np.broadcast_to(np.arange(before.shape[2]) * 0.7, lesion.shape)
    lung_part, wall_part = lesion & (x_mm < 31.0), lesion & (x_mm > 34.0)
    assert min(np.count_nonzero(lung_part), np.count_nonzero(wall_part)) > 20
    assert gone.hu[lung_part].mean() == pytest.approx(LUNG_HU, abs=15)
    assert gone.hu[wall_part].mean() == pytest.approx(WALL_HU, abs=15)
    assert gone.hu[wall_part].std() == pytest.approx(20, rel=0.25)


def test_texture_meets_no_seam():
    """Kriged from known voxels a field goes on across the border; drawn without them it breaks there."""
    texture = gaussian_texture(20.0, 1.5, (0.8, 0.8, 0.8))
    truth = texture.draw(np.random.default_rng(1), (24, 30, 30)).astype(np.float64)
    known = np.ones(truth.shape, bool)
    known[7:17, 10:20, 10:20] = False
    free = texture.draw(np.random.default_rng(2), truth.shape).astype(np.float64)
    met = free + _kriged(truth - free, known, texture)
    assert np.sqrt(np.mean((met - truth)[known] ** 2)) < 8
    assert np.sqrt(np.mean((free - truth)[known] ** 2)) > 20

    def step(field):
        """Mean square of the jump from the last known voxel to the first that is not, against one step inside."""
        filled = np.where(known, truth, field)
        return np.mean((filled[6, 10:20, 10:20] - filled[7, 10:20, 10:20]) ** 2) / np.mean(np.diff(truth, axis=0) ** 2)

    assert step(met) < 2.5
    assert step(free) > 5


def test_what_cannot_be_filled_is_refused():
    """No mask, a mask beyond the image, no lung round it, too little of it, a negative margin: each is told."""
    volume, _ = block()
    frame = volume.frame
    mask = Mask(within_ball(volume, middle(volume), 4.0), frame)
    with pytest.raises(RegionError, match="empty or leaves") as told:
        inpainted(volume, Mask(np.zeros(frame.shape, bool), frame), seed=0)
    assert told.value.code == "outside_volume"
    with pytest.raises(RegionError, match="empty or leaves"):
        inpainted(volume.crop((0, 0, 0), (16, 60, 60)), mask, seed=0)
    solid = CTVolume(np.full(frame.shape, 40, np.int16), frame)
    with pytest.raises(RegionError, match="no lung lies round") as told:
        inpainted(solid, mask, seed=0)
    assert told.value.code == "no_lung_beside"
    some = solid.hu.copy()
    some[14:18, 30:36, 50:56] = -860
    with pytest.raises(RegionError, match="300 are needed"):
        inpainted(CTVolume(some, frame), mask, seed=0)
    with pytest.raises(DatasetError, match="0 mm or more, found -1"):
        inpainted(volume, mask, seed=0, margin_mm=-1.0)
