"""Baselines of what is known without features: clinical columns, and radiologists' ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lungpipe.clinical import RATING, column_name
from lungpipe.errors import DatasetError
from lungpipe.learn.cohort import IDENTITY
from lungpipe.learn.models import STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.learn.cohort import Cohort

    Floats = NDArray[np.float64]

#: Values of C, the inverse of the penalty, that inner folds choose from.
STRENGTHS = (0.01, 0.1, 1.0)


def clinical_rows(nodules: pd.DataFrame, cohort: Cohort, names: Sequence[str]) -> pd.DataFrame:
    """Lay out clinical columns beside a cohort.

    Parameters
    ----------
    nodules : DataFrame
        With the columns of ``nodules.parquet``; of a nodule's rows, one a segmenter, the first counts.
    cohort : Cohort
        The rows wanted.
    names : sequence of str
        As the recipe has them.

    Raises
    ------
    DatasetError
        If the table lacks a column.
    """
    columns = [column_name(name) for name in names]
    if missing := [name for name in columns if name not in nodules]:
        raise DatasetError(
            f"the table of nodules of {cohort.dataset!r} lacks {', '.join(missing)}; name the columns under "
            "benchmark.clinical in the recipe that wrote it"
        )
    return _beside(nodules, cohort, columns)


def rating_rows(nodules: pd.DataFrame, cohort: Cohort, columns: Sequence[str]) -> Floats:
    """Lay out ratings beside a cohort, shape (n, p); NaN where a table has no such column."""
    return _beside(nodules, cohort, columns).to_numpy(dtype=np.float64, na_value=np.nan)


def rating_columns(nodules: pd.DataFrame) -> list[str]:
    """Columns of ratings that have a value, in the order of the table."""
    return [str(name) for name in nodules if str(name).startswith(RATING) and nodules[name].notna().any()]


def _beside(nodules: pd.DataFrame, cohort: Cohort, columns: Sequence[str]) -> pd.DataFrame:
    identity = [name for name in IDENTITY if name in cohort.identity and name in nodules]
    once = nodules.drop_duplicates(identity).set_index(identity).reindex(columns=list(columns))
    keys = pd.MultiIndex.from_frame(cohort.identity[identity])
    if len(identity) == 1:
        return once.reindex(keys.get_level_values(0)).reset_index(drop=True)
    return once.reindex(keys).reset_index(drop=True)


def encoded(frames: Sequence[pd.DataFrame]) -> tuple[Floats, tuple[bool, ...]]:
    """Write clinical columns of several cohorts as numbers, a category as its place among all of them in order.

    The place means nothing: the classifier takes it apart again, by the categories of its training rows.

    Parameters
    ----------
    frames : sequence of DataFrame
        Of :func:`clinical_rows`, with the same columns.

    Returns
    -------
    matrix : ndarray, shape (n, p)
        Rows of all frames, one after another; NaN where missing.
    categories : tuple of bool
        Which of the p columns are categories.

    Raises
    ------
    DatasetError
        If a column is of numbers in one frame and of text in another.
    """
    columns, kinds = [], []
    for name in frames[0].columns:
        kind = {pd.api.types.is_numeric_dtype(frame[name]) for frame in frames if frame[name].notna().any()}
        if len(kind) > 1:
            raise DatasetError(f"{name} holds numbers in one workspace and text in another; give both the same values")
        values = pd.concat([frame[name].astype(object) for frame in frames], ignore_index=True).replace("", None)
        if kind == {True}:
            columns.append(pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            places = pd.factorize(values, sort=True)[0].astype(np.float64)
            columns.append(np.where(places < 0, np.nan, places))
        kinds.append(kind != {True})
    return np.column_stack(columns), tuple(kinds)


@dataclass(frozen=True, slots=True)
class ClinicalLogistic:
    """Logistic regression on numbers and categories; what is missing is imputed from training rows.

    Numbers get the median, categories the most frequent one, and are then parted into a column each (one-hot). A category
    that no training row has is none of them.

    Parameters
    ----------
    categories : tuple of bool
        Which columns are categories.
    strengths : tuple of float
        Values of C, the inverse of the L2 penalty, to try.
    """

    name: ClassVar[str] = "logistic"
    version: ClassVar[str] = "1"
    categories: tuple[bool, ...] = ()
    strengths: tuple[float, ...] = STRENGTHS

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline; the solver draws nothing, so the seed does not matter."""
        parted = [k for k, category in enumerate(self.categories) if category]
        numbers = [k for k, category in enumerate(self.categories) if not category]
        levels = Pipeline(
            [
                ("impute", SimpleImputer(strategy="most_frequent", keep_empty_features=True)),
                ("part", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
            ]
        )
        encode = ColumnTransformer(
            [
                ("numbers", SimpleImputer(strategy="median", keep_empty_features=True), numbers),
                ("levels", levels, parted),
            ]
        )
        return Pipeline(
            [
                ("encode", encode),
                ("vary", VarianceThreshold()),
                ("scale", StandardScaler()),
                (STEP, LogisticRegression(class_weight="balanced", max_iter=2000, random_state=seed)),
            ]
        )

    def grid(self) -> dict[str, list[Any]]:
        """Return the values of C."""
        return {f"{STEP}__C": list(self.strengths)}
