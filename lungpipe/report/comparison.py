"""The page of a comparison of two runs: one file that holds all it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.comparing.words import configuration, equal_parts, named, number, region_name
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
    pages.filters |= {"number": number, "region": region_name, "configuration": configuration}
    return pages.get_template("comparison.html.j2").render(_content(found))


def _content(found: Comparison) -> dict[str, Any]:
    features, scores, cohort = found.features, found.scores, found.cohort
    rows = scores.rows.to_dict("records") if scores is not None else []
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
            (side, other, nodules.to_dict("records")[:MOST_ROWS], len(nodules))
            for side, other, nodules in (("A", "B", cohort.only_a), ("B", "A", cohort.only_b))
            if len(nodules)
        ],
        "labels": cohort.labels.to_dict("records"),
        "masks": cohort.masks.to_dict("records"),
        "series": cohort.series.to_dict("records")[:MOST_ROWS] if cohort.series is not None else None,
        "exclusions": cohort.exclusions.to_dict("records"),
        "features": features,
        "regions": features.regions.to_dict("records") if features is not None else [],
        "worst": features.differ.head(MOST_ROWS // 10).to_dict("records") if features is not None else [],
        "features_csv": _csv(features.differ) if features is not None else "",
        "scores": scores,
        "rows": rows[:MOST_ROWS],
        "several": scores is not None and scores.rows["dataset"].nunique() > 1,
        "tested": int(scores.rows["p"].notna().sum()) if scores is not None else 0,
        "only_configurations": [
            (side, [configuration(row) for row in table.to_dict("records")])
            for side, table in ((("A", scores.only_a), ("B", scores.only_b)) if scores is not None else ())
            if len(table)
        ],
        "scores_csv": _csv(scores.rows) if scores is not None else "",
    }


def _csv(table: pd.DataFrame) -> str:
    return data_uri("text/csv;charset=utf-8", table.to_csv(index=False).encode())
