"""What ComBat's linear model is made of: batches as whole numbers, covariates as columns, and the least-squares fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def batch_codes(batch: ArrayLike, n: int, label: str) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Number the batches of n rows by their names, in the order of the names.

    Raises
    ------
    DatasetError
        If the column is of another length, has gaps, or is the label.
    """
    if getattr(batch, "name", None) == label:
        raise DatasetError(f"the batch is the label {label!r}; give the scanner, kernel or site of each row")
    column = np.asarray(batch, dtype=object)
    if column.shape != (n,):
        raise DatasetError(f"there must be a batch for each of {n} rows; the shape of batch is {column.shape}")
    if missing := int(pd.isna(column).sum()):
        raise DatasetError(f"{missing} of {n} rows have no batch; fill the column or leave them out")
    names, codes = np.unique(column.astype(str), return_inverse=True)
    return codes, tuple(names.tolist())


@dataclass(frozen=True, eq=False, slots=True)
class Covariates:
    """How a table of covariates becomes columns of numbers; learned from training rows.

    Parameters
    ----------
    numbers : mapping
        Mean and standard deviation of each numeric covariate, by its name.
    categories : mapping
        Values of each other covariate; the first is the base that the rest differ from.
    """

    numbers: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def learned(cls, table: pd.DataFrame | None, n: int, label: str) -> Covariates:
        """Learn the columns of a table of n rows.

        Raises
        ------
        DatasetError
            If it has no names, gaps, another number of rows, or holds the label.
        """
        numbers, categories = {}, {}
        for name, column in _columns(table, n).items():
            if name == label:
                raise DatasetError(
                    f"the covariate {name!r} is the label; harmonisation that sees it makes the classes differ. Take it out"
                )
            if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
                values = column.to_numpy(dtype=np.float64)
                numbers[name] = float(values.mean()), float(values.std()) or 1.0
            else:
                categories[name] = tuple(sorted(set(column.astype(str))))
        return cls(numbers, categories)

    def __call__(self, table: pd.DataFrame | None, n: int) -> Floats:
        """Columns of n rows, shape (n, c).

        Raises
        ------
        DatasetError
            If covariates or categories are not those that were learned.
        """
        columns = _columns(table, n)
        if set(columns) != {*self.numbers, *self.categories}:
            raise DatasetError(
                f"ComBat was fitted with the covariates {', '.join([*self.numbers, *self.categories]) or 'none'}; found "
                f"{', '.join(columns) or 'none'}"
            )
        made = [(columns[name].to_numpy(dtype=np.float64) - mean) / sd for name, (mean, sd) in self.numbers.items()]
        for name, known in self.categories.items():
            column = columns[name].astype(str).to_numpy()
            if other := sorted(set(column) - set(known)):
                raise DatasetError(
                    f"covariate {name!r}: {', '.join(other)} was not among the training rows, which have {', '.join(known)}"
                )
            made += [(column == value).astype(np.float64) for value in known[1:]]
        return np.stack(made, axis=1) if made else np.zeros((n, 0))


def _columns(table: pd.DataFrame | None, n: int) -> dict[str, pd.Series]:
    if table is None:
        return {}
    if not isinstance(table, pd.DataFrame):
        raise DatasetError("covariates must be a DataFrame, so that they have names and the label is told from them")
    if len(table) != n:
        raise DatasetError(f"there must be covariates for each of {n} rows, found {len(table)} rows")
    if gaps := [f"{name} ({count})" for name, count in table.isna().sum().items() if count]:
        raise DatasetError(f"covariates have gaps: {', '.join(gaps)}; fill them or leave the rows out")
    return {str(name): table[name] for name in table.columns}


def means_and_effects(
    values: Floats, present: NDArray[np.bool_], codes: NDArray[np.intp], n_batches: int, extra: Floats
) -> tuple[Floats, Floats]:
    """Least squares of every feature on batches and covariates, over the rows that have it.

    Parameters
    ----------
    values : NDArray of float, shape (n, p)
    present : NDArray of bool, shape (n, p)
    codes : NDArray of int, shape (n,)
    n_batches : int
    extra : NDArray of float, shape (n, c)

    Returns
    -------
    means : NDArray of float, shape (n_batches, p)
        Of each batch where the columns of covariates are 0; NaN where it has no value.
    effects : NDArray of float, shape (c, p)

    Raises
    ------
    DatasetError
        If covariates cannot be told from batches, or a feature has too few values.
    """
    design = np.hstack([np.eye(n_batches)[codes], extra])
    means = np.full((n_batches, values.shape[1]), np.nan)
    effects = np.zeros((extra.shape[1], values.shape[1]))
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for k, rows in enumerate(patterns.T):
        columns = np.flatnonzero(which == k)
        if not rows.any():
            continue
        held = np.concatenate([np.bincount(codes[rows], minlength=n_batches) > 0, np.ones(extra.shape[1], np.bool_)])
        mine = design[rows][:, held]
        if np.linalg.matrix_rank(mine) < mine.shape[1]:
            if rows.all():
                raise DatasetError(
                    "batches and covariates cannot be told apart: one follows from the others (each site has one sex, say). "
                    "Leave out a covariate, or join batches"
                )
            raise DatasetError(
                f"{len(columns)} features have too few values ({int(rows.sum())} of {len(rows)} rows) to tell batches from "
                "covariates; impute them or leave these features out before ComBat"
            )
        found = np.linalg.lstsq(mine, values[np.ix_(rows, columns)], rcond=None)[0]
        whole = np.full((design.shape[1], len(columns)), np.nan)
        whole[held] = found
        means[:, columns], effects[:, columns] = whole[:n_batches], whole[n_batches:]
    return means, effects
