"""Grey-level co-occurrence of nested regions: pairs of neighbours, counted once for all regions that hold them.

A pair of voxels belongs to every region from the larger of the two voxels' ranks on. So pairs are counted by that rank, and a
region's matrix is the sum of the matrices up to its own.

References
----------
.. [1] Haralick, Shanmugam and Dinstein, Textural features for image classification, IEEE Trans. Syst. Man Cybern. 3(6), 1973.
.. [2] van Griethuysen et al., Computational radiomics system to decode the radiographic phenotype, Cancer Research 77(21),
   2017: the features' definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Features in the order in which they are computed.
NAMES = (
    "Autocorrelation", "JointAverage", "ClusterProminence", "ClusterShade", "ClusterTendency", "Contrast", "Correlation",
    "DifferenceAverage", "DifferenceEntropy", "DifferenceVariance", "JointEnergy", "JointEntropy", "Imc1", "Imc2", "Idm", "MCC",
    "Idmn", "Id", "Idn", "InverseVariance", "MaximumProbability", "SumAverage", "SumEntropy", "SumSquares",
)  # fmt: skip

#: PyRadiomics adds this to probabilities before it takes their logarithm.
EPS = float(np.spacing(1.0))
_LN2 = float(np.log(2.0))
#: The second eigenvalue is taken as found when its residual is below this: its error is the residual's square over the gap.
_RESIDUAL = 1e-7
#: What is left of a vector when the levels that it reaches are spent: rounding.
_SPENT = 1e-10
_MOST_STEPS = 200


@compiled
def pair_features(
    column: NDArray[np.int32],
    rank: NDArray[np.uint8],
    voxel: NDArray[np.int64],
    own: NDArray[np.uint8],
    steps: NDArray[np.int64],
    weights: NDArray[np.float64],
    number: NDArray[np.int64],
    highest: NDArray[np.int64],
    symmetric: bool,
    add_matrices: bool,
) -> NDArray[np.float64]:
    """Compute the features of every region of a chain.

    Parameters
    ----------
    column : ndarray of int32, shape (padded voxels,)
        Column of each voxel's level.
    rank, voxel, own
        As in :class:`lungpipe.radiomics.nested.chains.Chain`.
    steps : ndarray of int64, shape (n_directions,)
        Flat steps to neighbours.
    weights : ndarray, shape (n_directions,)
        Used where matrices are added.
    number : ndarray of int64, shape (n_regions, n_columns)
    highest : ndarray of int64, shape (n_regions,)
    symmetric : bool
        Whether pairs count in both orders.
    add_matrices : bool
        Whether the directions' matrices are added, with weights, or their features averaged.

    Returns
    -------
    ndarray, shape (n_regions, len(NAMES))
        NaN where no pair has both voxels in the region.
    """
    n_regions, n_columns = number.shape
    sums, n_found = np.zeros((n_regions, 24)), np.zeros((n_regions, 24), dtype=np.int64)
    counts = np.zeros((n_regions, n_columns, n_columns), dtype=np.int32)
    together = np.zeros((n_regions if add_matrices else 1, n_columns, n_columns))
    running = np.zeros((n_columns, n_columns))
    n_levels = int(highest.max())
    sum_of, difference_of = np.zeros(2 * n_levels + 1), np.zeros(n_levels + 1)
    margins, held = np.zeros((2, n_columns)), np.zeros(n_columns, dtype=np.int64)
    most = n_columns * n_columns
    first, second, share = np.zeros(most, dtype=np.int32), np.zeros(most, dtype=np.int32), np.zeros(most)
    basis = np.zeros((min(n_columns, _MOST_STEPS) + 1, n_columns))
    found = np.zeros(24)
    for direction in range(len(steps)):
        counts[:] = 0
        step = steps[direction]
        for k in range(len(voxel)):
            here = voxel[k]
            there_rank = rank[here + step]
            if there_rank < n_regions:
                i, j = column[here], column[here + step]
                if symmetric and i > j:  # the matrix's upper half holds both orders
                    i, j = j, i
                counts[max(own[k], there_rank), i, j] += 1
        running[:] = 0
        for region in range(n_regions):
            for i in range(n_columns):
                for j in range(i if symmetric else 0, n_columns):
                    running[i, j] += counts[region, i, j]
            if add_matrices:
                together[region] += weights[direction] * running
            elif _features(
                running, number[region], highest[region], symmetric, sum_of, difference_of, margins, held,
                first, second, share, basis, found,
            ):  # fmt: skip
                _add(found, sums[region], n_found[region])
    if add_matrices:
        for region in range(n_regions):
            if _features(
                together[region], number[region], highest[region], symmetric, sum_of, difference_of, margins, held,
                first, second, share, basis, found,
            ):  # fmt: skip
                _add(found, sums[region], n_found[region])
    for region in range(n_regions):
        for k in range(24):
            sums[region, k] = sums[region, k] / n_found[region, k] if n_found[region, k] else np.nan
    return sums


@compiled
def _add(found: NDArray[np.float64], sums: NDArray[np.float64], n_found: NDArray[np.int64]) -> None:
    """Add the features of a direction to their sums, NaN left out."""
    for k in range(len(found)):
        if not np.isnan(found[k]):
            sums[k] += found[k]
            n_found[k] += 1


@compiled
def _features(
    counts: NDArray[np.float64],
    number: NDArray[np.int64],
    n_levels: int,
    symmetric: bool,
    sum_of: NDArray[np.float64],
    difference_of: NDArray[np.float64],
    margins: NDArray[np.float64],
    held: NDArray[np.int64],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    share: NDArray[np.float64],
    basis: NDArray[np.float64],
    found: NDArray[np.float64],
) -> bool:
    """Features of one matrix of counts (n_columns, n_columns) into ``found``; False where it is empty.

    Of a symmetric one only the upper half is read, in which the diagonal counts once and the rest for both orders.
    """
    n_columns = counts.shape[0]
    total, n = 0.0, 0
    margins[:] = 0.0
    for i in range(n_columns):
        for j in range(i if symmetric else 0, n_columns):
            count = counts[i, j]
            if count:
                if symmetric and i == j:
                    count *= 2
                first[n], second[n], share[n] = i, j, count
                n += 1
                total += 2 * count if symmetric and i != j else count
    if not n:
        return False
    sum_of[: 2 * n_levels + 1] = 0.0
    difference_of[: n_levels + 1] = 0.0
    energy, entropy, most = 0.0, 0.0, 0.0
    for k in range(n):
        p = share[k] / total
        share[k] = p
        i, j = first[k], second[k]
        twice = symmetric and i != j
        margins[0, i] += p
        margins[1, j] += p
        if twice:
            margins[0, j] += p
            margins[1, i] += p
        both = 2 * p if twice else p
        sum_of[number[i] + number[j]] += both
        difference_of[abs(number[i] - number[j])] += both
        energy += both * p
        entropy -= both * np.log2(p + EPS)
        most = max(most, p)
    row, col = margins[0], margins[1]
    mean_row, mean_col = 0.0, 0.0
    for i in range(n_columns):
        mean_row += row[i] * number[i]
        mean_col += col[i] * number[i]
    variance_row, variance_col, entropy_row, entropy_col = 0.0, 0.0, 0.0, 0.0
    n_row, n_col = 0, 0
    for i in range(n_columns):
        if row[i]:
            variance_row += row[i] * (number[i] - mean_row) ** 2
            entropy_row -= row[i] * np.log2(row[i] + EPS)
            n_row += 1
        if col[i]:
            variance_col += col[i] * (number[i] - mean_col) ** 2
            entropy_col -= col[i] * np.log2(col[i] + EPS)
            n_col += 1
    product, covariance, cross = 0.0, 0.0, 0.0
    for k in range(n):
        i, j = first[k], second[k]
        both = 2 * share[k] if symmetric and i != j else share[k]
        product += both * number[i] * number[j]
        covariance += both * (number[i] - mean_row) * (number[j] - mean_col)
        cross -= both * np.log2(row[i] * col[j] + EPS)
    tendency, shade, prominence, sum_average, sum_entropy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(2, 2 * n_levels + 1):
        p = sum_of[k]
        if p:
            away = k - mean_row - mean_col
            tendency += p * away**2
            shade += p * away**3
            prominence += p * away**4
            sum_average += k * p
            sum_entropy -= p * np.log2(p + EPS)
    contrast, average, entropy_difference, inverse, idm, idmn, near, idn = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n_levels):
        p = difference_of[k]
        if p:
            contrast += p * k**2
            average += k * p
            entropy_difference -= p * np.log2(p + EPS)
            if k:
                inverse += p / k**2
            idm += p / (1 + k**2)
            idmn += p / (1 + k**2 / n_levels**2)
            near += p / (1 + k)
            idn += p / (1 + k / n_levels)
    spread = 0.0
    for k in range(n_levels):
        spread += difference_of[k] * (k - average) ** 2
    # Of one level the variance is 0, whatever rounding leaves of it.
    deviations = np.sqrt(variance_row) * np.sqrt(variance_col) if n_row > 1 and n_col > 1 else 0.0
    found[0], found[1] = product, mean_row
    found[2], found[3], found[4], found[5] = prominence, shade, tendency, contrast
    found[6] = covariance / (deviations + EPS) if deviations else 1.0
    found[7], found[8], found[9] = average, entropy_difference, spread
    found[10], found[11] = energy, entropy
    larger = max(entropy_row, entropy_col)
    found[12] = (entropy - cross) / larger if larger else 0.0
    if n_row == 1 and n_col == 1:
        found[13] = 0.0
    else:  # the entropy of the product of the margins is the sum of theirs; PyRadiomics' EPS is a term of first order
        gain = entropy_row + entropy_col + (n_row + n_col - n_row * n_col) * EPS / _LN2 - entropy
        found[13] = np.sqrt(1 - np.exp(-2 * gain)) if gain > 0 else (0.0 if gain == 0 else np.nan)
    found[14] = idm
    found[15] = _second(
        first, second, share, n, row, col, number, mean_row, n_levels, symmetric, basis, held
    )  # fmt: skip
    found[16], found[17], found[18], found[19] = idmn, near, idn, inverse
    found[20], found[21], found[22], found[23] = most, sum_average, sum_entropy, variance_row
    return True


@compiled
def _second(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    share: NDArray[np.float64],
    n: int,
    row: NDArray[np.float64],
    col: NDArray[np.float64],
    number: NDArray[np.int64],
    mean: float,
    n_levels: int,
    symmetric: bool,
    basis: NDArray[np.float64],
    held: NDArray[np.int64],
) -> float:
    """Second largest singular value of the matrix of counts over the roots of its margins: the maximal correlation.

    PyRadiomics takes the root of the second largest eigenvalue of the product of the matrix's two conditionals [2]_, which is
    similar to the square of that matrix. The largest, 1, belongs to the roots of the margins and is left out; what is then
    largest comes from Lanczos' recurrence with all vectors kept orthogonal.
    """
    # Only the levels that the region has, so that the sums below do not depend on the region's company.
    width = 0
    for i in range(len(row)):
        if row[i] or col[i]:
            held[i] = width
            width += 1
    if width < 2:
        return 0.0
    matrix = np.zeros((width, width))
    for k in range(n):
        # PyRadiomics adds EPS to the products of margins, which shows in the sixth place for levels of very few pairs.
        value = share[k] / np.sqrt(row[first[k]] * col[second[k]] + EPS)
        matrix[held[first[k]], held[second[k]]] = value
        if symmetric:
            matrix[held[second[k]], held[first[k]]] = value
    turned = matrix if symmetric else np.ascontiguousarray(matrix.T)
    top, vector, half, image = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    for i in range(len(row)):
        if row[i]:
            # Nearly linear in the level, as what is looked for often is, and some of everything, rare levels too.
            mixed = (number[i] * 2654435761) & 0xFFFFFFFF
            mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
            noise = (mixed ^ (mixed >> 13)) / 2147483648.0 - 1
            top[held[i]] = np.sqrt(row[i])
            vector[held[i]] = top[held[i]] * (number[i] - mean) / n_levels + 0.1 * noise
    limit = min(width - 1, basis.shape[0] - 1)
    diagonal, beside = np.zeros(limit), np.zeros(limit + 1)
    value = 0.0
    _orthogonal(vector, top, basis, 0)
    size = np.sqrt(np.dot(vector, vector))
    if size < 1e-14:
        return 0.0
    for step in range(limit):
        place = basis[step, :width]
        place[:] = vector / size
        half[:] = 0.0
        image[:] = 0.0
        for i in range(width):  # half = transposed matrix times vector; image = matrix times half
            factor = place[i]
            for j in range(width):
                half[j] += matrix[i, j] * factor
        for i in range(width):
            factor = half[i]
            for j in range(width):
                image[j] += turned[i, j] * factor
        diagonal[step] = np.dot(image, place)
        vector[:] = image
        _orthogonal(vector, top, basis, step + 1)
        size = np.sqrt(np.dot(vector, vector))
        beside[step] = size
        done = size < _SPENT or step == limit - 1
        if done or step % 3 == 2:
            value = _largest(diagonal, beside, step + 1)
            if done or size * _last(diagonal, beside, step + 1, value) < _RESIDUAL * value:
                break
    return float(np.sqrt(max(value, 0.0)))


@compiled
def _orthogonal(vector: NDArray[np.float64], top: NDArray[np.float64], basis: NDArray[np.float64], n: int) -> None:
    """Take from a vector what lies along the top vector and the first n of a basis; twice, for what rounding leaves."""
    for _ in range(2):
        along = np.dot(vector, top)
        for i in range(len(vector)):
            vector[i] -= along * top[i]
        for k in range(n):
            along = np.dot(vector, basis[k, : len(vector)])
            for i in range(len(vector)):
                vector[i] -= along * basis[k, i]


@compiled
def _largest(diagonal: NDArray[np.float64], beside: NDArray[np.float64], n: int) -> float:
    """Largest eigenvalue of a symmetric tridiagonal matrix, by Newton's steps down from a bound above all."""
    value = diagonal[0]
    for i in range(n):
        reach = (beside[i - 1] if i else 0.0) + (beside[i] if i < n - 1 else 0.0)
        value = max(value, diagonal[i] + reach)
    for _ in range(200):
        pivot, slope = diagonal[0] - value, -1.0
        if pivot >= 0.0:
            break
        ratio = slope / pivot
        for i in range(1, n):
            square = beside[i - 1] * beside[i - 1] / pivot
            slope = -1.0 + square * slope / pivot
            pivot = diagonal[i] - value - square
            if pivot >= 0.0:  # rounding: the value is found
                return float(value)
            ratio += slope / pivot
        step = 1.0 / ratio
        value -= step
        if step <= 1e-14 * value:
            break
    return float(value)


@compiled
def _last(diagonal: NDArray[np.float64], beside: NDArray[np.float64], n: int, value: float) -> float:
    """Size of the last part of the unit eigenvector of a tridiagonal matrix that belongs to its largest eigenvalue."""
    here, after, squares = 1.0, 0.0, 1.0
    for i in range(n - 1, 0, -1):
        before = ((value - diagonal[i]) * here - (beside[i] * after if i < n - 1 else 0.0)) / beside[i - 1]
        after, here = here, before
        squares += here * here
    return float(1.0 / np.sqrt(squares))
