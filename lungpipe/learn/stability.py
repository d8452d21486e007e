"""Which features say more of the nodule than of how it was scanned and outlined: correlations by feature, and a selector.

References
----------
.. [1] Koo and Li, A guideline of selecting and reporting intraclass correlation coefficients for reliability research,
   Journal of Chiropractic Medicine 15(2), 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.validation import check_is_fitted

from lungpipe.errors import DatasetError
from lungpipe.learn.cohort import IDENTITY, KEYS, MEASURES
from lungpipe.learn.icc import KINDS, Kind, icc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: A correlation from here is good [1]_; a feature is stable where the lower limit of its interval is.
GOOD = 0.75
#: Column that tells the copies of a nodule apart, and that of their overlap with the outline as it is.
PERTURBATION, DICE = "perturbation", "dice"
#: Columns of a stability source that are no features.
NOT_FEATURES = frozenset({*KEYS, *MEASURES, "study_uid", PERTURBATION, DICE})

Outside = Literal["refuse", "drop"]


def stability_table(
    source: pd.DataFrame,
    kinds: Sequence[Kind] = KINDS,
    *,
    threshold: float = GOOD,
    confidence: float = 0.95,
    features: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Correlate each feature over copies of the same nodules.

    Parameters
    ----------
    source : DataFrame
        One row a nodule and copy: the nodule's keys (those of ``patient_id``, ``series_uid``, ``nodule_id`` that are there),
        ``perturbation``, and the features.
    kinds : sequence of {"ICC(2,1)", "ICC(3,1)"}
    threshold : float
        Least lower limit of a stable feature.
    confidence : float
        Of the interval.
    features : sequence of str, optional
        Columns wanted; by default every numeric column that is neither key nor measure.

    Returns
    -------
    DataFrame
        Columns feature, kind, icc, low, high, n_nodules (with a value of every copy), n_dropped (without), n_perturbations,
        stable, reason (why there is no correlation, else empty); in the order of features and kinds.

    Raises
    ------
    DatasetError
        If a column is missing, or a nodule has two rows for one copy.
    """
    names = list(features) if features is not None else feature_names(source)
    values, n_copies = _cube(source, names)
    parts = []
    for kind in kinds:
        found = icc(values, kind, confidence)
        low = np.asarray(found.low, dtype=np.float64)
        parts.append(
            pd.DataFrame(
                {
                    "feature": names,
                    "kind": kind,
                    "icc": found.value,
                    "low": low,
                    "high": found.high,
                    "n_nodules": found.n,
                    "n_dropped": found.n_dropped,
                    "n_perturbations": n_copies,
                    "stable": np.nan_to_num(low, nan=-1.0) >= threshold,
                    "reason": found.reason.astype(str),
                }
            )
        )
    order = np.arange(len(names) * len(kinds)).reshape(len(kinds), len(names)).T.ravel()
    return pd.concat(parts, ignore_index=True).iloc[order].reset_index(drop=True)


def feature_names(source: pd.DataFrame) -> list[str]:
    """Numeric columns of a stability source that are features, in their order.

    Raises
    ------
    DatasetError
        If there are none.
    """
    names = [str(name) for name in source.select_dtypes("number").columns if name not in NOT_FEATURES]
    if not names:
        raise DatasetError("the stability source has no numeric feature columns")
    return names


def _cube(source: pd.DataFrame, names: Sequence[str]) -> tuple[NDArray[np.float64], int]:
    """Values of shape (n_features, n_nodules, n_copies), in the order of keys and copies."""
    keys = [name for name in ("dataset", *IDENTITY) if name in source]
    lacking = [name for name in ("nodule_id", PERTURBATION, *names) if name not in source]
    if lacking:
        raise DatasetError(
            f"the stability source lacks {', '.join(lacking[:5])}; it needs a row a nodule and copy, with nodule_id, "
            f"{PERTURBATION} and the features"
        )
    twice = source.duplicated([*keys, PERTURBATION])
    if twice.any():
        raise DatasetError(f"{int(twice.sum())} rows of the stability source repeat a nodule and {PERTURBATION}")
    wide = source.set_index([*keys, PERTURBATION])[list(names)].astype(np.float64).unstack(PERTURBATION)
    n_copies = wide.columns.get_level_values(1).nunique()
    cube = wide.to_numpy(dtype=np.float64, na_value=np.nan).reshape(len(wide), len(names), n_copies)
    return cube.transpose(1, 0, 2), n_copies


