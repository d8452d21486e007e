"""Directions of texture matrices, and how the features of slices and directions become one value."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.catalogue import Aggregation


def directions(*, by_slice: bool) -> NDArray[np.int64]:
    """One of each pair of opposite steps (z, y, x) to a neighbour: 4 within a slice, 13 in space; shape (n, 3)."""
    steps = [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
    return np.array([step for step in steps if not (by_slice and step[0])], dtype=np.int64)


def merged(matrices: NDArray[np.int64], aggregation: Aggregation) -> NDArray[np.int64]:
    """Add up the matrices that an aggregation merges.

    Parameters
    ----------
    matrices : ndarray, shape (directions, slices, ...)
        Counts; one slice where the region is taken as a whole.
    aggregation : Aggregation

    Returns
    -------
    ndarray, shape (n, ...)
        The matrices whose features are to be averaged.
    """
    if aggregation.merge_slices:
        matrices = matrices.sum(axis=1, keepdims=True)
    if aggregation.merge_directions:
        matrices = matrices.sum(axis=0, keepdims=True)
    return matrices.reshape(-1, *matrices.shape[2:])


def average(features: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average each feature over the matrices in which it is defined; NaN where it is in none.

    A slice of one voxel has no pair of neighbours, and a slice of one grey level no correlation. The manual does not say what
    becomes of them; here they have no part in the average.
    """
    found = {}
    for name in features[0]:
        values = [one[name] for one in features if not np.isnan(one[name])]
        found[name] = float(np.mean(values)) if values else float("nan")
    return found
