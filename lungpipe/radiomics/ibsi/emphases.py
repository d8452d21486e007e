"""The features that run lengths, zone sizes, zone distances and dependence counts have in common.

Each of these matrices counts things by grey level and by something else: the length of a run, the size of a zone or its
distance to the edge, or how many neighbours depend on a voxel. The features are the same sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.radiomics.ibsi.catalogue import families

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def emphases(
    level: NDArray[np.int64], other: NDArray[np.int64], count: NDArray[np.int64], n_voxels: int
) -> tuple[float, ...]:
    """Compute the features of a matrix (manual, section 3.7).

    Parameters
    ----------
    level, other, count : ndarray of int, shape (n,)
        Grey level, what else is counted (both from 1), and how often the two occur together; no pair twice.
    n_voxels : int
        Voxels of the region, once for every matrix that was merged.

    Returns
    -------
    tuple of float
        In the order of the published tables: emphasis of small and large others; of low and high levels; small low, small
        high, large low and large high; non-uniformity of levels, normalised; of others, normalised; percentage; variance of
        levels and of others; entropy (bit).
    """
    i, j, r = level.astype(np.float64), other.astype(np.float64), count.astype(np.float64)
    total = r.sum()
    p = r / total
    by_level, by_other = np.bincount(level, weights=r), np.bincount(other, weights=r)
    by_other = by_other[by_other > 0]
    levels_squared, others_squared = float(np.sum(by_level**2)), float(np.sum(by_other**2))
    return (
        float(np.sum(p / j**2)),
        float(np.sum(p * j**2)),
        float(np.sum(p / i**2)),
        float(np.sum(p * i**2)),
        float(np.sum(p / (i**2 * j**2))),
        float(np.sum(p * i**2 / j**2)),
        float(np.sum(p * j**2 / i**2)),
        float(np.sum(p * i**2 * j**2)),
        levels_squared / total,
        levels_squared / total**2,
        others_squared / total,
        others_squared / total**2,
        total / n_voxels,
        float(np.sum(p * (i - np.sum(p * i)) ** 2)),
        float(np.sum(p * (j - np.sum(p * j)) ** 2)),
        -float(np.sum(p * np.log2(p))) + 0.0,
    )


def counted(
    level: NDArray[np.int64], other: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of level and other, each once, and how often they occur."""
    width = int(other.max()) + 1
    key, count = np.unique(level * width + other, return_counts=True)
    return key // width, key % width, count


def tagged(family: str, values: Sequence[float]) -> dict[str, float]:
    """Values of a family of the catalogue, in its order, by tag."""
    return dict(zip(families()[family], values, strict=True))
