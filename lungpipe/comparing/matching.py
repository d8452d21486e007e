"""Which nodules of two runs are the same: by pseudonym under one key, else by the content of scan and mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.learn.cohort import IDENTITY

if TYPE_CHECKING:
    from lungpipe.comparing.workspace import Run

_KEYS = list(IDENTITY)
_SOURCE, _CENTRE = "source_sha256", ["x_mm", "y_mm", "z_mm"]
#: How a pair was found.
BY_NAME, BY_MASK, BY_PLACE = "pseudonym", "mask", "place"


def match_nodules(first: Run, second: Run) -> Matching:
    """Pair the nodules of two runs.

    Under one key a nodule has one name (patient, series and nodule). What is left, which is everything under different keys, is
    paired within scans of the same content (``source_sha256``): first nodules of which a segmenter drew the same mask
    (``mask_id``), then nodules whose masks' centres lie closer than the smaller one's radius and are each other's
    nearest. Without images there is no position, and the mask alone decides.

    Parameters
    ----------
    first, second : Run

    Returns
    -------
    Matching
    """
    mine, its = _names(first), _names(second)
    both = mine.merge(its, on=_KEYS)
    pairs = _pairs(both, both, BY_NAME)
    one_key = len(pairs) > 0 or first.key == second.key
    for rule, how in ((_same_mask, BY_MASK), (_same_place, BY_PLACE)):
        left = _rows_left(first, pairs, "_a"), _rows_left(second, pairs, "_b")
        if len(left[0]) and len(left[1]):
            pairs = pd.concat([pairs, _pairs(*rule(*left), how)], ignore_index=True)
    pairs = pairs.sort_values(list(pairs.columns), ignore_index=True)
    only = _without(mine, pairs, "_a"), _without(its, pairs, "_b")
    others = _outside(first).merge(_outside(second), on=_KEYS)
    return Matching(
        pairs,
        _pairs(others, others, BY_NAME),
        *only,
        one_key,
        _why_not(first, second, one_key) if not len(pairs) else "",
    )


def _names(run: Run) -> pd.DataFrame:
    """Every nodule of a run once, from the first table that names them."""
    for name in ("nodules", "features", "predictions"):
        if name in run.tables:
            return run.tables[name][_KEYS].astype(str).drop_duplicates().sort_values(_KEYS, ignore_index=True)
    return pd.DataFrame(columns=_KEYS, dtype="str")


def _outside(run: Run) -> pd.DataFrame:
    """Nodules that a run predicted and does not hold itself: those of other workspaces that tested its models."""
    if "predictions" not in run.tables:
        return pd.DataFrame(columns=_KEYS, dtype="str")
    predicted = run.tables["predictions"][_KEYS].astype(str).drop_duplicates()
    own = pd.MultiIndex.from_frame(_names(run))
    return predicted[~pd.MultiIndex.from_frame(predicted).isin(own)]


def _pairs(first: pd.DataFrame, second: pd.DataFrame, how: str) -> pd.DataFrame:
    one = first[_KEYS].add_suffix("_a").reset_index(drop=True)
    return one.join(second[_KEYS].add_suffix("_b").reset_index(drop=True)).assign(how=how)


def _without(names: pd.DataFrame, pairs: pd.DataFrame, side: str) -> pd.DataFrame:
    done = pd.MultiIndex.from_frame(pairs[[f"{name}{side}" for name in _KEYS]])
    return names[~pd.MultiIndex.from_frame(names).isin(done)].reset_index(drop=True)


def _rows_left(run: Run, done: pd.DataFrame, side: str) -> pd.DataFrame:
    """Rows of the table of nodules that have a fingerprint of their scan and no partner yet."""
    if "nodules" not in run.tables:
        return pd.DataFrame(columns=[*_KEYS, _SOURCE])
    rows = run.tables["nodules"]
    rows = rows[rows[_SOURCE] != ""]
    taken = pd.MultiIndex.from_frame(done[[f"{name}{side}" for name in _KEYS]])
    return rows[~pd.MultiIndex.from_frame(rows[_KEYS].astype(str)).isin(taken)]


def _same_mask(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    content = [_SOURCE, "segmenter", "mask_id"]
    columns = [*_KEYS, *content]
    both = first[columns].merge(second[columns], on=content, suffixes=("_a", "_b"))
    mine, its = [f"{name}_a" for name in _KEYS], [f"{name}_b" for name in _KEYS]
    both = both[[*mine, *its]].drop_duplicates()
    # A mask that two nodules of one scan share says nothing.
    both = both[~both.duplicated(mine, keep=False) & ~both.duplicated(its, keep=False)]
    return both[mine].set_axis(_KEYS, axis=1), both[its].set_axis(_KEYS, axis=1)


def _same_place(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    mine, its = _centres(first), _centres(second)
    found: list[tuple[Any, Any]] = []
    for source in sorted(set(mine[_SOURCE]) & set(its[_SOURCE])):
        one, other = mine[mine[_SOURCE] == source], its[its[_SOURCE] == source]
        apart_mm = np.linalg.norm(one[_CENTRE].to_numpy()[:, None] - other[_CENTRE].to_numpy()[None], axis=2)
        radius_mm = np.minimum(one["radius_mm"].to_numpy()[:, None], other["radius_mm"].to_numpy()[None])
        for i, j in zip(*np.nonzero(apart_mm < radius_mm), strict=True):
            if apart_mm[i].argmin() == j and apart_mm[:, j].argmin() == i:
                found.append((one.index[int(i)], other.index[int(j)]))
    chosen = [mine.loc[[pair[0] for pair in found]], its.loc[[pair[1] for pair in found]]]
    return chosen[0][_KEYS], chosen[1][_KEYS]


def _centres(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean centre and radius (mm) over the masks of each nodule; those without a position are left out."""
    rows = rows.assign(radius_mm=rows["sphere_diameter_mm"] / 2)
    means = rows.groupby([*_KEYS, _SOURCE], as_index=False)[[*_CENTRE, "radius_mm"]].mean()
    return means.dropna(subset=_CENTRE).reset_index(drop=True)


