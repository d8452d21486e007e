"""Features of matrices of grey level against size: run lengths, zones and dependences are all of this form.

References
----------
.. [1] Galloway, Texture analysis using gray level run lengths, Comput. Graph. Image Process. 4(2), 1975.
.. [2] Thibault et al., Texture indexes and gray level size zone matrix, Pattern Recognit. Inf. Process., 2009.
.. [3] Sun and Wee, Neighboring gray level dependence matrix for texture classification, Comput. Vis. Graph. Image Process.
   23(3), 1983.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: What PyRadiomics calls the features in the order in which they are computed, by class; "" where it has no such feature.
NAMES: Mapping[str, tuple[str, ...]] = {
    "glrlm": (
        "ShortRunEmphasis", "LongRunEmphasis", "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized",
        "RunLengthNonUniformity", "RunLengthNonUniformityNormalized", "RunPercentage", "GrayLevelVariance", "RunVariance",
        "RunEntropy", "LowGrayLevelRunEmphasis", "HighGrayLevelRunEmphasis", "ShortRunLowGrayLevelEmphasis",
        "ShortRunHighGrayLevelEmphasis", "LongRunLowGrayLevelEmphasis", "LongRunHighGrayLevelEmphasis",
    ),
    "glszm": (
        "SmallAreaEmphasis", "LargeAreaEmphasis", "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized",
        "SizeZoneNonUniformity", "SizeZoneNonUniformityNormalized", "ZonePercentage", "GrayLevelVariance", "ZoneVariance",
        "ZoneEntropy", "LowGrayLevelZoneEmphasis", "HighGrayLevelZoneEmphasis", "SmallAreaLowGrayLevelEmphasis",
        "SmallAreaHighGrayLevelEmphasis", "LargeAreaLowGrayLevelEmphasis", "LargeAreaHighGrayLevelEmphasis",
    ),
    "gldm": (
        "SmallDependenceEmphasis", "LargeDependenceEmphasis", "GrayLevelNonUniformity", "", "DependenceNonUniformity",
        "DependenceNonUniformityNormalized", "", "GrayLevelVariance", "DependenceVariance", "DependenceEntropy",
        "LowGrayLevelEmphasis", "HighGrayLevelEmphasis", "SmallDependenceLowGrayLevelEmphasis",
        "SmallDependenceHighGrayLevelEmphasis", "LargeDependenceLowGrayLevelEmphasis", "LargeDependenceHighGrayLevelEmphasis",
    ),
}  # fmt: skip

_EPS = float(np.spacing(1.0))


@compiled
def size_features(
    counts: NDArray[np.float64], number: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the features of matrices of counts.

    Parameters
    ----------
    counts : ndarray, shape (n, n_columns, n_sizes)
        Of things of a level and size; whole numbers but where directions are weighted.
    number : ndarray of int64, shape (n, n_columns)
        Level number of each column, in each matrix.
    sizes : ndarray of int64, shape (n_sizes,)

    Returns
    -------
    ndarray, shape (n, 16)
        As in :data:`NAMES`; NaN where a matrix is empty.
    """
    n, n_columns, n_sizes = counts.shape
    features = np.full((n, 16), np.nan)
    by_level, by_size = np.zeros(n_columns), np.zeros(n_sizes)
    for m in range(n):
        by_level[:] = 0.0
        by_size[:] = 0.0
        total = 0.0
        for c in range(n_columns):
            for s in range(n_sizes):
                count = counts[m, c, s]
                if count:
                    by_level[c] += count
                    by_size[s] += count
                    total += count
        if total == 0.0:
            continue
        entropy, low_short, high_short, low_long, high_long = 0.0, 0.0, 0.0, 0.0, 0.0
        low, high, level_mean, level_squares = 0.0, 0.0, 0.0, 0.0
        for c in range(n_columns):
            if by_level[c] == 0.0:
                continue
            level = float(number[m, c])
            square = level * level
            short, long = 0.0, 0.0
            for s in range(n_sizes):
                count = counts[m, c, s]
                if count:
                    p = count / total
                    entropy -= p * np.log2(p + _EPS)
                    size = float(sizes[s])
                    short += count / (size * size)
                    long += count * (size * size)
            low_short += short / square
            high_short += short * square
            low_long += long / square
            high_long += long * square
            low += by_level[c] / square
            high += by_level[c] * square
            level_mean += by_level[c] / total * level
            level_squares += by_level[c] * by_level[c]
        short, long, size_mean, size_squares, volume = 0.0, 0.0, 0.0, 0.0, 0.0
        for s in range(n_sizes):
            size = float(sizes[s])
            short += by_size[s] / (size * size)
            long += by_size[s] * (size * size)
            size_mean += by_size[s] / total * size
            size_squares += by_size[s] * by_size[s]
            volume += by_size[s] * size
        level_variance, size_variance = 0.0, 0.0
        for c in range(n_columns):
            level_variance += by_level[c] / total * (number[m, c] - level_mean) ** 2
        for s in range(n_sizes):
            size_variance += by_size[s] / total * (sizes[s] - size_mean) ** 2
        out = features[m]
        out[0], out[1] = short / total, long / total
        out[2], out[3] = level_squares / total, level_squares / (total * total)
        out[4], out[5] = size_squares / total, size_squares / (total * total)
        out[6] = total / volume
        out[7], out[8], out[9] = level_variance, size_variance, entropy
        out[10], out[11] = low / total, high / total
        out[12], out[13] = low_short / total, high_short / total
        out[14], out[15] = low_long / total, high_long / total
    return features
