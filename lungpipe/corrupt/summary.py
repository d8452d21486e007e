"""The ladder as a whole: means over nodules at each severity, and whether a figure rises with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from lungpipe.corrupt.ladder import AS_IT_IS

#: Nodule of a row.
NODULE = ["patient_id", "series_uid", "nodule_id"]
#: The ladder as a whole: the mean over its corruptions.
WHOLE = "all"
#: What is averaged over nodules.
MEASURES = (
    "dice",
    "volume_mm3",
    "unsure_mm3",
    "entropy_bits",
    "mutual_information_bits",
    "map_volume_variation",
    "mahalanobis",
    "prototype_distance",
)


def with_start(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each corruption with those of the image as it is as its severity 0.

    Parameters
    ----------
    table : DataFrame
        Rows of :class:`lungpipe.corrupt.ladder.Rung`, with the nodule's ids.
    """
    start = table[table["corruption"] == AS_IT_IS]
    worse = table[table["corruption"] != AS_IT_IS]
    names = worse["corruption"].unique()
    return pd.concat([*(start.assign(corruption=name) for name in names), worse], ignore_index=True)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over nodules by corruption and severity.

    Parameters
    ----------
    table : DataFrame
        As for :func:`with_start`.

    Returns
    -------
    DataFrame
        ``corruption``, ``severity``, ``value``, ``unit``, ``n`` nodules, ``missed`` of them without a mask, and the means of
        those of :data:`MEASURES` that the table has, over the nodules that have one.
    """
    full = with_start(table)
    by = full.groupby(["corruption", "severity"], sort=False)
    found = by[[name for name in MEASURES if name in full]].mean()
    found.insert(0, "missed", by["code"].agg(lambda codes: int((codes != "").sum())))
    found.insert(0, "n", by.size())
    found.insert(0, "unit", by["unit"].first())
    found.insert(0, "value", by["value"].first())
    order = {name: k for k, name in enumerate(full["corruption"].unique())}
    return found.reset_index().sort_values(
        ["corruption", "severity"],
        key=lambda one: one.map(order) if one.name == "corruption" else one,
        ignore_index=True,
    )


def trends(table: pd.DataFrame, measures: tuple[str, ...]) -> pd.DataFrame:
    """Spearman's rank correlation of figures with the severity, 0 to 5.

    Parameters
    ----------
    table : DataFrame
        As for :func:`with_start`.
    measures : tuple of str
        Columns; those without any value are left out.

    Returns
    -------
    DataFrame
        ``corruption`` (the last is :data:`WHOLE`, where there are several), ``measure``, ``of_means`` (of the mean over nodules), ``of_nodules`` (median over the nodules' own),
        ``rising`` (share of the nodules whose own is above 0.8), ``n``. Not a number where nothing varies.
    """
    full = with_start(table)
    parts = [(str(name), part) for name, part in full.groupby("corruption", sort=False)]
    if len(parts) > 1:
        there = [name for name in measures if name in full]
        parts.append((WHOLE, full.groupby([*NODULE, "severity"], sort=False)[there].mean().reset_index()))
    rows = []
    for name, part in parts:
        for measure in measures:
            if measure not in part or part[measure].isna().all():
                continue
            wide = part.set_index([*NODULE, "severity"])[measure].unstack()
            own = np.asarray([_spearman(row) for row in wide.to_numpy()])
            known = own[~np.isnan(own)]
            rows.append(
                {
                    "corruption": name,
                    "measure": measure,
                    "of_means": _spearman(wide.mean().to_numpy()),
                    "of_nodules": float(np.median(known)) if known.size else np.nan,
                    "rising": float(np.mean(known > 0.8)) if known.size else np.nan,
                    "n": len(wide),
                }
            )
    columns = ["corruption", "measure", "of_means", "of_nodules", "rising", "n"]
    return pd.DataFrame(rows, columns=columns)


def _spearman(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Correlation with the position, over the values that are there."""
    here = np.flatnonzero(~np.isnan(values))
    if len(here) < 3 or np.ptp(values[here]) == 0:
        return float("nan")
    return float(stats.spearmanr(here, values[here]).statistic)
