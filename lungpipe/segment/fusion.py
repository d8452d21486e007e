"""One mask from those of several methods, and how far the methods agree."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import SegmentationError
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import joint_stack, staple
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple

#: SIMPLE leaves out methods whose overlap lies this many standard deviations below the mean.
SIMPLE_DEVIATIONS = 1.0
SIMPLE_MAX_STEPS = 20


def majority_of(masks: Sequence[Mask]) -> Mask:
    """Voxels inside more than half of the methods' masks; a tie is outside.

    Methods are not raters: two that leak alike do not make a nodule, so a tie goes the other way than in
    :func:`lungpipe.segment.consensus.consensus_mask`.
    """
    stack, start = joint_stack(masks)
    return Mask(stack.sum(axis=0) * 2 > len(masks), masks[0].frame, start)


def staple_of(masks: Sequence[Mask]) -> Mask:
    """STAPLE's estimate; empty where there is none (:class:`lungpipe.segment.consensus.Staple` says why)."""
    return staple(masks).mask


def simple_of(masks: Sequence[Mask]) -> Mask:
    """Vote weighted by each method's overlap with the result, without those that fall behind.

    SIMPLE, selective and iterative method for performance level estimation (Langerak et al. 2010,
    doi:10.1109/TMI.2010.2057442): begin with the majority; weigh every method by its Dice with the estimate; leave out
    those below the mean by more than :data:`SIMPLE_DEVIATIONS` standard deviations; vote by weight; repeat until the
    estimate stays. Two methods are never left out of two.
    """
    stack, start = joint_stack(masks)
    frame = masks[0].frame
    kept = np.ones(len(masks), dtype=np.bool_)
    estimate = np.asarray(stack.sum(axis=0) * 2 > len(masks))
    for _ in range(SIMPLE_MAX_STEPS):
        weights = np.array([_overlap(layer, estimate) for layer in stack])
        if not weights[kept].any():
            break
        limit = weights[kept].mean() - SIMPLE_DEVIATIONS * weights[kept].std()
        behind = kept & (weights < limit - 1e-12)
        if kept.sum() - behind.sum() >= 2:
            kept &= ~behind
        used = np.where(kept, weights, 0.0)
        voted = np.asarray(np.tensordot(used, stack, axes=1) > used.sum() / 2 + 1e-12)
        if np.array_equal(voted, estimate):
            break
        estimate = voted
    return Mask(estimate, frame, start)


def _overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    both = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / both if both else 0.0


#: Ways to one mask from those of several methods, by the name that a recipe gives.
CONSENSUS: Mapping[str, Callable[[Sequence[Mask]], Mask]] = {
    "majority": majority_of,
    "staple": staple_of,
    "simple": simple_of,
}


def fuse(name: str, masks: Sequence[Mask]) -> Mask:
    """Consensus of at least two methods' masks, by name, on its tight box.

    Raises
    ------
    SegmentationError
        If fewer than two methods have a mask, or they agree on no voxel.
    """
    if len(masks) < 2:
        raise SegmentationError(
            "too_few_masks", f"a consensus needs the masks of two methods or more, found {len(masks)}"
        )
    agreed = CONSENSUS[name](masks)
    if not agreed.n_voxels:
        raise SegmentationError("no_consensus", f"the {len(masks)} methods agree on no voxel; look at their masks")
    return agreed.trimmed()


def agreement_map(masks: Sequence[Mask]) -> tuple[NDArray[np.uint8], IndexTriple]:
    """How many methods' masks hold each voxel.

    Returns
    -------
    counts : ndarray of uint8, shape (z, y, x)
        On the smallest box that holds all masks.
    start : tuple of int
        Index (z, y, x) of the box in the masks' frame.
    """
    stack, start = joint_stack(masks)
    return stack.sum(axis=0, dtype=np.uint8), start


def disagreement(mask: Mask, others: Sequence[Mask]) -> float:
    """One minus the mean Dice of a mask with those of the other methods; NaN without others."""
    return 1.0 - statistics.fmean(dice(mask, other) for other in others) if others else float("nan")
