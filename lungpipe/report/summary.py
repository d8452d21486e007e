"""What the page says in numbers, drawn from the workspace's tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lungpipe.report.evaluation import baselines
from lungpipe.report.figures import CONFIGURATION, configuration_name, plain

NODULE = ["patient_id", "series_uid", "nodule_id"]


def verdicts(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Set the honest AUC beside the best on the test folds, one entry a data set.

    Parameters
    ----------
    scores : DataFrame
        Table of scores.

    Returns
    -------
    list of dict
        Keys dataset, trained_on (another data set where the figures are of external validation, else empty), honest, best (rows as mappings, or None), best_name, gap, configurations, chosen (list of
        configuration name and number of outer folds, most frequent first), folds, baselines (rows as mappings) and shown (whether the honest
        interval excludes 0.5).
    """
    found = []
    for dataset, rows in scores.groupby("dataset", sort=False):
        fixed = rows[(rows["selection"] == "fixed") & rows["auc"].notna()]
        inside = rows[(rows["selection"] == "inside") & rows["auc"].notna()]
        best = _record(fixed.iloc[int(fixed["auc"].argmax())]) if len(fixed) else None
        honest = _record(inside.iloc[0]) if len(inside) else None
        chosen, folds = chosen_configurations(honest)
        teacher = str(rows["trained_on"].iloc[0]) if "trained_on" in rows else str(dataset)
        found.append(
            {
                "dataset": dataset,
                "trained_on": teacher if teacher != dataset else "",
                "honest": honest,
                "best": best,
                "best_name": configuration_name(best) if best else "",
                "gap": best["auc"] - honest["auc"] if best and honest else None,
                "configurations": len(fixed),
                "chosen": chosen,
                "folds": folds,
                "baselines": baselines(rows),
                "shown": bool(honest and not honest["auc_low"] <= 0.5 <= honest["auc_high"]),
            }
        )
    return found


def chosen_configurations(honest: Mapping[str, Any] | None) -> tuple[list[tuple[str, int]], int]:
    """Count in how many outer folds each configuration was chosen.

    Parameters
    ----------
    honest : mapping or None
        The row with selection ``"inside"``.

    Returns
    -------
    list of (str, int)
        Configuration in words and number of folds, most frequent first.
    int
        Outer folds, over all repeats.
    """
    if not honest or not honest["chosen"]:
        return [], 0
    keys = json.loads(honest["chosen"])
    names = ["none could be tuned" if key is None else configuration_name(key) for key in keys]
    return Counter(names).most_common(), len(names)


