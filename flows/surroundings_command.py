"""The command ``stats-surroundings``: what surrounds benign and malignant nodules of a workspace, side by side."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from lungpipe.learn.structure_stats import StructureRow, StructureTable

_HEAD = ("structure", "measure", "n", "benign", "malignant", "p", "odds ratio (95 %)", "test of counts", "AUC (95 %)")


def stats_surroundings(
    workspace: Annotated[
        str, typer.Argument(help="Folder or address of a finished run of the extractor surroundings.")
    ],
    segmenter: Annotated[str | None, typer.Option(help="Masks of this segmenter only; default: each.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Compare pleura, airways and vessels round benign and malignant nodules: means, odds ratios, tests, AUC.

    Means are in mm, counts or shares of the lung in the ball; their p is of a Mann-Whitney U test. The odds ratio of a
    count is of one or more against none, that of a distance or share of one standard deviation more. An AUC above 0.5
    says that malignant nodules are nearer, or have more.

    Example: lungpipe stats-surroundings demo-workspace --segmenter otsu
    """
    from lungpipe.learn.structure_stats import structure_table
    from lungpipe.store.place import Place
    from lungpipe.store.tables import read_table

    place = Place.at(workspace)
    paths = ("tables/features.parquet", "tables/nodules.parquet")
    for path in paths:
        if not place.exists(path):
            raise DatasetError(f"{place} has no {path}; give the workspace of a finished run (lungpipe run RECIPE)")
    features, nodules = (read_table(place, path) for path in paths)
    found = structure_table(features, nodules, segmenter)
    if json_:
        print(_json(found))  # noqa: T201  the command line's own output
        return
    print(_text(found))  # noqa: T201  the command line's own output
    for name, count in found.unlabelled.items():
        if count:
            print(f"{name}: {count} nodules without label left out", file=sys.stderr)  # noqa: T201  as above
    if any(row.corrected for row in found.rows):
        print("* one half was added to each cell of a 2 x 2 table with an empty one", file=sys.stderr)  # noqa: T201  as above


def _json(found: StructureTable) -> str:
    rows = [
        {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(row).items()
        }
        for row in found.rows
    ]
    return json.dumps({"unlabelled": found.unlabelled, "rows": rows}, indent=1, allow_nan=False)


def _text(found: StructureTable) -> str:
    blocks = []
    for name in dict.fromkeys(row.segmenter for row in found.rows):
        lines = [_HEAD, *(_cells(row) for row in found.rows if row.segmenter == name)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(_HEAD))]
        table = ["  ".join(cell.ljust(n) for cell, n in zip(line, widths, strict=True)).rstrip() for line in lines]
        blocks.append("\n".join([f"segmenter {name}", *table]))
    return "\n\n".join(blocks)


def _cells(row: StructureRow) -> tuple[str, ...]:
    digits = 4 if row.measure == "fraction" else 2
    star = "*" if row.corrected else ""
    chi2 = f" {row.chi2:.2f}," if math.isfinite(row.chi2) else ","
    return (
        row.structure,
        {"distance": "distance, mm", "count": "count", "fraction": "share"}[row.measure],
        f"{row.n_benign}+{row.n_malignant}",
        _number(row.mean_benign, digits),
        _number(row.mean_malignant, digits),
        _number(row.p_means, 4),
        f"{_number(row.odds_ratio, 2)}{star} ({_number(row.odds_low, 2)} to {_number(row.odds_high, 2)})"
        if math.isfinite(row.odds_ratio)
        else "-",
        f"{row.test}{chi2} p {_number(row.p_counts, 4)}" if row.test else "-",
        f"{_number(row.auc, 2)} ({_number(row.auc_low, 2)} to {_number(row.auc_high, 2)})"
        if math.isfinite(row.auc)
        else "-",
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
