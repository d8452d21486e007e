"""Wrong labels as annotators make them: errors that stick together, near the nodule, as many as asked.

A Gaussian field whose neighbours correlate is cut at the quantile that gives the wanted share of errors. Its covariance is
that of Kac, Murdock and Szegö along each axis, ``correlation**|i - j|``, and their product over the axes; see
:mod:`lungpipe.deep.kms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import signal, special

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple

#: Errors lie within the mask's box and this many voxels beyond it.
MARGIN_VOXELS = 2


def correlated_field(shape: IndexTriple, correlation: Triple, rng: np.random.Generator) -> NDArray[np.float64]:
    """A Gaussian field of mean 0 and variance 1, drawn as a first-order autoregression along one axis after the other.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    correlation : tuple of float
        Between neighbours along (z, y, x), from 0 to below 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (z, y, x)

    Raises
    ------
    DatasetError
        If a correlation lies outside.
    """
    if not all(0 <= one < 1 for one in correlation):
        raise DatasetError(f"label errors correlate from 0 to below 1 along (z, y, x), found {correlation}")
    field = rng.standard_normal(shape)
    for axis, one in enumerate(correlation):
        # x[0] = w[0], x[k] = one x[k - 1] + sqrt(1 - one**2) w[k]: every x has variance 1
        driven = np.sqrt(1 - one**2) * field
        np.moveaxis(driven, axis, 0)[0] = np.moveaxis(field, axis, 0)[0]
        field = signal.lfilter([1.0], [1.0, -one], driven, axis=axis)
    return np.asarray(field)


def neighbourhood(mask: NDArray[np.bool_], margin_voxels: int = MARGIN_VOXELS) -> tuple[slice, slice, slice]:
    """The mask's box and so many voxels beyond it, as far as the array goes.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
    margin_voxels : int

    Raises
    ------
    DatasetError
        If the mask holds no voxel.
    """
    held = np.argwhere(mask)
    if not len(held):
        raise DatasetError("label errors are drawn near a nodule, found a mask without a voxel")
    low, high = held.min(axis=0) - margin_voxels, held.max(axis=0) + 1 + margin_voxels
    z, y, x = (slice(max(int(a), 0), min(int(b), size)) for a, b, size in zip(low, high, mask.shape, strict=True))
    return z, y, x


def simulate_label_errors(
    mask: NDArray[np.bool_],
    rate: float,
    correlation: Triple,
    rng: np.random.Generator,
    margin_voxels: int = MARGIN_VOXELS,
) -> NDArray[np.bool_]:
    """Turn voxels of a mask over, in patches, until a share of those near the nodule is wrong.

    The quantile is the normal distribution's, not the drawn field's: ``rate`` is the expected share, and one mask has more
    or fewer errors, the more so the longer they correlate.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        Right labels.
    rate : float
        Expected share of wrong labels among the voxels of :func:`neighbourhood`, from 0 to 0.5; there are none elsewhere.
    correlation : tuple of float
        Of the Gaussian field between neighbours along (z, y, x), from 0 to below 1. That of the errors is lower: for a rate
        of 0.5 it is ``2 / pi * arcsin(correlation)``.
    rng : numpy.random.Generator
    margin_voxels : int

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    DatasetError
        If a number lies outside, or the mask holds no voxel.
    """
    if not 0 <= rate <= 0.5:
        raise DatasetError(f"the rate of label errors lies between 0 and 0.5, found {rate:g}")
    near = neighbourhood(mask, margin_voxels)
    found = mask.copy()
    shape = found[near].shape
    field = correlated_field((shape[0], shape[1], shape[2]), correlation, rng)
    found[near] ^= field > -special.ndtri(rate)
    return found
