"""One mask from the masks of several raters or methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Share of the radiologists who must have drawn a voxel for it to count.
CONSENSUS_SHARE = 0.5


def consensus_mask(masks: Sequence[Mask], share: float = CONSENSUS_SHARE) -> Mask:
    """Voxels inside at least a share of some masks of one grid.

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
    """
    starts = np.min([mask.start for mask in masks], axis=0).tolist()
    stops = np.max([mask.stop for mask in masks], axis=0).tolist()
    start, stop = (starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2])
    votes = np.sum([mask.within(start, stop).voxels for mask in masks], axis=0)
    return Mask(votes >= share * len(masks), masks[0].frame, start)
