import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume, Mask, box_around

FRAME = Geometry((10, 12, 14), (2.0, 1.0, 0.5))


def test_overlap_is_what_lies_in_the_block():
    """A box that leaves a block is cut to it; one that misses it is refused."""
    block = CTVolume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), Geometry((9, 9, 9), (1.0, 1.0, 1.0)), (2, 3, 4))
    found = block.overlap((0, 4, 4), (4, 9, 5))
    assert (found.start, found.shape) == ((2, 4, 4), (2, 3, 1))
    assert found.hu.ravel().tolist() == [5, 10, 15, 25, 30, 35]
    with pytest.raises(GeometryError):
        block.overlap((0, 0, 0), (2, 9, 9))


def test_blocks_are_read_only():
    """Nobody changes a volume behind another's back."""
    volume = CTVolume(np.zeros(FRAME.shape, np.int16), FRAME)
    with pytest.raises(ValueError, match="read-only"):
        volume.hu[0, 0, 0] = 1


def test_block_must_lie_in_its_frame():
    """A block that leaves its image is refused."""
    with pytest.raises(GeometryError, match="leaves its image"):
        CTVolume(np.zeros((4, 4, 4), np.int16), FRAME, (8, 0, 0))


def test_crop_outside_is_refused():
    """Cropping never wraps round or shrinks silently."""
    volume = CTVolume(np.zeros((4, 4, 4), np.int16), FRAME, (2, 2, 2))
    for box in [((1, 2, 2), (4, 4, 4)), ((2, 2, 2), (7, 4, 4)), ((3, 3, 3), (3, 4, 4))]:
        with pytest.raises(GeometryError, match="leaves the block"):
            volume.crop(*box)


def test_mask_must_be_boolean():
    """A label image is not taken for a mask."""
    with pytest.raises(GeometryError, match="booleans"):
        Mask(np.zeros(FRAME.shape, np.uint8), FRAME)


boxes = st.tuples(*[st.integers(0, n - 2) for n in FRAME.shape])


@given(boxes, st.integers(0, 2**31))
def test_mask_survives_any_crop_that_holds_it(start, seed):
    """Content id, volume and bounds of a mask do not depend on the box that it is stored on."""
    voxels = np.zeros(FRAME.shape, np.bool_)
    window = tuple(slice(s, s + 2) for s in start)
    voxels[window] = np.random.default_rng(seed).random((2, 2, 2)) < 0.6
    voxels[start] = True
    whole = Mask(voxels, FRAME)
    tight = whole.trimmed()
    assert tight.content_id == whole.content_id
    assert tight.bounds == whole.bounds
    assert np.allclose(tight.centre_mm, whole.centre_mm)
    assert np.array_equal(tight.within((0, 0, 0), FRAME.shape).voxels, voxels)


def test_content_id_tells_places_apart():
    """The same shape elsewhere, or on another grid, is another mask."""
    one = Mask(np.ones((2, 2, 2), np.bool_), FRAME, (1, 1, 1))
    moved = Mask(np.ones((2, 2, 2), np.bool_), FRAME, (1, 1, 2))
    other = Mask(np.ones((2, 2, 2), np.bool_), Geometry(FRAME.shape, (2.0, 1.0, 0.6)), (1, 1, 1))
    assert len({one.content_id, moved.content_id, other.content_id}) == 3


def test_empty_mask_has_no_bounds():
    """An empty mask says so instead of returning a box."""
    with pytest.raises(GeometryError, match="empty"):
        _ = Mask(np.zeros((2, 2, 2), np.bool_), FRAME).bounds


def test_margin_is_in_millimetres():
    """A margin grows the box by whole voxels that cover it on each axis, within the image."""
    assert box_around(FRAME, (4, 4, 4), (5, 5, 5), 3.0) == ((2, 1, 0), (7, 8, 11))
