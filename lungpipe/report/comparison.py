"""The page of a comparison of two runs: one file that holds all it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.comparing.words import (
    configuration,
    equal_parts,
    named,
    number,
    p_value,
    records,
    region_name,
    rows_alone,
)
from lungpipe.report.html import data_uri, environment

if TYPE_CHECKING:
    from lungpipe.comparing.compare import Comparison

#: Rows of a table on the page; the rest is in its CSV.
MOST_ROWS = 200


def comparison_html(found: Comparison) -> str:
    """Make the page of a comparison.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    str
        HTML without references to anything outside it.
    """
    pages = environment()
    pages.filters |= {"number": number, "region": region_name, "p": p_value, "configuration": configuration}
    return pages.get_template("comparison.html.j2").render(_content(found))


def _content(found: Comparison) -> dict[str, Any]:
    features, scores, cohort = found.features, found.scores, found.cohort
    rows = records(scores.rows) if scores is not None else []
    return {
        "a": found.first,
        "b": found.second,
        "honest": [row for row in rows if row["selection"] == "inside" and not pd.isna(row["difference"])],
        "equal": equal_parts(found),
        "counting": [change for change in found.settings if change.counts],
        "others": [change for change in found.settings if not change.counts],
        "cohort": cohort,
        "pairs": found.matching,
        "matched": named(found.matching),
        "only": [
            (side, other, records(nodules)[:MOST_ROWS], len(nodules))
            for side, other, nodules in (("A", "B", cohort.only_a), ("B", "A", cohort.only_b))
            if len(nodules)
        ],
        "labels": records(cohort.labels),
        "masks": [row for row in records(cohort.masks) if row["n_changed"]],
        "series": records(cohort.series)[:MOST_ROWS] if cohort.series is not None else None,
        "exclusions": records(cohort.exclusions),
        "features": features,
        "regions": records(features.regions) if features is not None else [],
        "rows_alone": [
            (side, rows_alone(table, other))
            for side, other, table in ((("A", "B", features.only_a), ("B", "A", features.only_b)) if features else ())
            if len(table)
        ],
        "worst": records(features.differ.head(MOST_ROWS // 10)) if features is not None else [],
        "features_csv": _csv(features.differ) if features is not None else "",
        "scores": scores,
        "rows": rows[:MOST_ROWS],
        "several": scores is not None and scores.rows["dataset"].nunique() > 1,
        "tested": int(scores.rows["p"].notna().sum()) if scores is not None else 0,
        "only_configurations": [
            (side, [configuration(row) for row in records(table)])
            for side, table in ((("A", scores.only_a), ("B", scores.only_b)) if scores is not None else ())
            if len(table)
        ],
        "scores_csv": _csv(scores.rows) if scores is not None else "",
    }


def _csv(table: pd.DataFrame) -> str:
    return data_uri("text/csv;charset=utf-8", table.to_csv(index=False).encode())
