"""Grey level co-occurrence matrices (GLCM, LFYI) and their 25 features (manual, section 3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled
from lungpipe.radiomics.ibsi.aggregate import average, directions, merged
from lungpipe.radiomics.ibsi.catalogue import families

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.catalogue import Aggregation


def cooccurrence_features(levels: NDArray[np.int64], aggregations: Sequence[Aggregation]) -> dict[str, float]:
    """Compute the features for each aggregation, by tag with its suffix.

    Parameters
    ----------
    levels : ndarray of int, shape (z, y, x)
        Grey levels from 1 within the intensity mask, 0 outside.
    aggregations : sequence of Aggregation
        All by slice, or none.
    """
    by_slice = aggregations[0].by_slice
    pairs = count_pairs(levels, directions(by_slice=by_slice), int(levels.max()), by_slice)
    both = pairs + pairs.swapaxes(2, 3)
    found: dict[str, float] = {}
    for aggregation in aggregations:
        features = average([matrix_features(matrix) for matrix in merged(both, aggregation)])
        found |= {f"{name}_{aggregation.suffix}": value for name, value in features.items()}
    return found


@compiled
def count_pairs(
    levels: NDArray[np.int64], steps: NDArray[np.int64], n_levels: int, by_slice: bool
) -> NDArray[np.int64]:
    """Count pairs of levels a step apart; shape (steps, slices or 1, levels, levels), level 1 at index 0."""
    nz, ny, nx = levels.shape
    found = np.zeros((len(steps), nz if by_slice else 1, n_levels, n_levels), dtype=np.int64)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                here = levels[z, y, x]
                if here == 0:
                    continue
                for k in range(len(steps)):
                    z1, y1, x1 = z + steps[k, 0], y + steps[k, 1], x + steps[k, 2]
                    if z1 < 0 or z1 >= nz or y1 < 0 or y1 >= ny or x1 < 0 or x1 >= nx:
                        continue
                    there = levels[z1, y1, x1]
                    if there > 0:
                        found[k, z if by_slice else 0, here - 1, there - 1] += 1
    return found


def matrix_features(counts: NDArray[np.int64]) -> dict[str, float]:
    """The 25 features of one symmetric matrix, by tag.

    Parameters
    ----------
    counts : ndarray of int, shape (levels, levels)
        Level 1 at index 0. The number of levels N_g, by which two features divide, is the size of the matrix.

    Notes
    -----
    All are NaN for a matrix without pairs. Correlation and the first information correlation divide by the variance and the
    entropy of the levels, and are NaN where there is a single level.
    """
    total = int(counts.sum())
    if not total:
        return dict.fromkeys(_TAGS, float("nan"))
    n = len(counts)
    p: NDArray[np.float64] = counts / total
    marginal = p.sum(axis=1)
    level = np.arange(1, n + 1, dtype=np.float64)
    i, j = np.meshgrid(level, level, indexing="ij")
    apart = _summed(p, np.abs(i - j), n)
    together = _summed(p, i + j, 2 * n + 1)
    k, twice = np.arange(n, dtype=np.float64), np.arange(2 * n + 1, dtype=np.float64)
    mean = float(np.sum(i * p))
    variance = float(np.sum((i - mean) ** 2 * p))
    difference, total_mean = float(np.sum(k * apart)), float(np.sum(twice * together))
    cluster = i + j - 2 * mean
    several = np.count_nonzero(marginal) > 1
    entropy, marginal_entropy = _entropy(p), _entropy(marginal)
    cross = np.outer(marginal, marginal)
    first = -float(np.sum(p[p > 0] * np.log2(cross[p > 0])))
    second = _entropy(cross)
    values = (
        float(p.max()),
        mean,
        variance,
        entropy,
        difference,
        float(np.sum((k - difference) ** 2 * apart)),
        _entropy(apart),
        total_mean,
        float(np.sum((twice - total_mean) ** 2 * together)),
        _entropy(together),
        float(np.sum(p**2)),
        float(np.sum(k**2 * apart)),
        float(np.sum(np.abs(i - j) * p)),
        float(np.sum(apart / (1 + k))),
        float(np.sum(apart / (1 + k / n))),
        float(np.sum(apart / (1 + k**2))),
        float(np.sum(apart / (1 + (k / n) ** 2))),
        float(np.sum(apart[1:] / k[1:] ** 2)),
        float(np.sum((i - mean) * (j - mean) * p)) / variance if several else float("nan"),
        float(np.sum(i * j * p)),
        float(np.sum(cluster**2 * p)),
        float(np.sum(cluster**3 * p)),
        float(np.sum(cluster**4 * p)),
        (entropy - first) / marginal_entropy if several else float("nan"),
        float(np.sqrt(max(0.0, 1 - np.exp(-2 * (second - entropy))))),
    )
    return dict(zip(_TAGS, values, strict=True))


#: In the order of the published tables.
_TAGS = tuple(families()["cooccurrence"])


def _summed(p: NDArray[np.float64], key: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Probabilities that share a whole-numbered key, added up; shape (size,)."""
    return np.asarray(np.bincount(key.astype(np.int64).ravel(), weights=p.ravel(), minlength=size), dtype=np.float64)


def _entropy(p: NDArray[np.float64]) -> float:
    """Shannon entropy in bits."""
    positive = p[p > 0]
    return -float(np.sum(positive * np.log2(positive))) + 0.0
