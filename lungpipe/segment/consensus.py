"""One mask from the masks of several raters or methods: majority, union, intersection, STAPLE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lungpipe.errors import GeometryError
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple

#: Share of the radiologists who must have drawn a voxel for it to count.
CONSENSUS_SHARE = 0.5
#: Background that STAPLE sees on every side of the masks, mm; rounded up to whole voxels.
STAPLE_MARGIN_MM = 5.0
#: Probability from which STAPLE's result counts as inside, less what rounding can take from a tie (see :func:`staple`).
STAPLE_INSIDE = 0.5 - 1e-6
#: STAPLE converges within some 50 steps, or some thousand where raters contradict each other; past this it is given up.
STAPLE_MAX_STEPS = 10_000

Failure = Literal["", "disjoint", "undefined", "empty", "everywhere", "no_end"]


@dataclass(frozen=True, eq=False, slots=True)
class Staple:
    """Result of STAPLE.

    Parameters
    ----------
    mask : Mask
        Voxels of probability at least 0.5; empty where ``failure`` says why there are none.
    sensitivity, specificity : tuple of float
        Estimated for each rater, in the order given. NaN where they are undefined.
    failure : {"", "disjoint", "undefined", "empty", "everywhere", "no_end"}
        Empty where the estimate is sound. Otherwise: no voxel was drawn by two raters, so that nothing tells which of
        them is right; there is no finite answer; no voxel is inside; voxels are inside that nobody drew; or it did not
        converge.
    """

    mask: Mask
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]
    failure: Failure = ""


@dataclass(frozen=True, eq=False, slots=True)
class Consensus:
    """The four consensus masks of some raters, all on one box."""

    majority: Mask
    union: Mask
    intersection: Mask
    staple: Staple


def joint_stack(masks: Sequence[Mask]) -> tuple[NDArray[np.bool_], IndexTriple]:
    """Put masks of one grid on the smallest box that holds all their crops.

    Returns
    -------
    stack : ndarray of bool, shape (n_masks, z, y, x)
    start : tuple of int
        Index (z, y, x) of the box in the masks' frame.

    Raises
    ------
    GeometryError
        If there is no mask, or two are on different grids.
    """
    if not masks:
        raise GeometryError("a consensus needs at least one mask, found none")
    frame = masks[0].frame
    for mask in masks[1:]:
        if mask.frame is not frame and mask.frame != frame:
            difference = frame.mismatch(mask.frame, 0.0) or "their origins, spacings or directions"
            raise GeometryError(f"masks to be compared must be on one grid; found that {difference} differ")
    starts = np.min([mask.start for mask in masks], axis=0).tolist()
    stops = np.max([mask.stop for mask in masks], axis=0).tolist()
    start, stop = (starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2])
    return np.stack([mask.within(start, stop).voxels for mask in masks]), start


def consensus_mask(masks: Sequence[Mask], share: float = CONSENSUS_SHARE) -> Mask:
    """Voxels inside at least a share of some masks of one grid; half of them by default, the majority.

    An even number of raters can tie, and a tie counts as inside: two of four are a majority here, and one of two is, so
    that the majority of two raters is their union. An empty mask is a rater who drew nothing; it counts among the raters.

    Parameters
    ----------
    masks : sequence of Mask
        One mask a radiologist, all on the same frame.
    share : float
        Smallest share of the masks that must hold a voxel.

    Returns
    -------
    Mask
        On the smallest box that holds all masks; empty where they do not agree anywhere.

    Raises
    ------
    GeometryError
        If there is no mask, or two are on different grids.
    """
    stack, start = joint_stack(masks)
    return Mask(stack.sum(axis=0) >= share * len(masks), masks[0].frame, start)


def union_mask(masks: Sequence[Mask]) -> Mask:
    """Voxels inside any of some masks of one grid, on the smallest box that holds all of them."""
    stack, start = joint_stack(masks)
    return Mask(np.asarray(stack.any(axis=0)), masks[0].frame, start)


def intersection_mask(masks: Sequence[Mask]) -> Mask:
    """Voxels inside all of some masks of one grid; empty if one of them is."""
    stack, start = joint_stack(masks)
    return Mask(np.asarray(stack.all(axis=0)), masks[0].frame, start)


def staple(masks: Sequence[Mask], margin_mm: float = STAPLE_MARGIN_MM) -> Staple:
    """Estimate the mask that raters meant, and how well each drew it, by expectation maximisation.

    STAPLE of Warfield, Zou and Wells (2004, doi:10.1109/TMI.2004.828354) with ITK's filter and its initial values. Its
    prior is the share of drawn voxels in the image, so **its result depends on how much background it is given**: more
    background lowers the prior and raises every specificity. Here the background is ``margin_mm`` around the tight box
    of all masks, also where the image ends, so that it does not depend on the crop, the image's size or the place in it.
    Compare only results of the same margin. The order of the raters does not matter.

    Two raters are hardly enough for it. Where one drew inside the other, a probability of exactly one half solves its
    equations for all that only one drew, whatever the background; a tie counts as inside, as in :func:`consensus_mask`,
    and the result is the union. Where both drew something of their own it tends to the intersection.

    Parameters
    ----------
    masks : sequence of Mask
        One mask a rater, all on the same frame.
    margin_mm : float
        Background on every side, mm; rounded up to whole voxels.

    Returns
    -------
    Staple
        On the smallest box that holds all masks. Of one rater it is that rater's mask with sensitivity and specificity
        1; of empty masks alone it is empty, with NaN for both. Where there is no sound answer ``failure`` says why, and
        the mask is empty: of raters who share no voxel, the filter would call the one who drew most right and the others
        blind.

    Raises
    ------
    GeometryError
        If there is no mask, or two are on different grids.
    """
    stack, start = joint_stack(masks)
    frame = masks[0].frame
    drawn = np.asarray(stack.any(axis=0))
    undefined = (float("nan"),) * len(masks)
    if not drawn.any():
        return Staple(Mask(drawn, frame, start), undefined, undefined)
    if len(masks) == 1:
        return Staple(Mask(stack[0], frame, start), (1.0,), (1.0,))
    if stack.sum(axis=0).max() < 2:
        return Staple(Mask(np.zeros_like(drawn), frame, start), undefined, undefined, "disjoint")
    low, high = (np.asarray(corner) - start for corner in Mask(drawn, frame, start).bounds)
    tight = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    margin = [(n, n) for n in np.ceil(margin_mm / np.asarray(frame.spacing_mm)).astype(int)]
    box = np.pad(stack[tight], [(0, 0), *margin])
    # Sums of floating point numbers depend on their order; a fixed one makes the result independent of the raters'.
    order = sorted(range(len(masks)), key=lambda rater: box[rater].tobytes())
    probability, sensitivity, specificity, steps = _staple_filter(box[order])
    performance = _restored(sensitivity, order), _restored(specificity, order)
    inside = probability >= STAPLE_INSIDE
    failure: Failure = ""
    if not (np.isfinite(probability).all() and np.isfinite([*sensitivity, *specificity]).all()):
        failure = "undefined"
    elif steps >= STAPLE_MAX_STEPS:
        failure = "no_end"
    elif not inside.any():
        failure = "empty"
    elif np.any(inside & ~box.any(axis=0)):
        failure = "everywhere"
    agreed = np.zeros_like(drawn)
    if not failure:
        agreed[tight[1:]] = inside[
            tuple(slice(before, n - after) for (before, after), n in zip(margin, inside.shape, strict=True))
        ]
    return Staple(Mask(agreed, frame, start), *performance, failure)


def consensus_masks(masks: Sequence[Mask]) -> Consensus:
    """Majority, union, intersection and STAPLE of some masks of one grid; of one mask all four are that mask.

    Raises
    ------
    GeometryError
        If there is no mask, or two are on different grids.
    """
    return Consensus(consensus_mask(masks), union_mask(masks), intersection_mask(masks), staple(masks))


def _staple_filter(
    stack: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], tuple[float, ...], tuple[float, ...], int]:
    """Run ITK's filter: probability (z, y, x), sensitivity and specificity of each rater, steps taken."""
    import SimpleITK as sitk

    estimate = sitk.STAPLEImageFilter()
    estimate.SetForegroundValue(1)
    estimate.SetMaximumIterations(STAPLE_MAX_STEPS)
    estimate.SetNumberOfThreads(1)
    probability = estimate.Execute([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in stack])
    return (
        np.asarray(sitk.GetArrayFromImage(probability), dtype=np.float64),
        tuple(estimate.GetSensitivity()),
        tuple(estimate.GetSpecificity()),
        int(estimate.GetElapsedIterations()),
    )


def _restored(values: Sequence[float], order: Sequence[int]) -> tuple[float, ...]:
    """Values of sorted raters, back in the order in which the raters were given."""
    restored = [0.0] * len(order)
    for rater, value in zip(order, values, strict=True):
        restored[rater] = float(value)
    return tuple(restored)
