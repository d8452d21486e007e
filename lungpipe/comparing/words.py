"""Names and counts as a person reads them, for the text and the page of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.comparing.scores import is_chosen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.comparing.compare import Comparison
    from lungpipe.comparing.matching import Matching

_HOW = {"pseudonym": "by pseudonym", "mask": "by scan and mask", "place": "by scan and place"}
#: Parts of ``run.json``, for people.
_PARTS = {
    "recipe": "recipe",
    "plugins": "plug-ins",
    "seeds": "seeds",
    "inputs": "inputs",
    "environment": "code and packages",
}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def counted(n: int, noun: str) -> str:
    """Write a number with its noun: "1 row", "2 rows"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def region_name(row: Mapping[str, Any]) -> str:
    """Name a region and its radius: "shell 8 mm"."""
    return str(row["region"]) if not row["radius_mm"] else f"{row['region']} {row['radius_mm']:g} mm"


def configuration(row: Mapping[str, Any]) -> str:
    """Name a configuration: "otsu, shell 8 mm, knn", the choice made inside the training folds, or a baseline."""
    if not is_chosen(row):
        return f"{row['segmenter']}, {region_name(row)}, {row['classifier']}"
    return "chosen inside the training folds" if row["region"] == "chosen" else f"baseline: {row['region']}"


def named(matching: Matching) -> str:
    """Say how nodules were matched, in brackets; nothing where none was."""
    counts = matching.pairs["how"].value_counts()
    if counts.empty:
        return ""
    if len(counts) == 1:
        return f" (matched {_HOW[str(counts.index[0])]})"
    return f" ({', '.join(f'{n} {_HOW[str(how)]}' for how, n in counts.items())})"


def equal_parts(found: Comparison) -> list[str]:
    """Name what two runs share in full."""
    changed = {change.key.split(".", 1)[0] for change in found.settings}
    held = found.first.record.keys() & found.second.record.keys()
    parts = [words for name, words in _PARTS.items() if name in held and name not in changed]
    cohort, n = found.cohort, len(found.matching.pairs)
    both = all("nodules" in run.tables for run in (found.first, found.second))
    if n and not len(cohort.only_a) and not len(cohort.only_b):
        parts.append(counted(n, "nodule"))
    if n and both and not len(cohort.labels):
        parts.append("labels" if n > 1 else "label")
    same = [str(row["segmenter"]) for row in records(cohort.masks) if not row["n_changed"]]
    if same:
        parts.append(f"masks of {', '.join(same)}")
    if cohort.series is not None and cohort.n_series[0] and not len(cohort.series):
        parts.append(f"{cohort.n_series[0]:,} series with their verdicts")
    if not len(cohort.exclusions) and all("exclusions" in run.tables for run in (found.first, found.second)):
        parts.append("exclusions by reason")
    if found.features is not None and found.features.n_shared and not found.features.changed:
        parts.append(f"{counted(found.features.n_shared, 'row')} of features, every value")
    if found.scores is not None and len(found.scores.rows) and not found.scores.changed:
        parts.append(f"AUC of all {counted(len(found.scores.rows), 'configuration')}")
    return parts


def p_value(value: float) -> str:
    """Write a p-value with three digits, or that it is smaller."""
    return "" if pd.isna(value) else "<0.001" if value < 0.0005 else f"{value:.3f}"


def rows_alone(table: pd.DataFrame, other: str) -> str:
    """Say in one line how many rows of features the other run lacks, and of how many it has the nodule."""
    n, shared = int(table["n"].sum()), int(table["of_nodules_in_both"].sum())
    if not shared:
        return f"{n:,}, all of nodules that {other} lacks"
    return f"{n:,}, {shared:,} of them of nodules that {other} has"


def number(value: Any, form: str) -> str:
    """Write a number in a format; a dash where there is none."""
    return "\u2013" if pd.isna(value) else format(value, form)
