"""The annotation's own mask: a file's, or what at least half of the raters drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lungpipe.errors import SegmentationError
from lungpipe.segment.consensus import consensus_mask

if TYPE_CHECKING:
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume, Mask


def consensus(raters: tuple[Mask, ...]) -> Mask:
    """Voxels inside at least half of the raters' masks, on their tight bounding box.

    Raises
    ------
    SegmentationError
        If there is no rater, or no voxel on which half of them agree.
    """
    if not any(mask.n_voxels for mask in raters):
        raise SegmentationError("no_annotated_mask", "the annotation holds no mask; choose another segmenter")
    agreed = consensus_mask(raters)
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
