"""Convolution along one axis, the step of which every separable filter is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from lungpipe.radiomics.ibsi2.boundary import NDIMAGE_MODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from lungpipe.radiomics.ibsi2.boundary import Boundary

Dimensions = Literal[2, 3]

#: Whether a filter works in each slice (IBSI: 2D, by slice) or in the volume.
DIMENSIONS: tuple[Dimensions, ...] = (2, 3)


def axes_of(dimensions: Dimensions) -> tuple[int, ...]:
    """Axes of an array (z, y, x) along which a filter works: y and x of each slice, or all."""
    return (1, 2) if dimensions == 2 else (0, 1, 2)


def centred(taps: ArrayLike, centre: int | None = None) -> NDArray[np.float64]:
    """A one-dimensional kernel of odd length whose middle element stands at the voxel.

    Parameters
    ----------
    taps : array_like, shape (m,)
    centre : int, optional
        Index of the element at the voxel; IBSI's ``m // 2`` by default.

    Returns
    -------
    ndarray, shape (2 k + 1,)
        The same kernel, with zeros added at the shorter side.
    """
    kernel = np.asarray(taps, dtype=np.float64)
    before = len(kernel) // 2 if centre is None else centre
    after = len(kernel) - 1 - before
    return np.pad(kernel, (max(after - before, 0), max(before - after, 0)))


def along(
    values: NDArray[np.float64], kernel: NDArray[np.float64], axis: int, boundary: Boundary
) -> NDArray[np.float64]:
    """Convolve an image with a centred kernel along one axis: ``sum_k kernel[k] values[x - k]``."""
    out: NDArray[np.float64] = ndimage.convolve1d(
        values, kernel, axis=axis, mode=NDIMAGE_MODE[boundary], output=np.float64
    )
    return out


def separable(
    values: NDArray[np.float64], kernels: Sequence[NDArray[np.float64]], boundary: Boundary
) -> NDArray[np.float64]:
    """Convolve with one kernel an axis; two kernels are those of y and x in each slice.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
    kernels : sequence of ndarray
        Two (y, x) or three (z, y, x) centred kernels.
    boundary : str
    """
    for axis, kernel in enumerate(kernels, start=values.ndim - len(kernels)):
        values = along(values, kernel, axis, boundary)
    return values


def half(kernel: NDArray[np.float64]) -> int:
    """Voxels that a centred kernel reaches to either side."""
    return len(kernel) // 2
