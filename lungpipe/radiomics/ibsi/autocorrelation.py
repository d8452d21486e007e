"""Spatial autocorrelation of a region's intensities: Moran's I index (N365) and Geary's C measure (NPT7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple


def spatial_autocorrelation(
    values: NDArray[np.float64], inside: NDArray[np.bool_], spacing_mm: Triple
) -> tuple[float, float]:
    """Compute Moran's I and Geary's C of all pairs of voxels, weighted by inverse distance (manual, section 3.1).

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        Intensities.
    inside : ndarray of bool, shape (z, y, x)
        The intensity mask; not empty.
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.

    Returns
    -------
    tuple of float
        I and C; NaN where all intensities are equal, a single voxel included.

    Notes
    -----
    The weight of a pair depends on the step between its voxels only. So the sum over pairs is a convolution with the
    weights, and the Fourier transform of a padded array gives it exactly, up to rounding, for n log n instead of n squared
    operations. With ``w`` the weights, ``z`` the centred intensities and ``W`` the sum of a voxel's weights,
    ``sum w (z1 - z2)^2 = 2 (sum W z^2 - sum w z1 z2)``.
    """
    samples = values[inside]
    n = len(samples)
    if samples.min() == samples.max():
        return float("nan"), float("nan")
    centred = samples - samples.mean()
    scaled = np.zeros(values.shape)
    scaled[inside] = centred / np.sqrt(np.mean(centred**2))
    shape = [2 * size - 1 for size in values.shape]
    padded = [fft.next_fast_len(size, real=True) for size in shape]
    weights = fft.rfftn(_inverse_distances(values.shape, padded, spacing_mm))

    def weighed(array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted sums over all other voxels, at each voxel inside."""
        spread = fft.irfftn(fft.rfftn(array, padded) * weights, padded)
        window = tuple(slice(0, size) for size in values.shape)
        return np.asarray(spread[window][inside], dtype=np.float64)

    z = scaled[inside]
    per_voxel = weighed(inside.astype(np.float64))
    products = float(np.sum(z * weighed(scaled)))
    squares = float(np.sum(z**2 * per_voxel))
    total = float(np.sum(per_voxel))
    variation = float(np.sum(z**2))
    return n / total * products / variation, (n - 1) / total * (squares - products) / variation


def _inverse_distances(shape: tuple[int, ...], padded: list[int], spacing_mm: Triple) -> NDArray[np.float64]:
    """One by the distance (mm) of every step that fits the shape, negative steps from the far end; 0 for no step."""
    axes = []
    for size, length, side in zip(shape, padded, spacing_mm, strict=True):
        step = np.full(length, np.inf)
        step[:size] = np.arange(size)
        if size > 1:
            step[-(size - 1) :] = np.arange(size - 1, 0, -1)
        axes.append((step * side) ** 2)
    squared = axes[0][:, None, None] + axes[1][None, :, None] + axes[2]
    with np.errstate(divide="ignore"):
        weights = 1 / np.sqrt(squared)
    weights[0, 0, 0] = 0
    return np.asarray(weights, dtype=np.float64)
