"""From an annotation to a mask: the segmenter seam."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume, Mask


@runtime_checkable
class Segmenter(Protocol):
    """A plug-in of the group ``lungpipe.segmenters``: a frozen dataclass whose fields are its parameters."""

    name: ClassVar[str]
    version: ClassVar[str]

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule.

        Parameters
        ----------
        volume : CTVolume
            The image, HU.
        nodule : Nodule
            With its centre inside the image.

        Returns
        -------
        Mask
            Not empty; a crop of the volume's grid.

        Raises
        ------
        SegmentationError
            If there is no nodule to be found.
        """
        ...
