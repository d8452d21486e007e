"""Shapes of lesions, and the share of voxels inside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lung_block import ball

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.synthesis.shape import SignedDistance, cover_of, shape_of_mask
from lungpipe.volume import Mask


def turned(angle, shape=(30, 60, 60), spacing=(2.5, 0.8, 0.7)):
    """A grid turned about z and tipped about x."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return Geometry(shape, spacing, (5.0, -3.0, 40.0), tuple(matrix.ravel().tolist()))


@given(
    offset=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    angle=st.floats(-0.6, 0.6),
    radius_mm=st.floats(4.0, 9.0),
)
@settings(max_examples=15, deadline=None)
def test_the_cover_of_a_ball_has_its_volume_and_its_centre(offset, angle, radius_mm):
    """Shares of voxels add up to 4/3 pi r^3 and balance at the centre, on any grid and between its voxels."""
    frame = turned(angle)
    centre = frame.to_lps(np.array([15, 30, 30]) + offset)
    start, share = cover_of(frame, tuple(centre.tolist()), ball(radius_mm))
    assert share.min() >= 0
    assert share.max() == pytest.approx(1, abs=1e-6)
    assert share.sum() * frame.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * radius_mm**3, rel=0.01)
    index = np.argwhere(share > 0)
    balance = (index * share[share > 0][:, None]).sum(axis=0) / share.sum() + start
    assert np.linalg.norm(frame.to_lps(balance) - centre) < 0.05


def test_a_voxel_half_inside_is_half_covered():
    """A plane through the middle of thick voxels covers half of each, whatever the spacing."""
    side = np.arange(-20, 21) * 0.5
    z = np.broadcast_to(side[:, None, None], (41, 41, 41))
    box = np.maximum(np.abs(z) - 7.5, np.maximum(np.abs(side[:, None]) - 8, np.abs(side) - 8))
    frame = Geometry((20, 20, 20), (5.0, 1.0, 1.0))
    start, share = cover_of(frame, (10.0, 10.0, 50.0), SignedDistance(box, (0.5, 0.5, 0.5), (20, 20, 20)))
    column = share[:, 10 - start[1], 10 - start[2]]
    # The box reaches 7.5 mm up and down: the middle slice and those beside it, to their ends.
    assert column[10 - start[0] - 3 : 10 - start[0] + 4] == pytest.approx([0, 0, 1, 1, 1, 0, 0], abs=0.06)
    shifted, share = cover_of(frame, (10.0, 10.0, 52.5), SignedDistance(box, (0.5, 0.5, 0.5), (20, 20, 20)))
    column = share[:, 10 - shifted[1], 10 - shifted[2]]
    assert column[9 - shifted[0] : 13 - shifted[0]] == pytest.approx([0.5, 1, 1, 0.5], abs=0.01)


def test_a_mask_becomes_a_shape_of_its_volume():
    """The shape of a mask of a ball holds the ball's volume, on a coarser grid and on one that runs the other way."""
    frame = Geometry((24, 40, 40), (1.25, 0.8, 0.8), (0, 0, 0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    index = np.indices(frame.shape).transpose(1, 2, 3, 0)
    off = frame.to_lps(index) - frame.to_lps((12, 20, 20))
    # An egg: wider on the patient's left, so that a mirrored shape is another one.
    inside = np.sum((off / np.where(off > 0, (9, 6, 6), (5, 6, 6))) ** 2, axis=-1) < 1
    shape = shape_of_mask(Mask(inside, frame))
    assert np.all(np.greater_equal(shape.half_sides_mm, (6.9, 5.9, 5.9)))
    assert np.all(np.less(shape.half_sides_mm, np.add((7.0, 6.0, 6.0), frame.spacing_mm[::-1])))
    for grid in (Geometry((40, 60, 60), (1.0, 1.0, 1.0)), turned(0.0)):
        start, share = cover_of(grid, tuple(grid.to_lps((16, 30, 30)).tolist()), shape)
        assert share.sum() * grid.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 7 * 6 * 6, rel=0.04)
        x_mm = grid.to_lps(np.argwhere(share > 0.5) + start)[:, 0] - grid.to_lps((16, 30, 30))[0]
        # A half ellipsoid balances at 3/8 of its half axis; the box's middle lies 2 mm left of where the halves meet.
        assert x_mm.mean() == pytest.approx((9**2 - 5**2) * 3 / 8 / 14 - 2, abs=0.15)


def test_what_is_no_shape_is_refused():
    """An empty field, one that reaches its border, an empty mask and a turned one are told apart."""
    with pytest.raises(DatasetError, match="found none inside"):
        SignedDistance(np.ones((5, 5, 5)), (1.0, 1.0, 1.0), (2, 2, 2))
    with pytest.raises(DatasetError, match="reaches the border"):
        SignedDistance(-np.ones((5, 5, 5)), (1.0, 1.0, 1.0), (2, 2, 2))
    with pytest.raises(DatasetError, match="holds no voxel"):
        shape_of_mask(Mask(np.zeros((3, 3, 3), bool), Geometry((3, 3, 3), (1.0, 1.0, 1.0))))
    with pytest.raises(DatasetError, match="turned"):
        shape_of_mask(Mask(np.ones((30, 60, 60), bool), turned(0.3)))
