"""Majority, union, intersection and STAPLE of raters' masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.segment import consensus
from lungpipe.segment.consensus import (
    STAPLE_MARGIN_MM,
    consensus_mask,
    consensus_masks,
    intersection_mask,
    staple,
    union_mask,
)
from lungpipe.volume import Mask

FRAME = Geometry((40, 40, 40), (1.0, 1.0, 1.0))
#: Here STAPLE's margin is one voxel, so that random masks, on which it takes thousands of steps, stay quick.
COARSE = Geometry((40, 40, 40), (5.0, 5.0, 5.0))


def box(start, stop, frame=FRAME) -> Mask:
    """A filled half-open box, as a crop of the frame."""
    return Mask(np.ones(np.subtract(stop, start), dtype=np.bool_), frame, start)


def row(*columns: int) -> Mask:
    """Some voxels of one row, on a crop of their own."""
    voxels = np.zeros((1, 1, 6), dtype=np.bool_)
    voxels[0, 0, list(columns)] = True
    return Mask(voxels, FRAME, (20, 20, 20))


def columns(mask: Mask) -> list[int]:
    return [int(x) for x in np.argwhere(mask.within((20, 20, 20), (21, 21, 26)).voxels)[:, 2]]


EMPTY = row()


@st.composite
def rater_masks(draw) -> list[Mask]:
    """One to five random masks, each on a crop of its own, some of them empty."""
    masks = []
    for _ in range(draw(st.integers(1, 5))):
        start = tuple(draw(st.integers(10, 12)) for _ in range(3))
        shape = tuple(draw(st.integers(1, 4)) for _ in range(3))
        bits = draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
        masks.append(Mask(np.array(bits, dtype=np.bool_).reshape(shape), COARSE, start))
    return masks


def test_votes_on_masks_made_by_hand() -> None:
    """Three raters on different crops: two of three, any, all."""
    three = [row(0, 1, 2), row(1, 2, 3), row(2, 3, 4)]
    assert columns(consensus_mask(three)) == [1, 2, 3]
    assert columns(union_mask(three)) == [0, 1, 2, 3, 4]
    assert columns(intersection_mask(three)) == [2]


def test_a_tie_of_an_even_number_is_inside() -> None:
    """Two of four are a majority, and so is one of two: the majority of two raters is their union."""
    assert columns(consensus_mask([row(0, 1), row(1), row(2), row(2, 3)])) == [1, 2]
    assert columns(consensus_mask([row(0, 1), row(1, 2)])) == [0, 1, 2]


def test_an_empty_mask_counts_as_a_rater() -> None:
    """Beside two empty masks a third rater has no majority; the intersection with an empty mask is empty."""
    assert columns(consensus_mask([row(1), EMPTY, EMPTY])) == []
    assert columns(union_mask([row(1), EMPTY, EMPTY])) == [1]
    assert columns(intersection_mask([row(1), EMPTY])) == []


def test_one_rater_is_the_consensus_in_every_sense() -> None:
    """All four of one mask are that mask, and its rater is taken to be perfect."""
    one = consensus_masks([row(1, 4)])
    assert [columns(m) for m in (one.majority, one.union, one.intersection, one.staple.mask)] == [[1, 4]] * 4
    assert (one.staple.sensitivity, one.staple.specificity, one.staple.failure) == ((1.0,), (1.0,), "")


def test_nothing_drawn_is_an_empty_consensus() -> None:
    """Of empty masks all four are empty, and how well they were drawn is not a number."""
    none = consensus_masks([EMPTY, EMPTY])
    assert [m.n_voxels for m in (none.majority, none.union, none.intersection, none.staple.mask)] == [0] * 4
    assert none.staple.failure == ""
    assert np.isnan([*none.staple.sensitivity, *none.staple.specificity]).all()


@pytest.mark.parametrize("function", [consensus_mask, union_mask, intersection_mask, staple, consensus_masks])
def test_masks_of_different_grids_are_refused(function) -> None:
    """Masks on grids that differ, or no masks at all, raise an error that says so."""
    other = Geometry(FRAME.shape, FRAME.spacing_mm, (0.5, 0.0, 0.0))
    with pytest.raises(GeometryError, match="one grid"):
        function([row(1), Mask(row(1).voxels, other, (20, 20, 20))])
    with pytest.raises(GeometryError, match="at least one mask"):
        function([])


@settings(max_examples=40, deadline=None)
@given(rater_masks(), st.randoms())
def test_intersection_within_majority_within_union(masks: list[Mask], random) -> None:
    """Each lies in the next, no estimate leaves the union, and the order of raters changes nothing."""
    found = consensus_masks(masks)
    assert not np.any(found.intersection.voxels & ~found.majority.voxels)
    assert not np.any(found.majority.voxels & ~found.union.voxels)
    assert not np.any(found.staple.mask.voxels & ~found.union.voxels)
    order = list(range(len(masks)))
    random.shuffle(order)
    again = consensus_masks([masks[rater] for rater in order])
    for name in ("majority", "union", "intersection"):
        assert np.array_equal(getattr(again, name).voxels, getattr(found, name).voxels)
    assert np.array_equal(again.staple.mask.voxels, found.staple.mask.voxels)
    assert again.staple.failure == found.staple.failure
    expected = [found.staple.sensitivity[rater] for rater in order]
    # Raters who drew the same may change places.
    assert np.allclose(again.staple.sensitivity, expected, rtol=1e-9, equal_nan=True)


def expectation_maximisation(stack: np.ndarray, steps: int = 5000):
    """STAPLE written from the paper's equations (14, 15, 18, 19), beginning with the share of votes."""
    drawn = stack.reshape(len(stack), -1).astype(np.float64)
    prior = drawn.mean()
    weight = drawn.mean(axis=0)
    for _ in range(steps):
        p = (drawn * weight).sum(axis=1) / weight.sum()
        q = ((1 - drawn) * (1 - weight)).sum(axis=1) / (1 - weight).sum()
        inside = prior * np.prod(np.where(drawn == 1, p[:, None], 1 - p[:, None]), axis=0)
        outside = (1 - prior) * np.prod(np.where(drawn == 0, q[:, None], 1 - q[:, None]), axis=0)
        weight = inside / (inside + outside)
    return weight.reshape(stack.shape[1:]), p, q


