"""Random textures with a length of correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple

#: Coarse voxels in one length of correlation: enough for linear interpolation between them.
VOXELS_PER_LENGTH = 1.5


def smooth_field(
    rng: np.random.Generator, shape: IndexTriple, spacing_mm: Triple, length_mm: float
) -> NDArray[np.float32]:
    """Gaussian random field of about unit variance.

    Made on a grid as coarse as its correlation allows, then interpolated.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the field.
    shape, spacing_mm : tuple
        Voxels and their spacing (z, y, x), mm.
    length_mm : float
        Standard deviation of the Gaussian that white noise is smoothed with, mm.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    spacing = np.asarray(spacing_mm)
    step = np.maximum(length_mm / VOXELS_PER_LENGTH, spacing)
    coarse_shape = np.ceil(np.asarray(shape) * spacing / step).astype(int) + 2
    coarse = rng.standard_normal(tuple(coarse_shape.tolist()), dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, (length_mm / step).tolist(), mode="wrap", truncate=3)
    coarse = (coarse - coarse.mean()) / coarse.std()
    for axis in range(3):
        coarse = _stretch(coarse, axis, shape[axis], float(spacing[axis] / step[axis]))
    return coarse


def _stretch(values: NDArray[np.float32], axis: int, count: int, scale: float) -> NDArray[np.float32]:
    """Interpolate linearly along one axis at ``count`` places, ``scale`` old voxels apart."""
    place = np.arange(count) * scale
    left = np.floor(place).astype(int)
    weight = np.expand_dims((place - left).astype(np.float32), tuple(a for a in range(3) if a != axis))
    low = values.take(left, axis=axis)
    return np.asarray(low + weight * (values.take(left + 1, axis=axis) - low), dtype=np.float32)


def scanner_noise(
    rng: np.random.Generator, shape: IndexTriple, pixel_mm: float, grain_mm: float
) -> NDArray[np.float32]:
    """Noise of unit variance, correlated in the slice and independent between slices.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the noise.
    shape : tuple of int
        Voxels (z, y, x).
    pixel_mm, grain_mm : float
        Pixel spacing, and standard deviation of the Gaussian that gives the noise its grain, mm.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(white, (0, grain_mm / pixel_mm, grain_mm / pixel_mm), mode="wrap", truncate=3)
    return np.asarray(grain / grain.std(), dtype=np.float32)
