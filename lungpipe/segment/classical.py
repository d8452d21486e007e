"""What every classical segmenter does round its method: prompts, HU, the part at the seed, clean edges, clicks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.errors import SegmentationError
from lungpipe.segment import steps as common
from lungpipe.segment.correct import corrected
from lungpipe.segment.orient import canonical_turn
from lungpipe.segment.prompt import prompt_for, with_extent
from lungpipe.segment.roi import nodule_box
from lungpipe.segment.steps import Steps
from lungpipe.volume import PADDING_HU, CTVolume, Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.nodule import Nodule
    from lungpipe.segment.orient import Turn

#: Margin round the box, mm, of a mask that is clipped to neither box nor lung.
FREE_MARGIN_MM = 25.0
#: What is seen beyond the voxels that a mask may fill, mm: enough to tell that a component leaves them.
BEYOND_MM = 3.0


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A nodule as a method sees it: arrays of one shape, in the orientation that follows from their content.

    Parameters
    ----------
    hu : ndarray of float64
        Clipped to the window.
    tissue : ndarray of bool
        False for scanner padding.
    spacing_mm : tuple of float
        Along the axes of the arrays.
    seed, box, clicked, outside : ndarray of bool
        See :class:`lungpipe.segment.prompt.Prompt`; ``clicked`` is its ``inside``.
    allowed : ndarray of bool
        Voxels that the mask may fill.
    """

    hu: NDArray[np.float64]
    tissue: NDArray[np.bool_]
    spacing_mm: Triple
    seed: NDArray[np.bool_]
    box: NDArray[np.bool_]
    clicked: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    allowed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ClassicalSegmenter(ABC):
    """A method between the steps that all share.

    Parameters
    ----------
    learn_margin_mm : float
        Margin round the box of what the method sees.
    keep_margin_mm : float
        Margin round the box that the mask may fill.
    steps : Steps
        What is done before and after the method.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "3"

    learn_margin_mm: float = 5.0
    keep_margin_mm: float = 2.0
    steps: Steps = field(default_factory=Steps)

    @abstractmethod
    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels that the method takes for nodule, of the view's shape."""

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule from its box, point or clicks; see :class:`lungpipe.segment.Segmenter`."""
        nodule = with_extent(volume, nodule)
        free = self.steps.clip == "none"
        prompt = prompt_for(
            volume, nodule, FREE_MARGIN_MM if free else max(self.learn_margin_mm, self.keep_margin_mm + BEYOND_MM)
        )
        crop = prompt.crop
        allowed = np.ones(crop.shape, dtype=np.bool_)
        if not free:
            low, high = box_around(volume.frame, *nodule_box(volume.frame, nodule), self.keep_margin_mm)
            kept = Mask(np.ones(np.subtract(high, low), dtype=np.bool_), volume.frame, low)
            allowed = kept.within(crop.start, crop.stop).voxels | prompt.seed
        tissue = _tissue(crop)
        turn = canonical_turn(crop.hu, crop.frame.spacing_mm, prompt.seed)
        view = View(
            turn(np.clip(crop.hu.astype(np.float64), *self.steps.window_hu)),
            turn(tissue),
            turn.lengths(crop.frame.spacing_mm),
            turn(prompt.seed),
            turn(prompt.box),
            turn(prompt.inside),
            turn(prompt.outside),
            turn(allowed & tissue),
        )
        _refuse_constant(view)
        component = common.at_seed(self.inside(view) & view.tissue & ~view.outside, view.seed, view.box)
        component = self._parted(component, view, volume, nodule, crop, turn)
        component = self._cleaned(component, view)
        inside = corrected(component, view.hu, view.tissue, view.seed, view.clicked, view.outside, view.spacing_mm)
        if not inside.any():
            raise SegmentationError("empty_mask", "no voxel is left inside; check the clicks, or annotate a mask")
        return Mask(turn.back(inside), crop.frame, crop.start).trimmed()

    def _parted(
        self,
        component: NDArray[np.bool_],
        view: View,
        volume: CTVolume,
        nodule: Nodule,
        crop: CTVolume,
        turn: Turn,
    ) -> NDArray[np.bool_]:
        """The component parted from wall and vessels, if it leaves the box, and clipped."""
        whole = component
        lung_clip = self.steps.clip == "lung"
        if lung_clip or (self.steps.wall and np.any(component & ~view.allowed)):
            lung = turn(_closed_lung(volume, nodule, crop))
            component = common.without_wall(component, lung, view.seed)
        if self.steps.vessels:
            component = common.without_vessels(component, whole, view.allowed, view.seed, view.spacing_mm)
        return _still_at_seed(component & view.allowed, component & ~view.allowed, view)

    def _cleaned(self, component: NDArray[np.bool_], view: View) -> NDArray[np.bool_]:
        """Opening, holes, and the component at the seed."""
        whole = common.opened(component, self.steps.opening_mm, view.spacing_mm)
        lost = component & ~whole
        if self.steps.holes:
            holed = common.filled(whole)
            whole = holed & view.tissue & ~view.outside
            lost |= holed & ~whole
        return _still_at_seed(whole, lost, view)


def _still_at_seed(inside: NDArray[np.bool_], lost: NDArray[np.bool_], view: View) -> NDArray[np.bool_]:
    """The part at the seed of what a step left, if there is one; where nothing was lost, nothing was parted."""
    if not np.any(inside & view.seed) or not lost.any():
        return inside
    return common.at_seed(inside, view.seed)


def _tissue(crop: CTVolume) -> NDArray[np.bool_]:
    tissue = np.asarray(crop.hu > PADDING_HU)
    if not tissue.any():
        raise SegmentationError("only_padding", "the annotation lies in scanner padding; check its frame and series")
    return tissue


def _refuse_constant(view: View) -> None:
    values = view.hu[view.tissue]
    if np.ptp(values) == 0:
        raise SegmentationError(
            "constant_region", f"every voxel of the box has {values[0]:g} HU, so there is nothing to segment"
        )


def _closed_lung(volume: CTVolume, nodule: Nodule, crop: CTVolume) -> NDArray[np.bool_]:
    """Closed lung on the crop, made on a wider one so that its edge does not matter; all True where there is none."""
    low_mm, high_mm = common.CLOSING_MM
    radius_mm = min(max(common.CLOSING_SHARE * max(nodule.size_mm or (0.0,)), low_mm), high_mm)
    wide = volume.overlap(*box_around(volume.frame, crop.start, crop.stop, 1.5 * radius_mm))
    tissue = np.asarray(wide.hu > PADDING_HU)
    lung = common.closed_lung(wide.hu.astype(np.float64), tissue, wide.frame.spacing_mm, radius_mm)
    if lung is None:
        return np.ones(crop.shape, dtype=np.bool_)
    return Mask(lung, wide.frame, wide.start).within(crop.start, crop.stop).voxels
