"""The published peritumoral tool's segmentation, faults included, for comparison with published figures.

Facts from the tool that accompanies arXiv 2411.16008: a box in whole voxels with a margin of five, two classes on
raw HU, the brighter one, closing with 3x3x3 voxels against a border of background, then opening. Use the default
segmenters for new work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from lungpipe.errors import AnnotationError, SegmentationError
from lungpipe.segment.roi import nodule_box
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.nodule import Nodule

MARGIN_VOXELS = 5


def pins_box(volume: CTVolume, nodule: Nodule) -> CTVolume:
    """The tool's region of interest: ``[c - n // 2 - 5, c + n // 2 + 5)`` on each axis, clipped to the image.

    Raises
    ------
    AnnotationError
        If the centre lies outside the image (the tool itself wraps round silently) or no size is given.
    """
    nodule_box(volume.frame, nodule)  # refuses a centre outside the image
    found = {"found_extent", "no_extent"}.intersection(nodule.codes)
    if nodule.size_mm is None or nodule.centre_mm is None or found:
        raise AnnotationError("no_size", "the pins preset needs a box: width, height and depth in mm, or a diameter")
    # ITK rounds a continuous index half up when it asks which voxel a point is in.
    centre = np.floor(volume.frame.to_index(nodule.centre_mm) + 0.5).astype(int)
    half = np.array([int(mm / s) // 2 for mm, s in zip(nodule.size_mm[::-1], volume.frame.spacing_mm, strict=True)])
    low = np.maximum(centre - half - MARGIN_VOXELS, volume.start)
    high = np.minimum(centre + half + MARGIN_VOXELS, volume.stop)
    return volume.crop((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def at_or_above_otsu(hu: NDArray[np.float64]) -> NDArray[np.bool_]:
    """HU samples (n,) at or above Otsu's threshold."""
    return np.asarray(hu >= threshold_otsu(hu))


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
class PinsSegmenter(ABC):
    """Two classes on raw HU in the tool's box, closing, opening."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    opening_voxels: ClassVar[int] = 3

    @abstractmethod
    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule; see :class:`lungpipe.segment.Segmenter`."""
        crop = pins_box(volume, nodule)
        hu = crop.hu.astype(np.float64)
        if np.ptp(hu) == 0:
            raise SegmentationError(
                "constant_region", f"every voxel of the box has {hu.flat[0]:g} HU, so there is nothing to segment"
            )
        bright = self.bright(hu.ravel()).reshape(crop.shape)
        closed = ndimage.binary_closing(bright, np.ones((3, 3, 3), dtype=np.bool_))
        opened = ndimage.binary_opening(closed, np.ones((self.opening_voxels,) * 3, dtype=np.bool_))
        mask = Mask(np.asarray(opened), crop.frame, crop.start)
        if not mask.n_voxels:
            raise SegmentationError("empty_mask", "the opening left no voxel; the nodule is thinner than the opening")
        return mask.trimmed()


class PinsOtsu(PinsSegmenter):
    """Plug-in ``pins-otsu``."""

    __slots__ = ()
    name = "pins-otsu"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return at_or_above_otsu(hu)


class PinsKMeans(PinsSegmenter):
    """Plug-in ``pins-kmeans`` (the tool calls it KNN)."""

    __slots__ = ()
    name = "pins-kmeans"
    opening_voxels = 2

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return kmeans(hu)


class PinsGMM(PinsSegmenter):
    """Plug-in ``pins-gmm``."""

    __slots__ = ()
    name = "pins-gmm"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return gmm(hu)


class PinsFCM(PinsSegmenter):
    """Plug-in ``pins-fcm``; seeded, which the tool is not."""

    __slots__ = ()
    name = "pins-fcm"

    def bright(self, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which HU samples (n,) belong to the brighter class."""
        return fcm(hu)
