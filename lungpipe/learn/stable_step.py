"""Features that stand up to another look at the training patients' nodules, as a step of a benchmark's pipeline."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from lungpipe.errors import DatasetError
from lungpipe.learn.stability import GOOD, PERTURBATION, StableFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Features of copies of the cohort's nodules.

    Parameters
    ----------
    table : DataFrame
        A row a nodule and copy, with ``patient`` (number of the patient among the rows of a matrix) in place of identifiers.
    min_icc : float
        Least lower limit of ICC(2,1) of a feature that is kept.
    """

    table: pd.DataFrame
    min_icc: float = GOOD

    @property
    def digest(self) -> str:
        """SHA-256 of the table and the limit."""
        text = self.table.to_csv(index=False, float_format="%.17g")
        return hashlib.sha256(f"{self.min_icc!r}\n{text}".encode()).hexdigest()

    def __deepcopy__(self, memo: dict[int, Any]) -> Copies:
        """Return itself: nothing changes it, and scikit-learn copies parameters before each fit."""
        del memo
        return self


def read_copies(path: Path) -> pd.DataFrame:
    """Read the copies' features that ``lungpipe stability --copies`` wrote.

    Raises
    ------
    DatasetError
        If the file is not there, is no such table, or has no patients.
    """
    try:
        content = path.read_bytes()
        reader = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
        table = reader(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"benchmark.stability: {path.name} cannot be read ({type(error).__name__}); write it by "
            "lungpipe stability WORKSPACE --out FLAGS.csv --copies COPIES.parquet"
        ) from error
    missing = [name for name in ("patient_id", "nodule_id", PERTURBATION) if name not in table]
    if missing:
        raise DatasetError(
            f"benchmark.stability: {path.name} lacks {', '.join(missing)}; it must be what lungpipe stability wrote by --copies, a row "
            "a nodule and copy (the table of --out holds flags learned from all patients, which would leak)"
        )
    return table


def copies_of(table: pd.DataFrame, columns: Sequence[str], patients: Sequence[str], min_icc: float) -> Copies:
    """Take the copies of a cohort's patients, for the columns that a configuration has.

    Parameters
    ----------
    table : DataFrame
        Of :func:`read_copies`.
    columns : sequence of str
        Features of the configuration, in order.
    patients : sequence of str
        Pseudonym of the patient of each row of the matrix; the number of a patient is its place among the distinct ones.
    min_icc : float

    Raises
    ------
    DatasetError
        If the copies lack a column, or none of the patients is among them.
    """
    if missing := [name for name in columns if name not in table]:
        raise DatasetError(
            f"benchmark.stability: the copies lack {len(missing)} of {len(columns)} features, the first {missing[0]}; make them from a "
            "workspace with the same [features]"
        )
    number = {name: k for k, name in enumerate(dict.fromkeys(patients))}
    known = table[table["patient_id"].isin(number)]
    if known.empty:
        raise DatasetError(
            "benchmark.stability: none of the copies is of a patient of this cohort; make them from this workspace, or from one "
            "under the same pseudonym key"
        )
    own = known[["nodule_id", PERTURBATION, *columns]].assign(patient=known["patient_id"].map(number).astype(str))
    return Copies(own.sort_values(["patient", "nodule_id", PERTURBATION], ignore_index=True), min_icc)


class KeepStable(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Keeps the features that are stable over copies of the training patients' nodules, and takes the first column away.

    That column is the number of each row's patient: it tells ``fit`` whose copies it may look at.

    Parameters
    ----------
    copies : Copies
    columns : tuple of str
        Names of the features.
    before : int
        Columns between the patient and the features, which are kept: the batch, for a step that harmonises.
    """

    def __init__(self, copies: Copies, columns: tuple[str, ...], before: int = 0) -> None:
        self.copies = copies
        self.columns = columns
        self.before = before

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  # scikit-learn's names
        """Learn which features are stable; the labels and the values of the rows play no part.

        Raises
        ------
        DatasetError
            If no training patient has copies, or no feature is stable.
        """
        del y
        table = np.asarray(X, dtype=np.float64)
        patients = table[:, 0].astype(np.int64).astype(str)
        # The columns' values do not count, so the selector is asked with none.
        chosen = StableFeatures(
            self.copies.table, self.columns, group="patient", outside="drop", threshold=self.copies.min_icc
        ).fit(np.zeros((len(table), len(self.columns))), groups=patients)
        self.kept_ = np.concatenate([np.ones(self.before, dtype=np.bool_), chosen.get_support()])
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Keep the stable features."""
        return np.asarray(X, dtype=np.float64)[:, 1:][:, self.kept_]
