"""Resolution: a blur, another reconstruction kernel, thicker slices.

All are linear, and their gain at frequency zero is one: what is homogeneous stays as it is, up to its edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Reach of the sharp kernel's edge enhancement, mm: it acts on what a soft kernel (half its contrast at about 0.3 per mm) lost.
ENHANCED_MM = 0.6
#: Standard deviations at which Gaussians end.
REACH = 5.0


def blurred(
    hu: NDArray[np.float32], spacing_mm: Triple, sigma_mm: float, _rng: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """Blur by a Gaussian of one standard deviation, mm, along all axes.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    sigma_mm : float

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    return _gaussian(hu, (sigma_mm / spacing_mm[0], sigma_mm / spacing_mm[1], sigma_mm / spacing_mm[2]))


def softer_kernel(
    hu: NDArray[np.float32], spacing_mm: Triple, sigma_mm: float, _rng: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """Filter within the slice by a gain of exp(-2 (pi f sigma)^2), f per mm: a Gaussian blur that slices do not share.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    sigma_mm : float

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    return _gaussian(hu, (0.0, sigma_mm / spacing_mm[1], sigma_mm / spacing_mm[2]))


def sharper_kernel(
    hu: NDArray[np.float32], spacing_mm: Triple, boost: float, _rng: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """Filter within the slice by a gain of 1 + boost (1 - exp(-2 (pi f s)^2)), f per mm and s :data:`ENHANCED_MM`.

    Edges overshoot and noise grows, as under a lung or bone kernel.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    boost : float
        Gain of the finest detail, less one.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    return np.asarray(hu + np.float32(boost) * (hu - softer_kernel(hu, spacing_mm, ENHANCED_MM)), dtype=np.float32)


def thicker_slices(
    hu: NDArray[np.float32], spacing_mm: Triple, thickness_mm: float, _rng: np.random.Generator | None = None
) -> NDArray[np.float32]:
    """Average to slices of a thickness, one beside the other from the first on, and interpolate linearly back to the grid.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x); a slice is taken to be as thick as its distance from the next.
    thickness_mm : float
        At or below the image's own, nothing changes.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    ratio = thickness_mm / spacing_mm[0]
    if ratio <= 1:
        return hu.copy()
    n = len(hu)
    edges = np.append(np.arange(0.0, n, ratio), n)  # the last slice ends with the image
    edges = edges[np.append(np.diff(edges) > 1e-9, True)]
    own = np.arange(n)
    shared = np.minimum(edges[1:, None], own + 1) - np.maximum(edges[:-1, None], own)
    weights = np.clip(shared, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    thick = np.tensordot(weights, hu.astype(np.float64), axes=1)
    centres = (edges[:-1] + edges[1:]) / 2 - 0.5
    place = np.interp(own, centres, np.arange(len(centres)))
    low = np.minimum(place.astype(int), max(len(centres) - 2, 0))
    high = np.minimum(low + 1, len(centres) - 1)
    part = (place - low)[:, None, None]
    return np.asarray((1 - part) * thick[low] + part * thick[high], dtype=np.float32)


def _gaussian(hu: NDArray[np.float32], sigma: Triple) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(hu.astype(np.float32), sigma, mode="nearest", truncate=REACH))