class StableFeatures(SelectorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Keeps the features that are stable over copies of the training nodules, as a scikit-learn selector.

    The flags are computed by ``fit``, from rows of the source whose patients are among the training rows. So a selector that
    is fitted in each fold learns nothing of the patients it is tested on.

    Parameters
    ----------
    source : DataFrame
        As for :func:`stability_table`, with the column ``group``.
    features : sequence of str, optional
        Names of the columns that ``fit`` gets, in order; needed where it gets an array.
    group : str
        Column of the source that no fold splits.
    outside : {"refuse", "drop"}
        What becomes of rows of the source whose patient is not among the training rows.
    kind : {"ICC(2,1)", "ICC(3,1)"}
    threshold : float
        Least lower limit of a stable feature.

    Attributes
    ----------
    table_ : DataFrame
        :func:`stability_table` of the training nodules.
    n_outside_ : int
        Rows of the source that were left out.
    """

    def __init__(
        self,
        source: pd.DataFrame,
        features: Sequence[str] | None = None,
        *,
        group: str = "patient_id",
        outside: Outside = "refuse",
        kind: Kind = "ICC(2,1)",
        threshold: float = GOOD,
    ) -> None:
        self.source = source
        self.features = features
        self.group = group
        self.outside = outside
        self.kind = kind
        self.threshold = threshold

    def fit(
        self,
        X: ArrayLike | pd.DataFrame,  # noqa: N803  # scikit-learn's name
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Compute the flags of the columns of X.

        Parameters
        ----------
        X : array_like or DataFrame, shape (n, p)
            Training rows; their values do not count.
        y : object
            Does not count.
        groups : array_like, shape (n,)
            Patient of each training row.

        Raises
        ------
        DatasetError
            If it is not told whose rows these are, the source holds other patients and ``outside`` is ``"refuse"``, none of
            it is left, a column is not in it, or no feature is stable.
        """
        del y
        names = self._names(X)
        if self.outside not in get_args(Outside):
            raise DatasetError(f"outside = {self.outside!r}: there are {', '.join(get_args(Outside))}")
        if groups is None:
            raise DatasetError(
                "StableFeatures.fit needs groups=, the patients of the training rows: without them it cannot tell whether the "
                "stability source holds patients that the model is tested on"
            )
        patients = set(np.asarray(groups, dtype=object).astype(str).tolist())
        if self.group not in self.source:
            raise DatasetError(f"the stability source has no column {self.group!r}, so no fold can be kept out of it")
        inside = self.source[self.group].astype(str).isin(patients)
        self.n_outside_ = int((~inside).sum())
        if self.n_outside_ and self.outside == "refuse":
            n = self.source.loc[~inside, self.group].nunique()
            raise DatasetError(
                f"the stability source holds {self.n_outside_} rows of {n} patients who are not among the training rows; a flag "
                'learned from them leaks. Leave them out, or say outside="drop"'
            )
        if not inside.any():
            raise DatasetError(
                "the stability source holds none of the training patients, so no feature can be called stable"
            )
        self.table_ = stability_table(self.source[inside], (self.kind,), threshold=self.threshold, features=names)
        self.n_features_in_ = len(names)
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(names, dtype=object)
        if not self.table_["stable"].any():
            best = self.table_["low"].max()
            raise DatasetError(
                f"no feature is stable: the highest lower limit of {self.kind} is {best:.2f}, the threshold {self.threshold:g}, "
                f"over {int(self.table_['n_nodules'].max())} nodules. Add nodules, perturb less, or lower the threshold"
            )
        return self

    def _names(self, X: ArrayLike | pd.DataFrame) -> list[str]:  # noqa: N803  # scikit-learn's name
        found = [str(name) for name in X.columns] if isinstance(X, pd.DataFrame) else None
        given = list(self.features) if self.features is not None else None
        if given is None and found is None:
            raise DatasetError("StableFeatures needs the names of the columns: give features=, or a DataFrame")
        if given is not None and found is not None and given != found:
            raise DatasetError("the columns of the table are not those that StableFeatures was told of")
        names = given if given is not None else found or []
        if np.shape(X)[1] != len(names):
            raise DatasetError(f"StableFeatures knows {len(names)} columns, found {np.shape(X)[1]}")
        return names

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self, "table_")
        return self.table_["stable"].to_numpy(dtype=np.bool_)
