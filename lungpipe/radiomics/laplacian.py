"""The Laplacian of a Gaussian as ITK computes it, on the part of an image that is asked for.

ITK approximates the Gaussian and its derivatives by recursive filters of fourth order, one line of voxels after another, and
keeps the image in single precision between the passes. Here the same recursions run over many lines side by side, each pass
keeps only what the next ones read, and the result has the same bits.

References
----------
.. [1] Deriche, Recursively implementing the Gaussian and its derivatives, INRIA report 1893, 1993.
.. [2] Farneback and Westin, Improving Deriche-style recursive Gaussian filters, J. Math. Imaging Vis. 26, 2006: the
   constants.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled, strided
from lungpipe.errors import FeatureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Fewest voxels along an axis: the recursion begins from four.
LEAST_VOXELS = 4

# Of [2]: frequencies and decays of the two terms, and their amplitudes for the Gaussian and its second derivative.
_W1, _L1, _W2, _L2 = 0.6681, -1.3932, 2.0787, -1.3732
_GAUSSIAN = (1.3530, 1.8151, -0.3531, 0.0902)
_SECOND = (-1.3563, 5.2318, 0.3446, -2.2355)
_TOGETHER = 64


def laplacian_of_gaussian(
    values: NDArray[np.float32], spacing_mm: Triple, sigma_mm: float, window: tuple[slice, slice, slice]
) -> NDArray[np.float32]:
    """Filter a part of an image, normalised across scales (times sigma squared).

    Parameters
    ----------
    values : ndarray of float32, shape (z, y, x)
        At least :data:`LEAST_VOXELS` along every axis; beyond its border the outermost values go on.
    spacing_mm : tuple of float
        Along (z, y, x).
    sigma_mm : float
    window : tuple of slice
        The part (z, y, x) that is wanted, with starts and stops.

    Returns
    -------
    ndarray of float32
        Shape of the window, in the unit of the intensities.

    Raises
    ------
    FeatureError
        If the image is too thin for the recursion.
    """
    if min(values.shape) < LEAST_VOXELS:
        raise FeatureError(
            "image_too_thin",
            f"the Laplacian of a Gaussian needs {LEAST_VOXELS} voxels along every axis; the image has {values.shape} (z, y, x)",
        )
    loose = strided(values.shape, np.float32)
    loose[:] = values
    total = np.zeros([part.stop - part.start for part in window], dtype=np.float32)
    for axis in (2, 1, 0):  # ITK's first axis is x, and sums of floats depend on their order
        found = _along(
            loose, axis, window[axis], _coefficients(sigma_mm / spacing_mm[axis], second=True, scale=sigma_mm**2)
        )
        for other in (2, 1, 0):
            if other != axis:
                found = _along(found, other, window[other], _coefficients(sigma_mm / spacing_mm[other], second=False))
        total = (total + found.astype(np.float64) / spacing_mm[axis] ** 2).astype(np.float32)
    return total


def _along(
    values: NDArray[np.float32], axis: int, part: slice, coefficients: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Filter along one axis and keep a part of it."""
    out = strided([part.stop - part.start if a == axis else n for a, n in enumerate(values.shape)], np.float32)
    # Views whose first axis is the lines' own: strides do the turning.
    _recurse(np.moveaxis(values, axis, 0), np.moveaxis(out, axis, 0), part.start, coefficients)
    return out


