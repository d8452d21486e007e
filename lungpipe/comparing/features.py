"""What changed in the features: rows, columns and values, region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.comparing.datasets import paired_datasets
from lungpipe.learn.cohort import KEYS, feature_columns
from lungpipe.learn.icc import icc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.comparing.matching import Matching
    from lungpipe.comparing.workspace import Run

_KEYS, _REGION = list(KEYS), ["dataset", "segmenter", "region", "radius_mm"]


def compare_features(first: Run, second: Run, matching: Matching) -> FeatureChanges | None:
    """Hold two tables of features against each other, row by row under their keys.

    Two values are the same if they are equal to the last bit, or both missing. The relative difference of a and b is
    abs(a - b) / max(abs(a), abs(b)). The intraclass correlation is ICC(2,1), absolute agreement, with the two runs as raters.

    Parameters
    ----------
    first, second : Run
    matching : Matching
        Of their nodules.

    Returns
    -------
    FeatureChanges or None
        None where a run has no table of features.
    """
    if "features" not in first.tables or "features" not in second.tables:
        return None
    mine, its = first.tables["features"], second.tables["features"]
    names = paired_datasets(mine, its)
    own, other = set(feature_columns(mine)), feature_columns(its)
    shared = [name for name in other if name in own]
    one = matching.paired(mine)
    two = matching.renamed(its)
    two = two.assign(dataset=two["dataset"].astype(str).map(names)).dropna(subset=["dataset"])
    both = one[[*_KEYS, "mask_id", *shared]].merge(
        two[[*_KEYS, "mask_id", *shared]], on=_KEYS, suffixes=("_a", "_b"), sort=True
    )
    values = [compared for key, rows in both.groupby(_REGION, sort=True) for compared in _region(key, rows, shared)]
    return FeatureChanges(
        n_rows=(len(mine), len(its)),
        n_shared=len(both),
        n_masks_changed=int((both["mask_id_a"] != both["mask_id_b"]).sum()),
        only_a=_unshared(one, both, first.tables["features"]),
        only_b=_unshared(two, both, second.tables["features"]),
        columns=shared,
        columns_only_a=sorted(own - set(other)),
        columns_only_b=sorted(set(other) - own),
        values=pd.DataFrame(values, columns=COLUMNS),
    )


#: Columns of :attr:`FeatureChanges.values`.
COLUMNS = [*_REGION, "feature", "n", "n_differ", "n_missing", "largest_relative", "icc"]


def _region(key: Any, rows: pd.DataFrame, shared: list[str]) -> list[tuple[Any, ...]]:
    one, other = (_values(rows, shared, side) for side in ("_a", "_b"))
    absent = np.isnan(one), np.isnan(other)
    differ = (one != other) & ~(absent[0] & absent[1])
    relative = relative_difference(one, other)
    correlation = np.full(len(shared), np.nan)
    if changed := np.flatnonzero(differ.any(axis=0)).tolist():
        correlation[changed] = icc(np.stack([one[:, changed].T, other[:, changed].T], axis=2), "ICC(2,1)").value
    return [
        (
            *key,
            feature,
            len(rows),
            int(differ[:, k].sum()),
            int((absent[0] ^ absent[1])[:, k].sum()),
            float(np.nanmax(relative[:, k], initial=0.0)),
            float(correlation[k]),
        )
        for k, feature in enumerate(shared)
    ]


def _values(rows: pd.DataFrame, shared: list[str], side: str) -> NDArray[np.float64]:
    return rows[[f"{name}{side}" for name in shared]].to_numpy(dtype=np.float64, na_value=np.nan)


def relative_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return abs(a - b) / max(abs(a), abs(b)), 0 for equal values, NaN where a value is missing."""
    scale = np.maximum(np.abs(first), np.abs(second))
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second)
    found = np.divide(apart, scale, out=np.where(np.isnan(scale), np.nan, 0.0), where=scale > 0)
    return np.asarray(np.where(first == second, 0.0, found))


def _unshared(rows: pd.DataFrame, both: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of one run that the other lacks, by region; ``of_nodules`` says how many are of nodules of both."""
    counts = every.groupby(["segmenter", "region", "radius_mm"]).size()
    shared = both.groupby(["segmenter", "region", "radius_mm"]).size().reindex(counts.index, fill_value=0)
    paired = rows.groupby(["segmenter", "region", "radius_mm"]).size().reindex(counts.index, fill_value=0)
    table = pd.DataFrame({"n": counts - shared, "of_nodules_in_both": paired - shared}).reset_index()
    return table[table["n"] > 0].reset_index(drop=True)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureChanges:
    """Two tables of features.

    Parameters
    ----------
    n_rows : (int, int)
        In A and in B.
    n_shared, n_masks_changed : int
        Rows with the same keys in both, and those of them whose region has other voxels.
    only_a, only_b : DataFrame
        ``segmenter``, ``region``, ``radius_mm``, ``n`` rows that the other run lacks, and how many of these are of nodules
        that both have.
    columns, columns_only_a, columns_only_b : list of str
        Features of both, and of one only.
    values : DataFrame
        A row a region and feature of both: ``n`` rows compared, ``n_differ``, ``n_missing`` in one run only,
        ``largest_relative`` difference, and ``icc``, which is NaN where nothing differs or nothing varies.
    """

    n_rows: tuple[int, int]
    n_shared: int
    n_masks_changed: int
    only_a: pd.DataFrame
    only_b: pd.DataFrame
    columns: list[str]
    columns_only_a: list[str]
    columns_only_b: list[str]
    values: pd.DataFrame

    @property
    def differ(self) -> pd.DataFrame:
        """Rows of ``values`` with a difference, the largest relative one first."""
        rows = self.values[self.values["n_differ"] > 0]
        return rows.sort_values(["largest_relative", *COLUMNS[:5]], ascending=[False] + 5 * [True], ignore_index=True)

    @property
    def regions(self) -> pd.DataFrame:
        """A row a region: rows, features that differ, and the worst feature by relative difference and by correlation."""
        found = []
        for key, rows in self.values.groupby(_REGION, sort=True):
            changed = rows[rows["n_differ"] > 0]
            row: dict[str, Any] = dict(zip(_REGION, key, strict=True))
            row |= {"n": int(rows["n"].iloc[0]), "n_features": len(rows), "n_features_differ": len(changed)}
            row |= {"worst": "", "largest_relative": 0.0, "lowest_icc": np.nan, "lowest_icc_of": ""}
            if len(changed):
                worst = changed.iloc[int(changed["largest_relative"].to_numpy().argmax())]
                row |= {"worst": worst["feature"], "largest_relative": worst["largest_relative"]}
            if changed["icc"].notna().any():
                lowest = changed.iloc[int(np.nanargmin(changed["icc"].to_numpy()))]
                row |= {"lowest_icc": lowest["icc"], "lowest_icc_of": lowest["feature"]}
            found.append(row)
        return pd.DataFrame(found)

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(
            len(self.only_a)
            or len(self.only_b)
            or self.columns_only_a
            or self.columns_only_b
            or (self.values["n_differ"] > 0).any()
        )
