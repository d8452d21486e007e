"""Commands that describe a run for others, and ask many runs at once: export-prov, export-crate, export-croissant, query."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungpipe.store.place import Place, write_atomically

if TYPE_CHECKING:
    from lungpipe.lineage.about import Source

Workspace = Annotated[str, typer.Argument(help="Folder or address of the workspace.")]


def export_prov(
    workspace: Workspace,
    out: Annotated[Path, typer.Option(help="File to write: .json (PROV-JSON), .provn (PROV-N) or .ttl (PROV-O).")],
    nodule: Annotated[
        str, typer.Option(help="Only what the rows of this nodule lead back to; pseudonym (N-...) or PATIENT/NODULE.")
    ] = "",
) -> None:
    """Write where results come from as W3C PROV: artefacts, how and when they were made, by which code and packages.

    Example: lungpipe export-prov results --out provenance.json --nodule N-ABCDEFGHIJKL
    """
    from lungpipe.errors import DatasetError
    from lungpipe.lineage.originals import pseudonym_of
    from lungpipe.lineage.prov import FORMATS, packed, provenance

    if out.suffix not in FORMATS:
        raise DatasetError(
            f"PROV is written to {', '.join(FORMATS)}, not to {out.suffix or 'a file without an ending'}"
        )
    document = provenance(Place.at(workspace), pseudonym_of("nodule", nodule) if nodule else "")
    write_atomically(out, packed(document, out.suffix))
    _print(str(out))


def export_crate(
    workspace: Workspace,
    out: Annotated[Path, typer.Option(help="Folder to make; there must be none of that name.")],
    with_volumes: Annotated[
        bool, typer.Option("--with-volumes", help="Copy volumes and masks too; otherwise they are only described.")
    ] = False,
) -> None:
    """Write a run as an RO-Crate: tables, pages and record in one folder with a description of how they came about.

    Example: lungpipe export-crate results --out results-crate
    """
    from lungpipe.lineage.crate import write_crate

    place = Place.at(workspace)
    write_crate(place, out, _source(place), with_volumes=with_volumes)
    _print(str(out))


def export_croissant(
    workspace: Workspace,
    out: Annotated[
        Path,
        typer.Option(help="File to write (JSON). Paths in it are relative to the workspace; keep it beside tables/."),
    ],
) -> None:
    """Describe the tables of a run in Croissant: every column with type, meaning, unit and IBSI code.

    Example: lungpipe export-croissant results --out results/croissant.json
    """
    from lungpipe.lineage.croissant import describe_tables

    place = Place.at(workspace)
    write_atomically(out, describe_tables(place, _source(place)))
    if place.local is None or out.resolve().parent != place.local:
        print(  # noqa: T201  the command line's own output
            "put it at the top of the workspace, or beside a copy of tables/: its paths start there", file=sys.stderr
        )
    _print(str(out))


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT statement (DuckDB).", metavar="SQL")],
    workspaces: Annotated[
        list[str], typer.Argument(help="Folders or addresses of workspaces.", metavar="WORKSPACE...")
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
    csv_: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write CSV instead of printing.")] = None,
) -> None:
    """Ask the tables of many workspaces in SQL; nothing is written, and no other file can be read.

    Views: series, exclusions, nodules, features, predictions, scores. Each has a column workspace with the folder's name.

    Example: lungpipe query "SELECT workspace, auc, auc_low, auc_high FROM scores WHERE selection = 'inside' ORDER BY auc
    DESC" results-a results-b
    """
    from lungpipe.lineage.query import query as ask

    answer = ask(sql, [Place.at(workspace) for workspace in workspaces])
    if csv_ is not None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([answer.columns, *answer.rows])
        write_atomically(csv_, text.getvalue().encode())
        _print(str(csv_))
    else:
        _print(json.dumps(answer.as_dicts(), indent=1) if json_ else answer.as_text())


def _source(place: Place) -> Source:
    """The data set of a run as the catalog describes it."""
    from data_catalog import list_datasets, load_dataset
    from lungpipe.lineage.about import Source, about_run

    name = about_run(place).dataset
    if name not in list_datasets():
        return Source(name, name, "unknown", "none")
    spec = load_dataset(name)
    return Source(name, spec.title, spec.licence, spec.citation)


def _print(text: str) -> None:
    print(text)  # noqa: T201  the command line's own output
