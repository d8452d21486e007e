"""Two-class segmenters on the HU of the annotated box: Otsu, k-means, Gaussian mixture, fuzzy c-means."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.segment.classical import ClassicalSegmenter
from lungpipe.segment.clusters import (
    two_classes_fcm,
    two_classes_gmm,
    two_classes_kmeans,
    two_classes_otsu,
)
from lungpipe.segment.steps import at_seed, ground_glass_threshold, has_ground_glass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.segment.classical import View


@dataclass(frozen=True, slots=True)
class ClusterSegmenter(ClassicalSegmenter):
    """The brighter of two classes of HU, learned in the box and a margin; a second, lower threshold for ground glass."""

    @abstractmethod
    def threshold_hu(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
        """HU above which a voxel belongs to the brighter class of values (m,), ascending, with their counts."""

    def inside(self, view: View) -> NDArray[np.bool_]:
        """Voxels above the threshold, or above the lower one where the nodule is of ground glass."""
        first = self._split(view.hu[view.tissue])
        solid = view.tissue & (view.hu > first)
        darker = view.hu[view.tissue & (view.hu <= first)]
        if self.steps.subsolid == "off" or not darker.size or np.ptp(darker) == 0:
            return solid
        second = ground_glass_threshold(view.hu, view.tissue, first, self._split(darker))
        wider = view.tissue & (view.hu > second)
        if self.steps.subsolid == "on":
            return wider
        core, more = solid & view.allowed, wider & view.allowed
        if not np.any(more & view.seed):
            return solid
        core = at_seed(core, view.seed, view.box) if np.any(core & view.seed) else np.zeros_like(core)
        return wider if has_ground_glass(core, at_seed(more, view.seed, view.box), view.spacing_mm) else solid

    def _split(self, hu: NDArray[np.float64]) -> float:
        values, counts = np.unique(hu, return_counts=True)
        return self.threshold_hu(values, counts) if len(values) > 1 else float(values[0])


class Otsu(ClusterSegmenter):
    """Plug-in ``otsu``."""

    __slots__ = ()
    name = "otsu"

    def threshold_hu(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
        """HU above which a voxel belongs to the brighter class of values (m,), ascending, with their counts."""
        return two_classes_otsu(values, counts)


class KMeansClusters(ClusterSegmenter):
    """Plug-in ``kmeans``."""

    __slots__ = ()
    name = "kmeans"

    def threshold_hu(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
        """HU above which a voxel belongs to the brighter class of values (m,), ascending, with their counts."""
        return two_classes_kmeans(values, counts)


class GaussianMixtureClusters(ClusterSegmenter):
    """Plug-in ``gmm``."""

    __slots__ = ()
    name = "gmm"

    def threshold_hu(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
        """HU above which a voxel belongs to the brighter class of values (m,), ascending, with their counts."""
        return two_classes_gmm(values, counts)


class FuzzyCMeans(ClusterSegmenter):
    """Plug-in ``fcm``."""

    __slots__ = ()
    name = "fcm"

    def threshold_hu(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
        """HU above which a voxel belongs to the brighter class of values (m,), ascending, with their counts."""
        return two_classes_fcm(values, counts)
