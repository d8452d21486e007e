"""Segmenters that follow a region or a boundary: region growing, random walker, active contour, snakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lungpipe.segment.classical import ClassicalSegmenter
from lungpipe.segment.contour import saliency_contour
from lungpipe.segment.grow import confidence_connected, connected_threshold
from lungpipe.segment.snakes import morphological_snake
from lungpipe.segment.walker import random_walker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lungpipe.segment.classical import View


@dataclass(frozen=True, slots=True)
class BoundarySegmenter(ClassicalSegmenter):
    """One that compares the nodule with what surrounds its box, and so sees more of it."""

    learn_margin_mm: float = 8.0


@dataclass(frozen=True, slots=True)
class ConnectedThreshold(BoundarySegmenter):
    """Plug-in ``connected_threshold``; see :func:`lungpipe.segment.grow.connected_threshold`.

    Parameters
    ----------
    level : float
        Share of the contrast between surroundings and seed above which a voxel may be inside.
    """

    name = "connected_threshold"
    level: float = 0.5

    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels connected with the seed above the level."""
        return connected_threshold(view, level=self.level)


@dataclass(frozen=True, slots=True)
class ConfidenceConnected(BoundarySegmenter):
    """Plug-in ``confidence_connected``; see :func:`lungpipe.segment.grow.confidence_connected`.

    Parameters
    ----------
    multiplier : float
        Standard deviations below the region's mean that a voxel may lie.
    """

    name = "confidence_connected"
    multiplier: float = 3.0

    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels that growth from the seed reaches."""
        return confidence_connected(view, multiplier=self.multiplier)


@dataclass(frozen=True, slots=True)
class RandomWalker(BoundarySegmenter):
    """Plug-in ``random_walker``; see :func:`lungpipe.segment.walker.random_walker`.

    Parameters
    ----------
    beta : float
        How much a step of HU keeps a walk from crossing it.
    """

    name = "random_walker"
    beta: float = 50.0

    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels from which a walk meets the seed first."""
        return random_walker(view, beta=self.beta)


@dataclass(frozen=True, slots=True)
class SaliencyContour(BoundarySegmenter):
    """Plug-in ``saliency_contour``; see :func:`lungpipe.segment.contour.saliency_contour`.

    Parameters
    ----------
    saliency_weight : float
        Of the saliency's fitting, from 0 to 1; the image's has the rest.
    """

    name = "saliency_contour"
    saliency_weight: float = 0.3

    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels within the contour at rest."""
        return saliency_contour(view, saliency_weight=self.saliency_weight)


@dataclass(frozen=True, slots=True)
class MorphologicalSnake(BoundarySegmenter):
    """Plug-in ``morphological_snake``; see :func:`lungpipe.segment.snakes.morphological_snake`.

    Parameters
    ----------
    smoothing : int
        Smoothing operators a step.
    """

    name = "morphological_snake"
    smoothing: int = 1

    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels within the snake at rest."""
        return morphological_snake(view, smoothing=self.smoothing)