def _why_not(first: Run, second: Run, one_key: bool) -> str:
    for run, side in ((first, "A"), (second, "B")):
        if not len(_names(run)):
            return f"{side} has no nodules"
    if one_key:
        return "no nodule has the same pseudonym in both, and no scan the same content"
    lacking = [side for run, side in ((first, "A"), (second, "B")) if "nodules" not in run.tables]
    if lacking:
        return (
            "pseudonyms are of different keys, so nodules are known by their scans alone, and "
            f"{' and '.join(lacking)} has no table of nodules to tell those"
        )
    sources = [set(run.tables["nodules"][_SOURCE]) - {""} for run in (first, second)]
    if not sources[0] & sources[1]:
        return "pseudonyms are of different keys, and no scan of one has the content of a scan of the other"
    return "pseudonyms are of different keys, and on the scans that both have no two masks are equal or near"


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Nodules of two runs, paired.

    Parameters
    ----------
    pairs : DataFrame
        Columns ``patient_id_a``, ``series_uid_a``, ``nodule_id_a``, the same with ``_b``, and ``how``: by
        ``"pseudonym"``, ``"mask"`` or ``"place"``.
    tested : DataFrame
        The same for nodules of other workspaces that both runs predicted; by pseudonym alone.
    only_a, only_b : DataFrame
        ``patient_id``, ``series_uid`` and ``nodule_id`` of nodules without a partner.
    one_key : bool
        Whether both runs' pseudonyms are of one key.
    why_none : str
        Why there is no pair; empty if there are some.
    """

    pairs: pd.DataFrame
    tested: pd.DataFrame
    only_a: pd.DataFrame
    only_b: pd.DataFrame
    one_key: bool
    why_none: str

    def renamed(self, table: pd.DataFrame) -> pd.DataFrame:
        """Give the rows of a table of the second run the identifiers of the first; rows without a partner are left out."""
        names = [f"{name}_b" for name in _KEYS]
        both = table.astype(dict.fromkeys(_KEYS, "str")).merge(
            pd.concat([self.pairs, self.tested]).drop(columns="how"), left_on=_KEYS, right_on=names, sort=False
        )
        both[_KEYS] = both[[f"{name}_a" for name in _KEYS]]
        return both.drop(columns=[*names, *(f"{name}_a" for name in _KEYS)])

    def paired(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of a table of the first run whose nodule has a partner."""
        every = pd.concat([self.pairs, self.tested])
        names = pd.MultiIndex.from_frame(every[[f"{name}_a" for name in _KEYS]])
        return table[pd.MultiIndex.from_frame(table[_KEYS].astype(str)).isin(names)]