THREE = [box((5, 5, 5), (15, 15, 15)), box((6, 5, 5), (15, 16, 15)), box((5, 7, 6), (14, 15, 17))]


def in_box(masks: list[Mask], margin: int) -> np.ndarray:
    """Masks on their joint tight box and some voxels around it."""
    low = np.min([m.bounds[0] for m in masks], axis=0) - margin
    high = np.max([m.bounds[1] for m in masks], axis=0) + margin
    return np.stack([m.within(tuple(low.tolist()), tuple(high.tolist())).voxels for m in masks])


def test_staple_equals_an_independent_implementation() -> None:
    """Mask and performance of three boxes equal those of the paper's equations on the same background."""
    stack = in_box(THREE, int(STAPLE_MARGIN_MM))
    weight, p, q = expectation_maximisation(stack)
    found = staple(THREE)
    assert found.failure == ""
    assert found.sensitivity == pytest.approx(p, abs=1e-4)
    assert found.specificity == pytest.approx(q, abs=1e-4)
    inner = (slice(5, -5),) * 3
    assert np.array_equal(found.mask.voxels, (weight >= 0.5)[inner])
    assert 0 < found.mask.n_voxels < union_mask(THREE).n_voxels


def test_staple_equals_the_filter_on_a_whole_image() -> None:
    """On an image that is the joint box and its margin, the result is that of ITK's filter on whole arrays."""
    frame = Geometry((20, 21, 22), (1.0, 1.0, 1.0))
    masks = [Mask(m.voxels, frame, m.start) for m in THREE]
    images = [sitk.GetImageFromArray(m.within((0, 0, 0), frame.shape).voxels.astype(np.uint8)) for m in masks]
    whole = sitk.STAPLEImageFilter()
    whole.SetForegroundValue(1)
    inside = sitk.GetArrayFromImage(whole.Execute(images)) >= 0.5
    found = staple(masks)
    assert np.array_equal(found.mask.within((0, 0, 0), frame.shape).voxels, inside)
    assert found.sensitivity == pytest.approx(whole.GetSensitivity(), abs=1e-6)
    assert found.specificity == pytest.approx(whole.GetSpecificity(), abs=1e-6)


def test_one_rater_inside_the_other_by_hand() -> None:
    """With a voxels around b of n, one half solves the equations: the union, sensitivity 2 b / (a + b) and so on."""
    outer, inner = box((10, 10, 10), (16, 15, 15)), box((11, 10, 10), (15, 15, 15))
    a, b, n = 150, 100, 16 * 15 * 15
    found = staple([outer, inner])
    assert found.mask.content_id == outer.content_id
    assert found.sensitivity == pytest.approx((1.0, 2 * b / (a + b)))
    assert found.specificity == pytest.approx(((n - a) / (n - (a + b) / 2), 1.0))


