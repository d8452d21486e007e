"""The honest figure: every choice, of segmenter and radius and classifier, made without the test patients."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lungpipe.errors import DatasetError
from lungpipe.learn.evaluate import ConfigurationResult
from lungpipe.learn.folds import Fold

Key = TypeVar("Key", bound=Hashable)


def choose_inside(results: Mapping[Key, ConfigurationResult], folds: Sequence[Fold]) -> InsideChoice[Key]:
    """In each outer fold, predict with the configuration that its training patients prefer.

    The configuration with the highest inner AUC, the first of equals in the mapping's order, predicts the fold's test
    rows. A row that it lacks takes the prediction of the next best that has it. So the test patients have no part in
    any choice (nested selection: Varma and Simon (2006), BMC Bioinformatics 7:91).

    Parameters
    ----------
    results : mapping of key to ConfigurationResult
        All evaluated on these folds.
    folds : sequence of Fold
        The outer folds, in the order of the results' inner AUCs.

    Returns
    -------
    InsideChoice
        Predictions, the key chosen in each fold and its inner AUC there.

    Raises
    ------
    DatasetError
        If there are no results, or they do not fit the folds.
    """
    if not results:
        raise DatasetError("No configuration was evaluated, so none can be chosen.")
    keys = list(results)
    if any(len(result.inner_auc) != len(folds) for result in results.values()):
        raise DatasetError(f"The results were not made with these {len(folds)} folds.")
    inner = np.stack([results[key].inner_auc for key in keys])
    everything = np.stack([results[key].p for key in keys])
    p = np.full(everything.shape[1:], np.nan)
    chosen: list[Key | None] = []
    for position, fold in enumerate(folds):
        order = np.argsort(-np.nan_to_num(inner[:, position], nan=-1.0), kind="stable")
        for row in order:
            open_rows = fold.test[np.isnan(p[fold.repeat, fold.test])]
            p[fold.repeat, open_rows] = everything[row, fold.repeat, open_rows]
        chosen.append(keys[order[0]] if np.isfinite(inner[order[0], position]) else None)
    best = np.where(np.isnan(inner).all(axis=0), np.nan, np.nan_to_num(inner, nan=-1.0).max(axis=0))
    return InsideChoice(p=p, keys=tuple(chosen), inner_auc=best)


@dataclass(frozen=True, slots=True, eq=False)
class InsideChoice(Generic[Key]):
    """Predictions whose configuration was chosen inside the training folds.

    Parameters
    ----------
    p : NDArray of float, shape (n_repeats, n)
        NaN where no configuration has the row.
    keys : tuple, length n_folds
        The configuration chosen in each outer fold; None where no configuration had an inner AUC.
    inner_auc : NDArray of float, shape (n_folds,)
        Its inner AUC; optimistic, as it was chosen for it.
    """

    p: NDArray[np.float64]
    keys: tuple[Key | None, ...]
    inner_auc: NDArray[np.float64]
