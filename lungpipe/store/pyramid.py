"""Smaller and smaller copies of a volume, for viewers: blocks of voxels become one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple

#: A level whose longest axis has no more voxels than this is the last.
SMALLEST = 64


def pyramid(
    voxels: NDArray[Any], spacing_mm: Triple, how: Literal["mean", "maximum"]
) -> Iterator[tuple[NDArray[Any], IndexTriple]]:
    """Yield a volume and its reductions.

    At each level an axis is halved unless its spacing is at least twice that of another, so thick slices are kept until
    the pixels have grown as large.

    Parameters
    ----------
    voxels : ndarray, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    how : {"mean", "maximum"}
        What a block becomes: its mean, rounded for integers, or its largest value.

    Yields
    ------
    voxels : ndarray, shape (z, y, x)
        Of the type of the first.
    factor : tuple of int
        How many of the first level's voxels lie along each axis of a block. A block at the far edge may hold fewer.
    """
    z, y, x = 1, 1, 1
    yield voxels, (z, y, x)
    while max(voxels.shape) > SMALLEST:
        now = [s * f for s, f in zip(spacing_mm, (z, y, x), strict=True)]
        finest = min(s for s, n in zip(now, voxels.shape, strict=True) if n > 1)
        by = [2 if n > 1 and s < 2 * finest else 1 for s, n in zip(now, voxels.shape, strict=True)]
        voxels = _reduced(voxels, (by[0], by[1], by[2]), how)
        z, y, x = z * by[0], y * by[1], x * by[2]
        yield voxels, (z, y, x)


def _reduced(voxels: NDArray[Any], by: IndexTriple, how: Literal["mean", "maximum"]) -> NDArray[Any]:
    """One voxel a block, slab by slab: a whole volume in floating point would be several times its size."""
    shape = tuple(-(-n // f) for n, f in zip(voxels.shape, by, strict=True))
    out = np.empty(shape, voxels.dtype)
    # The last row or column again, which changes neither the mean nor the maximum of its block.
    padding = [(0, 0), *((0, m * f - n) for n, m, f in zip(voxels.shape[1:], shape[1:], by[1:], strict=True))]
    for k in range(shape[0]):
        slab = np.pad(voxels[k * by[0] : (k + 1) * by[0]], padding, mode="edge")
        blocks = slab.reshape(slab.shape[0], shape[1], by[1], shape[2], by[2])
        if how == "mean":
            mean = blocks.mean(axis=(0, 2, 4), dtype=np.float64)
            out[k] = np.rint(mean) if np.issubdtype(voxels.dtype, np.integer) else mean
        else:
            out[k] = blocks.max(axis=(0, 2, 4))
    return out
