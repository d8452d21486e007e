"""Tubes and sheets by the eigenvalues of the Hessian matrix, in HU and mm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Frangi's alpha and beta: how soon a plate, a blob, is no tube.
PLATE, BLOB = 0.5, 0.5
#: Frangi's c: curvature (HU, normalised by the scale) at which a structure stands out of the noise.
CONTRAST_HU = 80.0
#: Gaussians end after so many standard deviations.
_TRUNCATE = 3.0


def curvatures(
    hu: NDArray[np.float32], scale_mm: float, step_mm: float, where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Eigenvalues of the Hessian matrix of smoothed HU, times the scale's square (Lindeberg 1998, gamma 2).

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
        On cubes.
    scale_mm : float
        Standard deviation of the Gaussian.
    step_mm : float
        Side of the cubes.
    where : ndarray of bool, shape (z, y, x)
        Voxels that are asked for.

    Returns
    -------
    ndarray, shape (n, 3)
        HU, by growing magnitude.
    """
    smooth = np.pad(ndimage.gaussian_filter(hu, scale_mm / step_mm, mode="nearest", truncate=_TRUNCATE), 1, mode="edge")
    # Differences only where they are asked for: a few per cent of a lung is brighter than lung.
    at = np.flatnonzero(np.pad(where, 1))
    flat = smooth.ravel()
    strides = (smooth.shape[1] * smooth.shape[2], smooth.shape[2], 1)
    centre = flat[at].astype(np.float64)
    hessian = np.empty((len(at), 3, 3))
    for a, one in enumerate(strides):
        hessian[:, a, a] = flat[at + one] + flat[at - one] - 2 * centre
        for b in range(a + 1, 3):
            two = strides[b]
            mixed = flat[at + one + two] - flat[at + one - two] - flat[at - one + two] + flat[at - one - two]
            hessian[:, a, b] = hessian[:, b, a] = mixed / 4
    values = eigenvalues(hessian) * (scale_mm / step_mm) ** 2
    order = np.argsort(np.abs(values), axis=1)
    return np.take_along_axis(values, order, axis=1)


def eigenvalues(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvalues of symmetric 3 x 3 matrices in closed form (Smith 1961, doi:10.1145/355578.366316).

    Parameters
    ----------
    symmetric : ndarray, shape (n, 3, 3)

    Returns
    -------
    ndarray, shape (n, 3)
        From the largest to the smallest.
    """
    mean = np.trace(symmetric, axis1=1, axis2=2) / 3
    rest = symmetric - mean[:, None, None] * np.eye(3)
    spread = np.sqrt((rest**2).sum(axis=(1, 2)) / 6)
    safe = np.where(spread > 0, spread, 1.0)
    b = rest / safe[:, None, None]
    half_det = (
        b[:, 0, 0] * (b[:, 1, 1] * b[:, 2, 2] - b[:, 1, 2] ** 2)
        - b[:, 0, 1] * (b[:, 0, 1] * b[:, 2, 2] - b[:, 1, 2] * b[:, 0, 2])
        + b[:, 0, 2] * (b[:, 0, 1] * b[:, 1, 2] - b[:, 1, 1] * b[:, 0, 2])
    ) / 2
    angle = np.arccos(np.clip(half_det, -1.0, 1.0)) / 3
    first = mean + 2 * spread * np.cos(angle)
    last = mean + 2 * spread * np.cos(angle + 2 * np.pi / 3)
    return np.stack([first, 3 * mean - first - last, last], axis=1)


def tubeness(values: NDArray[np.float64], contrast_hu: float = CONTRAST_HU) -> NDArray[np.float64]:
    """How much a voxel looks like the middle of a bright tube, 0 to 1: equations 11 to 13 of Frangi et al. (1998).

    Parameters
    ----------
    values : ndarray, shape (n, 3)
        As of :func:`curvatures`.
    contrast_hu : float
        Curvature at which a structure stands out.

    References
    ----------
    Frangi et al. (1998), Multiscale vessel enhancement filtering, doi:10.1007/BFb0056195.
    """
    small, middle, large = np.abs(values).T
    safe = np.maximum(large, 1e-6)
    plate = middle / safe
    blob = small / np.sqrt(np.maximum(middle * large, 1e-12))
    size2 = (values**2).sum(axis=1)
    answer = (
        (1 - np.exp(-(plate**2) / (2 * PLATE**2)))
        * np.exp(-(blob**2) / (2 * BLOB**2))
        * (1 - np.exp(-size2 / (2 * contrast_hu**2)))
    )
    return np.asarray(np.where((values[:, 1] < 0) & (values[:, 2] < 0), answer, 0.0))


def sheetness(values: NDArray[np.float64], contrast_hu: float) -> NDArray[np.float64]:
    """How much a voxel looks like the middle of a bright sheet, 0 to 1: one curvature is negative and stands alone.

    Parameters
    ----------
    values : ndarray, shape (n, 3)
        As of :func:`curvatures`.
    contrast_hu : float
        Curvature at which a structure stands out.

    References
    ----------
    The ratio of Frangi et al. (1998) turned round, as Wiemker et al. (2005), doi:10.1016/j.ics.2005.03.130, did for
    fissures.
    """
    middle, large = np.abs(values[:, 1]), np.abs(values[:, 2])
    plate = middle / np.maximum(large, 1e-6)
    answer = np.exp(-(plate**2) / (2 * PLATE**2)) * (1 - np.exp(-(large**2) / (2 * contrast_hu**2)))
    return np.asarray(np.where(values[:, 2] < 0, answer, 0.0))
