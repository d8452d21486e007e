"""How far the nodules of a ladder are from known ones: those of another cohort, or the uncorrupted of other patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lungpipe.deep.shift import fit_reference
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lungpipe.deep.shift import Reference

#: Parts into which patients are dealt; each is measured against the others.
PARTS = 5


def distances(
    features: ArrayLike,
    as_it_is: ArrayLike,
    patients: ArrayLike,
    reference: Reference | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both distances of :mod:`lungpipe.deep.shift` for every row.

    Without a reference, patients are dealt into :data:`PARTS`, and the rows of each part are measured against the uncorrupted
    nodules of the others: no nodule is measured against itself, on whatever severity.

    Parameters
    ----------
    features : array_like of float, shape (n, d)
    as_it_is : array_like of bool, shape (n,)
        Whether a row's image is not corrupted.
    patients : array_like, shape (n,)
        In an order that does not depend on names: they are dealt as they first come.
    reference : Reference, optional
    seed : int
        Of the deal and of k-means.

    Returns
    -------
    mahalanobis, prototype_distance : ndarray of float64, shape (n,)

    Raises
    ------
    DatasetError
        If there are too few patients or nodules to measure against.
    """
    values, clean = np.asarray(features, dtype=np.float64), np.asarray(as_it_is, dtype=np.bool_)
    if reference is not None:
        return reference.mahalanobis(values), reference.prototype_distance(values)
    codes = pd.factorize(np.asarray(patients))[0]
    count = int(codes.max()) + 1
    if count < 2:
        raise DatasetError(
            "distances need nodules of two patients or more, each measured against the others' (found one); or give a reference"
        )
    parts = min(PARTS, count)
    part_of = np.random.default_rng(seed).permutation(np.arange(count) % parts)[codes]
    found = np.empty((2, len(values)))
    for part in range(parts):
        here = part_of == part
        known = fit_reference(values[clean & ~here], seed=seed)
        found[:, here] = known.mahalanobis(values[here]), known.prototype_distance(values[here])
    return found[0], found[1]
