"""Approximate rotation invariance: a filter's responses in all right-angle orientations, pooled into one (IBSI O1AQ).

A volume has 24 rotations onto its own axes, a slice 4. A rotation hands every axis another axis' kernel and turns
some kernels round, so a rotated separable kernel is separable too. A kernel is turned about the voxel at which it stands,
as if the image had been turned instead: for kernels of even length (Daubechies) that is not the order of their taps
reversed, with which the published values of configurations 6 and 7 are missed by far.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING, Literal

import numpy as np

from lungpipe.radiomics.ibsi2.convolve import along

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi2.boundary import Boundary

Pooling = Literal["max", "mean", "min"]

#: How responses of several orientations become one, voxel by voxel.
POOLINGS: tuple[Pooling, ...] = ("max", "mean", "min")

#: A tap that differs by less than this fraction of the largest is the same tap.
SAME_TAP = 1e-12


def rotations(dimensions: int) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Right-angle rotations of 2 or 3 axes.

    Returns
    -------
    list of (source, turned)
        For every axis, the axis whose kernel it takes and whether that kernel is turned round: the signed permutations
        of determinant 1, 4 or 24 of them.
    """
    return [
        (source, turned)
        for source in permutations(range(dimensions))
        for turned in product((False, True), repeat=dimensions)
        if np.linalg.det(np.eye(dimensions)[list(source)]) * (-1) ** sum(turned) > 0
    ]


def orientations(kernels: Sequence[NDArray[np.float64]]) -> list[tuple[NDArray[np.float64], ...]]:
    """The different kernels that right-angle rotations make of a separable one.

    Parameters
    ----------
    kernels : sequence of ndarray
        Two (y, x) or three (z, y, x) centred kernels.

    Returns
    -------
    list of tuple of ndarray
        Every kernel once. Rotations that give the same kernel are equally many for each of them, so that a mean over
        these is the mean over all rotations.
    """
    seen: dict[tuple[tuple[float, ...], ...], tuple[NDArray[np.float64], ...]] = {}
    for source, turned in rotations(len(kernels)):
        rotated = tuple(kernels[s][::-1] if t else kernels[s] for s, t in zip(source, turned, strict=True))
        seen.setdefault(tuple(_key(kernel) for kernel in rotated), rotated)
    return list(seen.values())


def pooled_separable(
    values: NDArray[np.float64],
    kernels: Sequence[NDArray[np.float64]],
    pooling: Pooling | None,
    boundary: Boundary,
) -> NDArray[np.float64]:
    """Response of a separable filter, pooled over right-angle rotations unless ``pooling`` is None.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
    kernels : sequence of ndarray
        Two (y, x) or three (z, y, x) centred kernels.
    pooling : {"max", "mean", "min"} or None
    boundary : str

    Returns
    -------
    ndarray, shape (z, y, x)
    """
    every = [tuple(kernels)] if pooling is None else orientations(kernels)
    return pool(_responses(values, every, values.ndim - len(kernels), boundary), pooling or "mean")


def pool(responses: Iterable[NDArray[np.float64]], pooling: Pooling) -> NDArray[np.float64]:
    """Pool responses voxel by voxel, holding two of them at a time.

    Parameters
    ----------
    responses : iterable of ndarray, each of one shape
        At least one; the first is written to.
    pooling : {"max", "mean", "min"}
    """
    join = {"max": np.maximum, "mean": np.add, "min": np.minimum}[pooling]
    found = iter(responses)
    held = next(found)
    count = 1
    for response in found:
        join(held, response, out=held)
        count += 1
    if pooling == "mean" and count > 1:
        held /= count
    return held


def _responses(
    values: NDArray[np.float64],
    every: Sequence[tuple[NDArray[np.float64], ...]],
    axis: int,
    boundary: Boundary,
) -> Iterator[NDArray[np.float64]]:
    """Response to each kernel; kernels that begin with the same part share its convolution."""
    if not every[0]:
        yield values
        return
    groups: dict[tuple[float, ...], list[tuple[NDArray[np.float64], ...]]] = {}
    for kernels in every:
        groups.setdefault(_key(kernels[0]), []).append(kernels)
    for members in groups.values():
        partial = along(values, members[0][0], axis, boundary)
        yield from _responses(partial, [kernels[1:] for kernels in members], axis + 1, boundary)


def _key(kernel: NDArray[np.float64]) -> tuple[float, ...]:
    """Taps, rounded so that a symmetric kernel and itself turned round are one."""
    unit = SAME_TAP * float(np.max(np.abs(kernel), initial=0.0)) or 1.0
    return tuple((np.round(kernel / unit) + 0.0).tolist())
