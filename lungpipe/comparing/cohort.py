"""What changed in the cohort: nodules, labels, masks, series, and what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from lungpipe.learn.cohort import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.comparing.matching import Matching
    from lungpipe.comparing.workspace import Run

_KEYS = list(IDENTITY)


def compare_cohorts(first: Run, second: Run, matching: Matching) -> CohortChanges:
    """Hold the nodules, labels, masks, series and exclusions of two runs against each other.

    Parameters
    ----------
    first, second : Run
    matching : Matching
        Of their nodules.

    Returns
    -------
    CohortChanges
        Series are compared under one key only: the table of series names them by pseudonym alone.
    """
    return CohortChanges(
        n_nodules=(len(matching.pairs) + len(matching.only_a), len(matching.pairs) + len(matching.only_b)),
        only_a=_with_reasons(matching.only_a, second, matching),
        only_b=_with_reasons(matching.only_b, first, matching),
        labels=_labels(first, second, matching),
        masks=_masks(first, second, matching),
        series=_series(first, second) if matching.one_key else None,
        n_series=(_count(first, "series"), _count(second, "series")),
        exclusions=_exclusions(first, second),
    )


def _count(run: Run, table: str) -> int:
    return len(run.tables.get(table, ()))


def _with_reasons(nodules: pd.DataFrame, other: Run, matching: Matching) -> pd.DataFrame:
    """Say why nodules are not in the other run, where its exclusions name them, or their series as a whole."""
    found = nodules.assign(reason="")
    if not matching.one_key or "exclusions" not in other.tables:
        return found
    rows = other.tables["exclusions"]
    reasons = rows["stage"].astype(str) + ": " + rows["code"].astype(str)
    by_nodule = _joined(reasons, rows["nodule_id"])
    whole = rows["nodule_id"].astype(str) == ""
    by_series = _joined(reasons[whole], rows.loc[whole, "series_uid"])
    texts = [
        by_nodule.get(nodule) or by_series.get(series) or ""
        for series, nodule in zip(found["series_uid"], found["nodule_id"], strict=True)
    ]
    return found.assign(reason=texts)


def _joined(reasons: pd.Series[str], names: pd.Series[str]) -> dict[str, str]:
    named = names.astype(str) != ""
    grouped = reasons[named].groupby(names[named].astype(str))
    return {str(name): ", ".join(sorted(set(group))) for name, group in grouped}


def _labels(first: Run, second: Run, matching: Matching) -> pd.DataFrame:
    """Nodules whose label is another, or that have one in one run only."""
    columns = [*_KEYS, "label_a", "label_b"]
    if "nodules" not in first.tables or "nodules" not in second.tables:
        return pd.DataFrame(columns=columns)
    mine = matching.paired(first.tables["nodules"])[[*_KEYS, "malignant"]].drop_duplicates(_KEYS)
    its = matching.renamed(second.tables["nodules"])[[*_KEYS, "malignant"]].drop_duplicates(_KEYS)
    both = mine.merge(its, on=_KEYS, suffixes=("_a", "_b"))
    one, other = both["malignant_a"].fillna(-1), both["malignant_b"].fillna(-1)
    changed = both[(one != other).to_numpy(dtype=bool)]
    changed = changed.rename(columns={"malignant_a": "label_a", "malignant_b": "label_b"})
    return changed[columns].sort_values(_KEYS, ignore_index=True)


def _masks(first: Run, second: Run, matching: Matching) -> pd.DataFrame:
    """By segmenter of both runs: nodules that both have a mask of, and those whose mask is another."""
    columns = ["segmenter", "n", "n_changed"]
    if "nodules" not in first.tables or "nodules" not in second.tables:
        return pd.DataFrame(columns=columns)
    keys = [*_KEYS, "segmenter"]
    mine = matching.paired(first.tables["nodules"])[[*keys, "mask_id"]].drop_duplicates(keys)
    its = matching.renamed(second.tables["nodules"])[[*keys, "mask_id"]].drop_duplicates(keys)
    both = mine.merge(its, on=keys, suffixes=("_a", "_b"))
    both["changed"] = both["mask_id_a"] != both["mask_id_b"]
    table = both.groupby("segmenter")["changed"].agg(["size", "sum"]).reset_index()
    return table.set_axis(columns, axis=1).astype({"n": "int64", "n_changed": "int64"})


def _series(first: Run, second: Run) -> pd.DataFrame | None:
    """Series of one run only, and those with another verdict or other codes."""
    if "series" not in first.tables or "series" not in second.tables:
        return None
    keys, said = ["patient_id", "series_uid"], ["verdict", "codes"]
    mine, its = (run.tables["series"][[*keys, *said]].astype(str).drop_duplicates(keys) for run in (first, second))
    both = mine.merge(its, on=keys, how="outer", suffixes=("_a", "_b"), indicator="where")
    changed = both[(both["verdict_a"] != both["verdict_b"]) | (both["codes_a"] != both["codes_b"])].copy()
    words = {"left_only": "only in A", "right_only": "only in B", "both": "changed"}
    changed["where"] = changed["where"].astype(str).map(words)
    return changed.fillna("").sort_values(["where", *keys], ignore_index=True)


def _exclusions(first: Run, second: Run) -> pd.DataFrame:
    """Rows of the tables of exclusions by stage and code, where the two numbers differ."""
    columns = ["stage", "code", "n_a", "n_b"]
    counts = [
        run.tables["exclusions"].groupby(["stage", "code"]).size()
        if "exclusions" in run.tables
        else pd.Series(dtype="int64", index=pd.MultiIndex.from_arrays([[], []], names=["stage", "code"]))
        for run in (first, second)
    ]
    both = pd.concat(counts, axis=1, keys=["n_a", "n_b"]).fillna(0).astype("int64").reset_index()
    return both[both["n_a"] != both["n_b"]][columns].sort_values(["stage", "code"], ignore_index=True)


@dataclass(frozen=True, slots=True, eq=False)
class CohortChanges:
    """Two cohorts.

    Parameters
    ----------
    n_nodules, n_series : (int, int)
        In A and in B.
    only_a, only_b : DataFrame
        Nodules of one run with ``reason``: why the other left them out, where it says so.
    labels : DataFrame
        Nodules of both whose label changed: their identifiers in A, ``label_a``, ``label_b``.
    masks : DataFrame
        ``segmenter``, ``n`` nodules with its mask in both, ``n_changed`` of which have another mask.
    series : DataFrame or None
        ``where`` (``"only in A"``, ``"only in B"``, ``"changed"``), verdicts and codes; None where they cannot be compared.
    exclusions : DataFrame
        ``stage``, ``code``, ``n_a``, ``n_b``, where the numbers differ.
    """

    n_nodules: tuple[int, int]
    only_a: pd.DataFrame
    only_b: pd.DataFrame
    labels: pd.DataFrame
    masks: pd.DataFrame
    series: pd.DataFrame | None
    n_series: tuple[int, int]
    exclusions: pd.DataFrame

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """What changed, by name; every table is empty where the cohorts are the same."""
        found = {name: getattr(self, name) for name in ("only_a", "only_b", "labels", "exclusions")}
        found["masks"] = self.masks[self.masks["n_changed"] > 0]
        return found | ({"series": self.series} if self.series is not None else {})
