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
        return _on_grid_of(volume, consensus(nodule.raters))


def _on_grid_of(volume: CTVolume, mask: Mask) -> Mask:
    mismatch = mask.frame.mismatch(volume.frame)
    if mismatch:
        raise SegmentationError("mask_grid_differs", f"the annotated mask is not on the volume's grid: {mismatch}")
    return mask


@dataclass(frozen=True, slots=True)
class Rater1:
    """Plug-in ``rater-1``: what the first of a nodule's raters drew, to compare raters as segmenters are compared."""

    name: ClassVar[str] = "rater-1"
    version: ClassVar[str] = "1"
    number: ClassVar[int] = 1

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Take one rater's mask; see :class:`lungpipe.segment.Segmenter`."""
        if len(nodule.raters) < self.number:
            raise SegmentationError(
                "no_such_rater", f"the nodule was outlined by {len(nodule.raters)} raters, so there is no {self.name}"
            )
        return _on_grid_of(volume, consensus((nodule.raters[self.number - 1],)))


class Rater2(Rater1):
    """Plug-in ``rater-2``: the second rater."""

    name: ClassVar[str] = "rater-2"
    number: ClassVar[int] = 2


class Rater3(Rater1):
    """Plug-in ``rater-3``: the third rater."""

    name: ClassVar[str] = "rater-3"
    number: ClassVar[int] = 3


class Rater4(Rater1):
    """Plug-in ``rater-4``: the fourth rater."""

    name: ClassVar[str] = "rater-4"
    number: ClassVar[int] = 4
