"""One mask from those of several methods."""

from __future__ import annotations

import numpy as np
import pytest

from lungpipe.errors import SegmentationError
from lungpipe.geometry import Geometry
from lungpipe.segment.fusion import agreement_map, disagreement, fuse
from lungpipe.volume import Mask

FRAME = Geometry((4, 4, 40), (1.0, 1.0, 1.0))


def bar(start, stop):
    return Mask(np.ones((4, 4, stop - start), np.bool_), FRAME, (0, 0, start))


def columns(mask):
    return np.flatnonzero(mask.within((0, 0, 0), FRAME.shape).voxels[0, 0]).tolist()


def test_majority_needs_more_than_half():
    """Two of three make a majority; one of two does not, so that one leaking method of two decides nothing."""
    assert columns(fuse("majority", [bar(0, 10), bar(4, 12), bar(20, 22)])) == list(range(4, 10))
    assert columns(fuse("majority", [bar(0, 10), bar(4, 30)])) == list(range(4, 10))


def test_simple_leaves_out_who_falls_behind():
    """Of seven methods three leak: with a fourth they carry a column by majority, and SIMPLE gives them no weight."""
    good, leak = [bar(10, 20), bar(10, 20), bar(10, 21)], [bar(10, 40), bar(9, 40), bar(10, 40)]
    assert columns(fuse("majority", [*good, bar(10, 20), *leak])) == list(range(10, 21))
    assert columns(fuse("simple", [*good, bar(10, 20), *leak])) == list(range(10, 20))
    assert columns(fuse("simple", [bar(10, 20), bar(11, 20), bar(35, 40)])) == list(range(11, 20))


def test_staple_of_alike_methods_is_theirs():
    """Three masks that nearly agree give one between them."""
    found = set(columns(fuse("staple", [bar(10, 20), bar(10, 20), bar(11, 21)])))
    assert set(range(11, 20)) <= found <= set(range(10, 21))


def test_nothing_to_agree_on_is_an_error():
    """One mask is no consensus, and methods that share no voxel have none."""
    with pytest.raises(SegmentationError) as few:
        fuse("majority", [bar(0, 5)])
    assert few.value.code == "too_few_masks"
    for name in ("majority", "staple", "simple"):
        with pytest.raises(SegmentationError) as none:
            fuse(name, [bar(0, 5), bar(6, 9), bar(20, 22)])
        assert none.value.code == "no_consensus"


def test_agreement_counts_methods_voxel_by_voxel():
    """The map holds how many masks cover a voxel; disagreement is one minus the mean overlap."""
    counts, start = agreement_map([bar(2, 6), bar(4, 8)])
    assert start == (0, 0, 2)
    assert counts[0, 0].tolist() == [1, 1, 2, 2, 1, 1]
    assert disagreement(bar(0, 10), [bar(0, 10), bar(5, 15)]) == pytest.approx(0.25)
    assert np.isnan(disagreement(bar(0, 10), []))