def _coefficients(sigma: float, *, second: bool, scale: float = 1.0) -> NDArray[np.float64]:
    """Coefficients of the recursion for a standard deviation in voxels.

    Those of the values ahead (4), of the results so far (4), of the values behind (4), and of a line's first and last value in
    place of results before it and after it (4 each).
    """
    cos1, cos2, sin1, sin2 = (f(w / sigma) for f in (math.cos, math.sin) for w in (_W1, _W2))
    exp1, exp2 = math.exp(_L1 / sigma), math.exp(_L2 / sigma)
    # The order of operations is ITK's, so that the last bits are.
    d4 = exp1 * exp1 * exp2 * exp2
    d3 = -2 * cos1 * exp1 * exp2 * exp2 + -2 * cos2 * exp2 * exp1 * exp1
    d2 = 4 * cos2 * cos1 * exp1 * exp2 + (exp1 * exp1 + exp2 * exp2)
    d1 = -2 * (exp2 * cos2 + exp1 * cos1)
    sum_d, first_d, second_d = 1 + d1 + d2 + d3 + d4, d1 + 2 * d2 + 3 * d3 + 4 * d4, d1 + 4 * d2 + 9 * d3 + 16 * d4

    def forward(a1: float, b1: float, a2: float, b2: float) -> tuple[list[float], float, float, float]:
        n1 = exp2 * (b2 * sin2 - (a2 + 2 * a1) * cos2) + exp1 * (b1 * sin1 - (a1 + 2 * a2) * cos1)
        n2 = (a1 + a2) * cos2 * cos1 - (b1 * cos2 * sin1 + b2 * cos1 * sin2)
        n2 = n2 * (2 * exp1 * exp2) + (a2 * exp1 * exp1 + a1 * exp2 * exp2)
        n3 = exp2 * exp1 * exp1 * (b2 * sin2 - a2 * cos2) + exp1 * exp2 * exp2 * (b1 * sin1 - a1 * cos1)
        n0 = a1 + a2
        return [n0, n1, n2, n3], n0 + n1 + n2 + n3, n1 + 2 * n2 + 3 * n3, n1 + 4 * n2 + 9 * n3

    n, *sums = forward(*_GAUSSIAN)
    if second:
        curved, *curved_sums = forward(*_SECOND)
        beta = -(2 * curved_sums[0] - sum_d * curved[0]) / (2 * sums[0] - sum_d * n[0])
        n = [c + beta * g for c, g in zip(curved, n, strict=True)]
        sum_n, first_n, second_n = (c + beta * g for c, g in zip(curved_sums, sums, strict=True))
        alpha = second_n * sum_d * sum_d - second_d * sum_n * sum_d - 2 * first_n * first_d * sum_d
        alpha = (alpha + 2 * first_d * first_d * sum_n) / (sum_d * sum_d * sum_d)
        factor = scale / alpha
    else:
        factor = 1.0 / (2 * sums[0] / sum_d - n[0])
    n = [one * factor for one in n]
    d = [d1, d2, d3, d4]
    m = [n[1] - d1 * n[0], n[2] - d2 * n[0], n[3] - d3 * n[0], -d4 * n[0]]
    ahead, behind = n[0] + n[1] + n[2] + n[3], m[0] + m[1] + m[2] + m[3]
    return np.array([*n, *d, *m, *(one * ahead / sum_d for one in d), *(one * behind / sum_d for one in d)])


@compiled
def _recurse(lines: NDArray[np.float32], out: NDArray[np.float32], start: int, c: NDArray[np.float64]) -> None:
    """Filter along the first axis of ``lines`` (n, p, q); ``out`` (m, p, q) gets the places from ``start`` on."""
    n, p, q = lines.shape
    kept = out.shape[0]
    data, ahead, back = np.empty((n, _TOGETHER)), np.empty((n, _TOGETHER)), np.empty((n, _TOGETHER))
    n0, n1, n2, n3 = c[0], c[1], c[2], c[3]
    d1, d2, d3, d4 = c[4], c[5], c[6], c[7]
    m1, m2, m3, m4 = c[8], c[9], c[10], c[11]
    for row, first in [(a, b) for a in range(p) for b in range(0, q, _TOGETHER)]:
        width = min(_TOGETHER, q - first)
        for i in range(n):
            for k in range(width):
                data[i, k] = lines[i, row, first + k]
        for i in range(n):
            for k in range(_TOGETHER):
                x1 = data[max(i - 1, 0), k]
                x2 = data[max(i - 2, 0), k]
                x3 = data[max(i - 3, 0), k]
                ahead[i, k] = data[i, k] * n0 + x1 * n1 + x2 * n2 + x3 * n3
            if i >= 4:
                for k in range(_TOGETHER):
                    ahead[i, k] -= (
                        ahead[i - 1, k] * d1 + ahead[i - 2, k] * d2 + ahead[i - 3, k] * d3 + ahead[i - 4, k] * d4
                    )
            else:
                for k in range(_TOGETHER):  # before the line its first value goes on
                    border = data[0, k]
                    y1 = ahead[i - 1, k] * d1 if i > 0 else border * c[12]
                    y2 = ahead[i - 2, k] * d2 if i > 1 else border * c[13]
                    y3 = ahead[i - 3, k] * d3 if i > 2 else border * c[14]
                    ahead[i, k] -= y1 + y2 + y3 + border * c[15]
        for i in range(n - 1, -1, -1):
            for k in range(_TOGETHER):
                x1 = data[min(i + 1, n - 1), k]
                x2 = data[min(i + 2, n - 1), k]
                x3 = data[min(i + 3, n - 1), k]
                x4 = data[min(i + 4, n - 1), k]
                back[i, k] = x1 * m1 + x2 * m2 + x3 * m3 + x4 * m4
            if i < n - 4:
                for k in range(_TOGETHER):
                    back[i, k] -= back[i + 1, k] * d1 + back[i + 2, k] * d2 + back[i + 3, k] * d3 + back[i + 4, k] * d4
            else:
                for k in range(_TOGETHER):
                    border = data[n - 1, k]
                    y1 = back[i + 1, k] * d1 if i < n - 1 else border * c[16]
                    y2 = back[i + 2, k] * d2 if i < n - 2 else border * c[17]
                    y3 = back[i + 3, k] * d3 if i < n - 3 else border * c[18]
                    back[i, k] -= y1 + y2 + y3 + border * c[19]
        for i in range(kept):
            for k in range(width):
                out[i, row, first + k] = np.float32(ahead[start + i, k] + back[start + i, k])