def test_two_who_agree_outvote_a_third() -> None:
    """Two equal masks of 150 voxels are the estimate; the third's sensitivity is its share of them, 100 of 150."""
    twice, third = box((10, 10, 10), (16, 15, 15)), box((12, 10, 10), (20, 15, 15))
    found = staple([twice, twice, third])
    assert found.mask.content_id == twice.content_id
    assert found.sensitivity == pytest.approx((1.0, 1.0, 100 / 150), abs=1e-4)
    n = 20 * 15 * 15
    assert found.specificity == pytest.approx((1.0, 1.0, (n - 250) / (n - 150)), abs=1e-4)


def test_the_background_changes_staple_and_the_crop_does_not() -> None:
    """Another margin gives another specificity; a looser crop, a corner of the image and its size give the same."""
    found = staple(THREE)
    assert staple(THREE, margin_mm=10.0).specificity != pytest.approx(found.specificity, abs=1e-3)
    loose = [m.within((2, 2, 2), (30, 30, 30)) for m in THREE]
    corner = Geometry((12, 12, 13), (1.0, 1.0, 1.0))
    moved = [Mask(m.voxels, corner, (m.start[0] - 5, m.start[1] - 5, m.start[2] - 5)) for m in THREE]
    for masks in (loose, moved):
        again = staple(masks)
        assert again.sensitivity == found.sensitivity
        assert again.specificity == found.specificity
        assert again.mask.n_voxels == found.mask.n_voxels


def test_the_margin_is_in_mm() -> None:
    """On voxels of 2.5 x 1 x 1 mm the margin is two slices and five pixels, as the specificity of a nested pair shows."""
    frame = Geometry((40, 40, 40), (2.5, 1.0, 1.0))
    outer, inner = box((10, 10, 10), (16, 15, 15), frame), box((11, 10, 10), (15, 15, 15), frame)
    n = (6 + 4) * 15 * 15
    assert staple([outer, inner]).specificity[0] == pytest.approx((n - 150) / (n - 125))


def test_raters_who_share_nothing_have_no_estimate() -> None:
    """Boxes apart, and a box beside an empty mask, are no evidence of one another: the result is empty and says so."""
    for other in (box((16, 5, 5), (22, 10, 10)), EMPTY):
        apart = staple([box((10, 5, 5), (13, 10, 10)), other])
        assert (apart.failure, apart.mask.n_voxels) == ("disjoint", 0)
        assert np.isnan([*apart.sensitivity, *apart.specificity]).all()


def test_one_shared_voxel_is_enough_for_an_estimate() -> None:
    """Boxes that share a corner voxel have an estimate."""
    assert staple([box((10, 5, 5), (13, 10, 10)), box((12, 9, 9), (15, 14, 14))]).failure != "disjoint"


def test_an_empty_estimate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raters who overlap and an estimate in which no voxel is likely: the failure is named."""

    def nowhere(stack):
        return np.zeros(stack.shape[1:]), (0.5,) * len(stack), (1.0,) * len(stack), 3

    monkeypatch.setattr(consensus, "_staple_filter", nowhere)
    assert (staple(THREE).failure, staple(THREE).mask.n_voxels) == ("empty", 0)


def test_no_background_has_no_estimate() -> None:
    """Without a margin, masks that fill their box leave specificity undefined; with one they agree."""
    same = [box((10, 10, 10), (14, 14, 14))] * 2
    assert staple(same, margin_mm=0.0).failure == "undefined"
    assert staple(same, margin_mm=0.0).mask.n_voxels == 0
    assert staple(same).mask.n_voxels == 64


def test_an_estimate_beyond_what_anybody_drew_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Voxels inside that no rater drew make the result empty, with the failure named."""

    def everywhere(stack):
        return np.ones(stack.shape[1:]), (1.0,) * len(stack), (0.0,) * len(stack), 3

    monkeypatch.setattr(consensus, "_staple_filter", everywhere)
    assert (staple(THREE).failure, staple(THREE).mask.n_voxels) == ("everywhere", 0)


def test_an_estimate_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps at the limit mean that the filter had not converged."""
    monkeypatch.setattr(consensus, "STAPLE_MAX_STEPS", 3)
    assert (staple(THREE).failure, staple(THREE).mask.n_voxels) == ("no_end", 0)
