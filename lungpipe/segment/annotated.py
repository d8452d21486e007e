"""The annotation's own mask: a file's, or what at least half of the raters drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.errors import SegmentationError
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from lungpipe.nodule import Nodule


def consensus(raters: tuple[Mask, ...]) -> Mask:
    """Voxels inside at least half of the raters' masks, on their common bounding box.

    Raises
    ------
    SegmentationError
        If there is no rater, or no voxel on which half of them agree.
    """
    drawn = [mask for mask in raters if mask.n_voxels]
    if not drawn:
        raise SegmentationError("no_annotated_mask", "the annotation holds no mask; choose another segmenter")
    bounds = np.asarray([mask.bounds for mask in drawn])
    z0, y0, x0 = bounds[:, 0].min(axis=0).tolist()
    z1, y1, x1 = bounds[:, 1].max(axis=0).tolist()
    votes = sum(mask.within((z0, y0, x0), (z1, y1, x1)).voxels.astype(np.int32) for mask in drawn)
    agreed = Mask(np.asarray(2 * votes >= len(raters)), drawn[0].frame, (z0, y0, x0))
    if not agreed.n_voxels:
        raise SegmentationError("no_consensus", f"no voxel lies inside half of the {len(raters)} raters' outlines")
    return agreed.trimmed()


@dataclass(frozen=True, slots=True)
class Annotated:
    """Plug-in ``annotated``: consensus of the annotated masks."""

    name: ClassVar[str] = "annotated"
    version: ClassVar[str] = "1"

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Take the mask from the annotation; see :class:`lungpipe.segment.Segmenter`."""
        mask = consensus(nodule.raters)
        mismatch = mask.frame.mismatch(volume.frame)
        if mismatch:
            raise SegmentationError("mask_grid_differs", f"the annotated mask is not on the volume's grid: {mismatch}")
        return mask