def roc_selection(
    scores: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    """Pick the curves to draw: the choice made inside, then each classifier's configuration of best inner AUC.

    Parameters
    ----------
    scores, predictions : DataFrame
        The benchmark's tables, of the first data set if there are several.

    Returns
    -------
    curves : dict of str to DataFrame
        Name in words to rows of the predictions.
    figures : dict of str to dict
        Name to the row of scores.
    """
    rows = scores[(scores["dataset"] == scores["dataset"].iloc[0]) & scores["auc"].notna()]
    own = predictions[predictions["dataset"] == scores["dataset"].iloc[0]]
    picked = list(rows[rows["selection"] == "inside"].to_dict("records"))
    fixed = rows[rows["selection"] == "fixed"].sort_values("inner_auc", ascending=False, kind="stable")
    picked += fixed.drop_duplicates("classifier").to_dict("records")
    curves, figures = {}, {}
    for row in picked:
        inside = row["selection"] == "inside"
        name = "chosen inside the training folds" if inside else configuration_name(row)
        here = own["segmenter"] == row["segmenter"]
        if not inside:
            for column in [*CONFIGURATION[1:], *(name for name in ("feature_set",) if name in own)]:
                here &= own[column] == row[column]
        if here.any():
            curves[name], figures[name] = own[here], {str(key): value for key, value in row.items()}
    return curves, figures


def cohort_counts(series: pd.DataFrame, nodules: pd.DataFrame, exclusions: pd.DataFrame) -> list[tuple[str, int]]:
    """Count what was found, accepted and excluded.

    Parameters
    ----------
    series, nodules, exclusions : DataFrame
        Tables of the workspace.

    Returns
    -------
    list of (str, int)
        In the order of the data's way.
    """
    counts = [("series found", len(series))]
    if "verdict" in series:
        quarantined = int((series["verdict"] == "quarantine").sum())
        warned = int((series["verdict"] == "warn").sum())
        counts.append(("series accepted", len(series) - quarantined))
        if warned:
            counts.append(("of these with a warning", warned))
        counts.append(("series set aside", quarantined))
    counts.append(("patients", int(series["patient_id"].nunique()) if "patient_id" in series else 0))
    once = nodules.drop_duplicates([name for name in NODULE if name in nodules])
    outlined = "intensities" in once and bool(len(once)) and (once["intensities"] == "none").all()
    counts.append(("nodules outlined" if outlined else "nodules segmented", len(once)))
    if "malignant" in once:
        labels = once["malignant"]
        counts += [
            ("malignant", int((labels == 1).sum())),
            ("benign", int((labels == 0).sum())),
            ("without label", int(labels.isna().sum())),
        ]
    counts.append(("exclusions", len(exclusions)))
    return counts


def scanner_table(series: pd.DataFrame) -> list[dict[str, Any]]:
    """Group the series by scanner and kernel, with the ranges of tube voltage and spacing.

    Parameters
    ----------
    series : DataFrame
        Table of series; columns that it lacks are left out. Without images there is one group.

    Returns
    -------
    list of dict
        Heading to text, the largest group first.
    """
    by = [name for name in ("manufacturer", "model", "kernel") if name in series]
    ranges = {
        "kvp": "kV",
        "spacing_x_mm": "in-plane spacing (mm)",
        "spacing_z_mm": "slice spacing (mm)",
        "slice_thickness_mm": "slice thickness (mm)",
    }
    if not by or series.empty:
        return []
    table = series.assign(**{name: series[name].fillna("").replace("", "not given") for name in by})
    if "intensities" in table and (table["intensities"] == "none").all():
        by, table = ["images"], table.assign(images="none")
        ranges.pop("kvp")
    rows = []
    for found, group in table.groupby(by, sort=True):
        row: dict[str, Any] = dict(zip(by, found if isinstance(found, tuple) else (found,), strict=True))
        row["series"] = len(group)
        row |= {name: value_range(group[column]) for column, name in ranges.items() if column in group}
        rows.append(row)
    return sorted(rows, key=lambda row: -row["series"])


def value_range(values: pd.Series[Any]) -> str:
    """Write the range of a column.

    Parameters
    ----------
    values : Series
        Numbers.

    Returns
    -------
    str
        "0.6 to 0.85", a single value, or "not given".
    """
    known = pd.to_numeric(values, errors="coerce").dropna()
    if known.empty:
        return "not given"
    low, high = f"{known.min():.3g}", f"{known.max():.3g}"
    return low if low == high else f"{low} to {high}"


def reasons(exclusions: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Count exclusions by stage and reason code.

    Parameters
    ----------
    exclusions : DataFrame
        Table of exclusions.

    Returns
    -------
    list of (stage, code, int)
        The most frequent first.
    """
    counted = exclusions.groupby(["stage", "code"]).size().sort_values(ascending=False, kind="stable")
    return [(str(key[0]), str(key[1]), int(count)) for key, count in zip(counted.index, counted, strict=True)]


def score_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Put the rows of the score table in words, the choice made inside first, then by inner AUC.

    Parameters
    ----------
    scores : DataFrame
        Table of scores.

    Returns
    -------
    list of dict
        The rows, with segmenter, classifier and region in words.
    """
    inside = scores["selection"] == "inside"
    fixed = scores[~inside].sort_values("inner_auc", ascending=False, kind="stable", na_position="last")
    rows: list[dict[str, Any]] = []
    for record in [*scores[inside].to_dict("records"), *fixed.to_dict("records")]:
        row = {str(key): value for key, value in record.items()}
        rows.append(row | {name: plain(row[name]) for name in ("segmenter", "region", "classifier")})
    return rows


def taught_here(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of a table of scores without those of external validation.

    Parameters
    ----------
    scores : DataFrame
        Table of scores.
    """
    if "trained_on" not in scores:
        return scores
    return scores[scores["trained_on"].astype(str) == scores["dataset"].astype(str)]


def _record(row: pd.Series[Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}
