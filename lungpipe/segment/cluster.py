"""Two-class segmenters on the HU of the annotated box: Otsu, k-means, Gaussian mixture, fuzzy c-means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from lungpipe.segment.roi import component_at_seed, crop_for, nodule_box, tissue_samples
from lungpipe.volume import CTVolume, Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.nodule import Nodule


def otsu(hu: NDArray[np.float64], seed: int = 0) -> NDArray[np.bool_]:
    """Brighter class of HU samples (n,) at the threshold of Otsu (1979), 256 bins; ``seed`` has no effect."""
    return np.asarray(hu > threshold_otsu(hu))


def kmeans(hu: NDArray[np.float64], seed: int = 0) -> NDArray[np.bool_]:
    """Brighter of two k-means clusters of HU samples (n,); ten seeded starts."""
    labels = KMeans(2, n_init=10, random_state=seed).fit_predict(hu[:, None])
    return brighter(labels, hu)


def gmm(hu: NDArray[np.float64], seed: int = 0) -> NDArray[np.bool_]:
    """Brighter component of a two-component Gaussian mixture of HU samples (n,)."""
    labels = GaussianMixture(2, random_state=seed).fit_predict(hu[:, None])
    return brighter(labels, hu)


def fcm(
    hu: NDArray[np.float64], seed: int = 0, *, fuzzifier: float = 2.0, tolerance: float = 0.005, iterations: int = 1000
) -> NDArray[np.bool_]:
    """Brighter of two fuzzy c-means clusters of HU samples (n,).

    Bezdek, *Pattern Recognition with Fuzzy Objective Function Algorithms* (1981): memberships
    ``u_ik = 1 / sum_j (d_ik / d_jk)^(2 / (m - 1))``, centres the ``u^m``-weighted means.

    Parameters
    ----------
    hu : ndarray, shape (n,)
    seed : int
        Of the random first memberships.
    fuzzifier : float
        The exponent m.
    tolerance : float
        Stop when the memberships' change has a Frobenius norm below this.
    iterations : int
        Stop after this many.
    """
    u = np.random.default_rng(seed).random((2, hu.size))
    u /= u.sum(axis=0)
    for _ in range(iterations):
        weight = u**fuzzifier
        centres = (weight @ hu) / weight.sum(axis=1)
        distance = np.maximum(np.abs(hu[None, :] - centres[:, None]), np.finfo(np.float64).eps)
        inverse = distance ** (-2.0 / (fuzzifier - 1.0))
        previous, u = u, inverse / inverse.sum(axis=0)
        if np.linalg.norm(u - previous) < tolerance:
            break
    return brighter(u.argmax(axis=0), hu)


def brighter(labels: NDArray[np.integer], hu: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which samples belong to the cluster of the higher mean HU; all of them where one cluster is empty."""
    if labels.min() == labels.max():
        return np.ones(labels.shape, dtype=np.bool_)
    return np.asarray(labels == int(hu[labels == 1].mean() > hu[labels == 0].mean()))


@dataclass(frozen=True, slots=True)
class ClusterSegmenter(ABC):
    """The brighter of two classes, then the component at the seed with its holes filled.

    The classes are learned in the annotated box plus a margin, HU clipped and padding left out; the result keeps
    to the box plus a smaller margin, so that it cannot run along the chest wall.

    Parameters
    ----------
    learn_margin_mm : float
        Margin round the box within which the classes are learned.
    keep_margin_mm : float
        Margin round the box that the mask may fill.
    seed : int
        Of the clustering.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"

    learn_margin_mm: float = 5.0
    keep_margin_mm: float = 2.0
    seed: int = 0

    @abstractmethod
    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule; see :class:`lungpipe.segment.Segmenter`."""
        crop = crop_for(volume, nodule, self.learn_margin_mm)
        hu, tissue = tissue_samples(crop)
        bright = np.zeros(crop.shape, dtype=np.bool_)
        bright[tissue] = self.bright(hu[tissue])
        box = box_around(volume.frame, *nodule_box(volume.frame, nodule), self.keep_margin_mm)
        kept = Mask(bright, crop.frame, crop.start).within(*box)
        return component_at_seed(kept.voxels, volume.crop(*box), nodule)


class Otsu(ClusterSegmenter):
    """Plug-in ``otsu``."""

    __slots__ = ()
    name = "otsu"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return otsu(hu, self.seed)


class KMeansClusters(ClusterSegmenter):
    """Plug-in ``kmeans``."""

    __slots__ = ()
    name = "kmeans"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return kmeans(hu, self.seed)


class GaussianMixtureClusters(ClusterSegmenter):
    """Plug-in ``gmm``."""

    __slots__ = ()
    name = "gmm"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return gmm(hu, self.seed)


class FuzzyCMeans(ClusterSegmenter):
    """Plug-in ``fcm``."""

    __slots__ = ()
    name = "fcm"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return fcm(hu, self.seed)
