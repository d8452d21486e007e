"""Reduced copies of volumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.store.pyramid import SMALLEST, pyramid


def test_blocks_become_their_mean():
    """Each voxel of the second level is the mean of eight of the first, rounded."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (66, 68, 70)).astype(np.int16)
    (_, one), (half, two) = list(pyramid(voxels, (1.0, 1.0, 1.0), "mean"))[:2]
    assert (one, two) == ((1, 1, 1), (2, 2, 2))
    assert half.dtype == np.int16
    assert half[3, 4, 5] == np.rint(voxels[6:8, 8:10, 10:12].astype(float).mean())
    assert half.astype(float).mean() == pytest.approx(voxels.astype(float).mean(), abs=0.05)


def test_labels_keep_their_values():
    """The maximum of a block is one of its labels: a lone voxel of a nodule is still seen at every level."""
    labels = np.zeros((100, 130, 130), np.uint8)
    labels[51, 77, 33] = 7
    for reduced, (z, y, x) in pyramid(labels, (1.0, 1.0, 1.0), "maximum"):
        assert np.argwhere(reduced == 7).tolist() == [[51 // z, 77 // y, 33 // x]]
        assert set(np.unique(reduced)) == {0, 7}


def test_thick_slices_wait_for_the_pixels():
    """Slices of 5 mm are halved once pixels of 0.7 mm have grown past 2.5 mm."""
    factors = [f for _, f in pyramid(np.zeros((64, 512, 512), np.int16), (5.0, 0.7, 0.7), "mean")]
    assert factors == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8)]


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(*[st.integers(1, 150)] * 3).filter(lambda shape: np.prod(shape) < 200_000),
    st.tuples(*[st.floats(0.3, 6)] * 3),
)
def test_levels_end_small_and_cover_the_volume(shape, spacing_mm):
    """Whatever its shape, a constant volume stays constant, no block is lost, and the last level is small."""
    levels = list(pyramid(np.full(shape, 40, np.int16), spacing_mm, "mean"))
    for voxels, factor in levels:
        assert (voxels == 40).all()
        assert voxels.shape == tuple(-(-n // f) for n, f in zip(shape, factor, strict=True))
    assert max(levels[-1][0].shape) <= SMALLEST
    assert all(max(voxels.shape) > SMALLEST for voxels, _ in levels[:-1])


def test_odd_edges_are_means_of_what_is_there():
    """The last block of an odd axis is the mean of its fewer voxels."""
    voxels = np.zeros((65, 65, 65), np.float32)
    voxels[64, 64, 64] = 1
    voxels[64, 64, 0] = 1
    half, _ = list(pyramid(voxels, (1.0, 1.0, 1.0), "mean"))[1]
    assert half[32, 32, 32] == 1
    assert half[32, 32, 0] == 0.5
