"""Models that live outside: what runs once a scan and marks its voxels with labels, asked nodule by nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lungpipe.nodule import Nodule
    from lungpipe.segment.outside.labels import LabelMap
    from lungpipe.volume import CTVolume, Mask


@runtime_checkable
class ScanSegmenter(Protocol):
    """A :class:`lungpipe.segment.Segmenter` that works on a whole scan.

    Calling it is ``pick(prepare(volume), volume, nodule)``, with the label map kept for as long as the volume lives:
    the nodules of a scan share one run.

    Fields whose metadata say ``recorded=False`` belong to a machine (paths) and not to what was computed.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    def prepare(self, volume: CTVolume) -> LabelMap:
        """Run the model on a scan.

        Raises
        ------
        SegmentationError
            If it fails on this scan, or what it returns does not fit it.
        PluginError
            If it is not there, or is not what it was when the run was planned.
        """
        ...

    def pick(self, labels: LabelMap, volume: CTVolume, nodule: Nodule) -> Mask:
        """The part of a label map that is one nodule.

        Raises
        ------
        SegmentationError
            ``nothing_at_seed`` if nothing that was marked touches the nodule's seed or box.
        """
        ...

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule; see :class:`lungpipe.segment.Segmenter`."""
        ...
