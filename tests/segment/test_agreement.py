"""Overlap, spread of volume and summaries of ratings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.segment.agreement import dice, mean_pairwise_dice, summarise_rating, volume_spread
from lungpipe.volume import Mask

FRAME = Geometry((12, 30, 30), (2.0, 0.5, 0.5))


def box(x: int, length: int = 10) -> Mask:
    """A bar of 4 x 4 x length voxels that begins at column x."""
    return Mask(np.ones((4, 4, length), dtype=np.bool_), FRAME, (2, 3, x))


EMPTY = Mask(np.zeros((2, 2, 2), dtype=np.bool_), FRAME, (0, 0, 0))


@given(st.integers(0, 15))
def test_dice_of_a_shifted_box(shift: int) -> None:
    """A bar of length 10 shifted along itself by d overlaps by 1 - d / 10, and not at all from 10 on."""
    assert dice(box(2), box(2 + shift)) == pytest.approx(max(0.0, 1 - shift / 10))
    assert dice(box(2 + shift), box(2)) == dice(box(2), box(2 + shift))


def test_dice_of_boxes_of_different_size() -> None:
    """A bar of 5 inside one of 10 overlaps by 2 * 5 / 15."""
    assert dice(box(2, 10), box(4, 5)) == pytest.approx(2 / 3)


def test_mean_dice_counts_every_pair_once() -> None:
    """Bars at 0, 2 and 4 overlap pairwise by 0.8, 0.6 and 0.8."""
    assert mean_pairwise_dice([box(0), box(2), box(4)]) == pytest.approx((0.8 + 0.6 + 0.8) / 3)


def test_dice_without_anything_to_compare_is_not_a_number() -> None:
    """One rater has nobody to agree with, two empty masks nothing to agree on; an empty mask and a drawn one disagree."""
    assert math.isnan(mean_pairwise_dice([box(0)]))
    assert math.isnan(dice(EMPTY, EMPTY))
    assert dice(EMPTY, box(0)) == 0.0
    # Of three masks two are empty: their pair is left out, the other two pairs are 0.
    assert mean_pairwise_dice([EMPTY, EMPTY, box(0)]) == 0.0


def test_masks_of_different_grids_are_refused() -> None:
    """Overlap is defined on one grid only."""
    other = Geometry(FRAME.shape, (2.5, 0.5, 0.5))
    with pytest.raises(GeometryError, match="one grid"):
        dice(box(0), Mask(box(0).voxels, other, (2, 3, 0)))


def test_spread_of_volumes() -> None:
    """Bars of 4, 8 and 12 columns are 32, 64 and 96 mm3: mean 64, sample standard deviation 32, variation one half."""
    spread = volume_spread([box(0, 4), box(0, 8), box(0, 12)])
    assert (spread.min_mm3, spread.max_mm3, spread.mean_mm3, spread.variation) == (32.0, 96.0, 64.0, 0.5)


def test_spread_of_one_rater_or_of_nothing_is_not_a_number() -> None:
    """One volume has no spread, and empty masks have no mean to compare it with."""
    assert math.isnan(volume_spread([box(0)]).variation)
    assert math.isnan(volume_spread([EMPTY, EMPTY]).variation)
    assert volume_spread([EMPTY, box(0, 4)]).min_mm3 == 0.0


def test_summary_of_a_rating() -> None:
    """Ratings 1, 5, 4, 3 have mean 3.25 and median 3.5; no ratings have a count of 0 alone."""
    summary = summarise_rating([1, 5, 4, 3])
    assert (summary.n, summary.mean, summary.median, summary.min, summary.max) == (4, 3.25, 3.5, 1.0, 5.0)
    none = summarise_rating([])
    assert none.n == 0
    assert all(math.isnan(v) for v in (none.mean, none.median, none.min, none.max))
