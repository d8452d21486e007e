"""Cubic B-spline interpolation on a grid whose axes are those of the image, one axis after the other.

ITK takes a weighted sum of 64 coefficients for every point. On such a grid the weights are products of one factor an axis, so
twelve do. The coefficients come from ITK's own recursion, with its start at the image's border.

References
----------
.. [1] Unser, Splines: a perfect fit for signal and image processing, IEEE Signal Process. Mag. 16(6), 1999.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled, strided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Pole of the recursion, and how far its start looks: to where the pole's power is below ITK's tolerance.
_POLE = float(np.sqrt(3.0) - 2.0)
_TOLERANCE = 1e-10
_HORIZON = int(np.ceil(np.log(_TOLERANCE) / np.log(abs(_POLE))))


def interpolate(values: NDArray[np.float64], places: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Interpolate an image at the points of a grid.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        Beyond its border the image is mirrored at the outermost voxels' centres.
    places : sequence of ndarray
        Fractional indices of the grid's planes along z, y and x.

    Returns
    -------
    ndarray, shape (len(places[0]), len(places[1]), len(places[2]))
    """
    found = strided(values.shape, np.float64)
    found[:] = values
    for axis in range(3):  # an axis at a time, so that the next one has only the planes that are wanted
        lines = np.moveaxis(found, axis, 0)
        if len(lines) > 1:
            _coefficients(lines)
        index, weight = _weights(places[axis], len(lines))
        out = strided([len(index) if other == axis else n for other, n in enumerate(found.shape)], np.float64)
        _combine(lines, index, weight, np.moveaxis(out, axis, 0))
        found = out
    return found


def _weights(places: NDArray[np.float64], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices (m, 4) of the coefficients that each place needs, mirrored into the image, and their weights (m, 4)."""
    first = np.floor(places).astype(np.int64) - 1
    t = places - (first + 1)
    last = t**3 / 6
    before = 1 / 6 + 0.5 * t * (t - 1) - last
    after = t + before - 2 * last
    weight = np.stack([before, 1 - before - after - last, after, last], axis=1)
    index = np.abs(first[:, None] + np.arange(4))
    if n == 1:
        return np.zeros_like(index), weight
    index %= 2 * (n - 1)
    return np.where(index < n, index, 2 * (n - 1) - index), weight


@compiled
def _coefficients(lines: NDArray[np.float64]) -> None:
    """Turn values into coefficients along the first axis of (n, p, q), in place."""
    n, p, q = lines.shape
    gain = (1.0 - _POLE) * (1.0 - 1.0 / _POLE)
    start = np.empty(q)
    for row in range(p):
        for i in range(n):
            for k in range(q):
                lines[i, row, k] *= gain
        power = _POLE
        if n > _HORIZON:
            start[:] = lines[0, row, :]
            for i in range(1, _HORIZON):
                for k in range(q):
                    start[k] += power * lines[i, row, k]
                power *= _POLE
        else:
            back = _POLE ** (n - 1)
            for k in range(q):
                start[k] = lines[0, row, k] + back * lines[n - 1, row, k]
            back = back * back / _POLE
            for i in range(1, n - 1):
                for k in range(q):
                    start[k] += (power + back) * lines[i, row, k]
                power *= _POLE
                back /= _POLE
            for k in range(q):
                start[k] /= 1.0 - power * power
        for k in range(q):
            lines[0, row, k] = start[k]
        for i in range(1, n):
            for k in range(q):
                lines[i, row, k] += _POLE * lines[i - 1, row, k]
        for k in range(q):
            lines[n - 1, row, k] = _POLE / (_POLE * _POLE - 1.0) * (_POLE * lines[n - 2, row, k] + lines[n - 1, row, k])
        for i in range(n - 2, -1, -1):
            for k in range(q):
                lines[i, row, k] = _POLE * (lines[i + 1, row, k] - lines[i, row, k])


@compiled
def _combine(
    lines: NDArray[np.float64], index: NDArray[np.int64], weight: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Weighted sums of four planes of (n, p, q) for each plane of (m, p, q)."""
    m, p, q = out.shape
    for i in range(m):
        a, b, c, d = index[i, 0], index[i, 1], index[i, 2], index[i, 3]
        wa, wb, wc, wd = weight[i, 0], weight[i, 1], weight[i, 2], weight[i, 3]
        for row in range(p):
            for k in range(q):
                out[i, row, k] = (
                    wa * lines[a, row, k] + wb * lines[b, row, k] + wc * lines[c, row, k] + wd * lines[d, row, k]
                )
