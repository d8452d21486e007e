"""Where lesions are put."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lung_block import ball, block, within_ball
from scipy import ndimage

from lungpipe.errors import RegionError
from lungpipe.synthesis.place import random_place
from lungpipe.synthesis.shape import cover_of

VOLUME, LUNG = block(wall_mm=36.0)
DEPTH_MM = ndimage.distance_transform_edt(np.pad(LUNG.voxels, 1), sampling=VOLUME.frame.spacing_mm)


@given(seed=st.integers(0, 2**32), radius_mm=st.floats(2.0, 6.0), margin_mm=st.floats(0.0, 4.0))
@settings(max_examples=10, deadline=None)
def test_a_drawn_place_lies_in_the_lung_with_its_margin(seed, radius_mm, margin_mm):
    """Whatever the seed, all that the shape covers is lung, and no wall nor image border lies within the margin."""
    shape = ball(radius_mm)
    place = random_place(VOLUME, LUNG, shape, seed=seed, margin_mm=margin_mm)
    start, share = cover_of(VOLUME.frame, place, shape)
    index = np.argwhere(share > 0) + start
    assert np.all(LUNG.voxels[tuple(index.T)])
    at = np.rint(VOLUME.frame.to_index(place)).astype(int)
    assert DEPTH_MM[tuple(at + 1)] > radius_mm + margin_mm
    assert place == random_place(VOLUME, LUNG, shape, seed=seed, margin_mm=margin_mm)


def test_places_spread_over_the_lung():
    """Different seeds give different places, on all sides."""
    places = np.array([random_place(VOLUME, LUNG, ball(3.0), seed=seed, margin_mm=2.0) for seed in range(40)])
    assert len(np.unique(places, axis=0)) > 35
    assert np.all(np.ptp(places, axis=0) > (15, 25, 30))


def test_a_place_clear_of_vessels_is_clear():
    """With vessels every few mm the ball about the shape holds none; without asking, it holds some now and then."""
    hu = VOLUME.hu.copy()
    hu[:, 10:14, :] = hu[:, 50:54, :] = 30
    full = type(VOLUME)(hu, VOLUME.frame)

    def touched(**asked):
        places = [random_place(full, LUNG, ball(4.0), seed=seed, margin_mm=1.0, **asked) for seed in range(12)]
        return [bool(np.any(hu[within_ball(full, place, 4.0)] == 30)) for place in places]

    assert not any(touched(clear_of_vessels=True))
    assert any(touched())


def test_no_room_is_said_with_the_room_there_is():
    """A ball wider than the lung, or one that vessels leave no room for, is refused."""
    with pytest.raises(RegionError, match=r"no place in the lung has .* the deepest has 1[0-9]\.\d mm") as told:
        random_place(VOLUME, LUNG, ball(25.0), seed=0)
    assert told.value.code == "no_room"
    hu = VOLUME.hu.copy()
    hu[:, ::8, :] = hu[:, 1::8, :] = 30
    with pytest.raises(RegionError, match="no vessel in it"):
        random_place(type(VOLUME)(hu, VOLUME.frame), LUNG, ball(5.0), seed=0, clear_of_vessels=True)
