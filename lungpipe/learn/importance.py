"""How much a fitted model loses when features are shuffled among the rows that test it, alone and by cluster.

References
----------
.. [1] Breiman, Random forests, Machine Learning 45, 2001: importance by permutation.
.. [2] Strobl, Boulesteix, Kneib, Augustin and Zeileis, Conditional variable importance for random forests, BMC Bioinformatics
   9:307, 2008: features that go together share it.
.. [3] Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003: the corrected variance of figures
   whose training sets overlap; Bouckaert and Frank, PAKDD 2004, for repeated cross-validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata, t

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: Height at which the tree of features is cut: 1 - |Spearman's rho|, mean over the pairs of two clusters.
CUT = 0.3
#: Rows to predict for one set of features, and between how many permutations they may come from.
_ROWS, _FEWEST, _MOST = 600, 5, 30
#: Cells of a table that is predicted at once.
_CELLS = 4_000_000
#: Digits of a probability that count, so that equal rows tie whatever block they stand in.
_DIGITS = 12


def feature_clusters(features: ArrayLike, cut: float = CUT) -> Clusters:
    """Group features that go together: average linkage of 1 - |Spearman's rho|, cut at a height.

    Labels play no part. A column that does not vary goes with no other.

    Parameters
    ----------
    features : array_like of float, shape (n, p)
        What is not finite counts as the median of its column.
    cut : float
        Within [0, 1]: 0 joins only features of the same order, 1 all.

    Returns
    -------
    Clusters
        Numbered from 1 in the order of their first members.

    Raises
    ------
    DatasetError
        If there is no column or the height makes no sense.
    """
    table = np.array(features, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1] or not 0 <= cut <= 1:
        raise DatasetError(
            f"Clusters need columns and a height within [0, 1]; found shape {table.shape}, height {cut}."
        )
    together = _rank_correlations(table)
    n = len(together)
    if n == 1:
        found = np.ones(1, dtype=np.intp)
    else:
        apart = squareform(np.clip(1 - together, 0, None), checks=False)
        found = fcluster(linkage(apart, "average"), cut, "distance").astype(np.intp)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.intp)
    number[np.argsort(first)] = np.arange(1, len(first) + 1)
    of = number[inverse]
    near = np.array([together[k, of == of[k]].mean() for k in range(n)])
    return Clusters(of, np.array([int(np.argmax(np.where(of == k, near, -1.0))) for k in of], dtype=np.intp))


def _rank_correlations(table: Floats) -> Floats:
    """Absolute values of Spearman's rho, shape (p, p); 0 with a column that does not vary."""
    known = np.isfinite(table)
    for k in np.flatnonzero(~known.all(axis=0)):
        table[:, k] = np.where(known[:, k], table[:, k], np.median(table[known[:, k], k]) if known[:, k].any() else 0.0)
    ranks = rankdata(table, axis=0)
    ranks = ranks - ranks.mean(axis=0)
    size = np.linalg.norm(ranks, axis=0)
    ranks = ranks / np.where(size > 0, size, 1)
    found = np.abs(ranks.T @ ranks)
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def permutations(n: int, seed: Sequence[int]) -> Ints:
    """Draw orders of test rows, more of them where rows are few.

    Parameters
    ----------
    n : int
        Test rows.
    seed : sequence of int

    Returns
    -------
    ndarray of int, shape (n_permutations, n)
    """
    times = int(np.clip(-(-_ROWS // max(n, 1)), _FEWEST, _MOST))
    rows = np.broadcast_to(np.arange(n, dtype=np.intp), (times, n))
    return np.random.default_rng(tuple(seed)).permuted(rows, axis=1)


def pairs_lost(
    predict: Callable[[Floats], Any],
    inputs: Floats,
    labels: NDArray[np.int64],
    sets: Sequence[Ints],
    orders: Ints,
) -> PairsLost:
    """Count the malignant-benign pairs that a model no longer orders rightly when columns are shuffled.

    Parameters
    ----------
    predict : callable
        From rows (m, q) to probabilities of both classes (m, 2).
    inputs : ndarray of float, shape (n, q)
        Test rows of one fold.
    labels : ndarray of int, shape (n,)
        1 malignant, 0 benign.
    sets : sequence of ndarray of int
        Columns that are shuffled together; a set without columns loses nothing.
    orders : ndarray of int, shape (n_permutations, n)
        The same for every set, so that what one loses does not depend on which others are asked for.

    Returns
    -------
    PairsLost
    """
    n, q = inputs.shape
    malignant = int((labels == 1).sum())
    pairs = malignant * (n - malignant)
    lost = np.zeros((len(sets), len(orders)))
    if not pairs:
        return PairsLost(0, 0.0, lost)
    whole = float(_right_pairs(np.asarray(predict(inputs))[None, :, 1], labels)[0])
    open_sets = [k for k, columns in enumerate(sets) if len(columns)]
    at_once = max(1, _CELLS // (len(orders) * n * q))
    for start in range(0, len(open_sets), at_once):
        some = open_sets[start : start + at_once]
        block = np.broadcast_to(inputs, (len(some), len(orders), n, q)).copy()
        for position, k in enumerate(some):
            block[position][:, :, sets[k]] = inputs[:, sets[k]][orders]
        p = np.asarray(predict(block.reshape(-1, q)))[:, 1].reshape(-1, n)
        lost[some] = whole - _right_pairs(p, labels).reshape(len(some), len(orders))
    return PairsLost(pairs, whole, lost)


def _right_pairs(p: Floats, labels: NDArray[np.int64]) -> Floats:
    """Mann-Whitney U of each row of p, ties a half."""
    malignant = labels == 1
    ranks = rankdata(np.round(p, _DIGITS), axis=1)
    m = int(malignant.sum())
    return np.asarray(ranks[:, malignant].sum(axis=1) - m * (m + 1) / 2)


def mean_drop(lost: ArrayLike, pairs: ArrayLike, test_to_train: float, level: float = 0.95) -> Drop:
    """Average the drop in AUC over folds, each weighing its pairs, with an interval for models whose training rows overlap.

    The variance of the mean over J folds is (1/J + test/train) times that of the folds [3]_, 1/J being the sum of the squared
    weights; limits are Student's with J - 1 degrees of freedom. Folds without pairs have no part. With one fold there is no
    interval.

    Parameters
    ----------
    lost : array_like of float, shape (n_folds,)
        Pairs lost, mean over permutations.
    pairs : array_like of float, shape (n_folds,)
        Pairs of each fold.
    test_to_train : float
        Test rows over training rows, mean over folds.
    level : float
        Confidence level.

    Returns
    -------
    Drop
        NaN without any pair.
    """
    total, weight = np.asarray(lost, dtype=np.float64), np.asarray(pairs, dtype=np.float64)
    used = weight > 0
    total, weight = total[used], weight[used]
    if not len(weight):
        return Drop(np.nan, np.nan, np.nan)
    drop, share = total / weight, weight / weight.sum()
    mean = float(share @ drop)
    if len(drop) < 2:
        return Drop(mean, np.nan, np.nan)
    squares = float((share**2).sum())
    variance = float(share @ (drop - mean) ** 2) / (1 - squares)
    half = float(t.ppf((1 + level) / 2, len(drop) - 1) * np.sqrt((squares + test_to_train) * variance))
    return Drop(mean, mean - half, mean + half)


class Clusters(NamedTuple):
    """Number of each feature's cluster from 1, and the feature that stands for it: nearest to the others, shape (p,) both."""

    of: NDArray[np.intp]
    centre: NDArray[np.intp]


class PairsLost(NamedTuple):
    """Pairs of a fold, those ordered rightly, and how many fewer there are for each set and permutation."""

    pairs: int
    right: float
    lost: NDArray[np.float64]


class Drop(NamedTuple):
    """Mean drop in AUC and its limits."""

    mean: float
    low: float
    high: float
