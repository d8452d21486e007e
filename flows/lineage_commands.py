"""Commands on where results come from and where they go: trace, impact, withdraw, verify, gc."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungpipe.store.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.store.gc import Garbage

Workspace = Annotated[str, typer.Argument(help="Folder or address of the workspace.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]
Patient = Annotated[str, typer.Option(help="Pseudonym (P-...), or the archive's own id where this key made it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def trace(
    workspace: Workspace,
    nodule: Annotated[str, typer.Option(help="Pseudonym (N-...), or PATIENT/NODULE as annotated.")],
    segmenter: Annotated[str | None, typer.Option(help="Follow the rows of this segmenter alone.")] = None,
    series: Annotated[
        str | None, typer.Option(help="Pseudonym (S-...), for a nodule that is on several series.")
    ] = None,
    originals: Annotated[
        bool, typer.Option("--originals", help="Also print the archive's own identifiers, which the key here unlocks.")
    ] = False,
    json_: Json = False,
) -> None:
    """Follow the feature rows of a nodule back to masks, volume, series and SOP instances, with settings and versions.

    Example: lungpipe trace results --nodule N-ABCDEFGHIJKL --originals
    """
    from dataclasses import replace

    from lungpipe.lineage.originals import originals_of, pseudonym_of
    from lungpipe.lineage.show import trace_text
    from lungpipe.lineage.trace import trace_nodule

    found = trace_nodule(Place.at(workspace), pseudonym_of("nodule", nodule), segmenter, series)
    if originals:
        found = replace(found, originals=originals_of(found.patient_id, found.series_uid))
    _print(json.dumps(found.as_dict(), indent=1) if json_ else trace_text(found))


def impact(workspace: Workspace, patient: Patient, json_: Json = False) -> None:
    """List everything in a workspace that a patient has a part in; nothing is changed.

    Example: lungpipe impact results --patient P-ABCDEFGHIJKL
    """
    from lungpipe.lineage.impact import impact_of
    from lungpipe.lineage.originals import pseudonym_of

    found = impact_of(Place.at(workspace), pseudonym_of("patient", patient))
    _print(json.dumps(found.as_dict(), indent=1) if json_ else found.as_text())


def withdraw(workspace: Workspace, patient: Patient, yes: Yes = False) -> None:
    """Remove a patient from every table and store of a workspace, prove it, and leave a tombstone.

    Later runs leave the patient out. Scores and pages that the patient had a part in are removed; run the recipe again to
    make them anew. Archive, key, table of pseudonyms and other workspaces are not touched.

    Example: lungpipe withdraw results --patient P-ABCDEFGHIJKL --yes
    """
    from lungpipe.errors import DatasetError
    from lungpipe.lineage.impact import impact_of
    from lungpipe.lineage.originals import pseudonym_of
    from lungpipe.lineage.tombstones import tombstone_ref
    from lungpipe.lineage.withdraw import withdraw as remove
    from lungpipe.store.ledger import path_of
    from lungpipe.store.lock import one_run

    place, name = Place.at(workspace), pseudonym_of("patient", patient)
    try:
        print(impact_of(place, name).as_text(), file=sys.stderr)  # noqa: T201  the command line's own output
    except DatasetError:
        if not place.exists(path_of(tombstone_ref(name))):
            raise
        print("withdrawn before; searched again", file=sys.stderr)  # noqa: T201  the command line's own output
    if not yes and not typer.confirm("Remove all this for good?", err=True):
        raise SystemExit(1)
    with one_run(place):
        _print(remove(place, name).as_text())


def verify(
    workspace: Workspace,
    also: Annotated[
        list[Path] | None, typer.Option(help="Another file or folder to search for identities; repeatable.")
    ] = None,
    prefect: Annotated[bool, typer.Option("--prefect", help="Search Prefect's database and results too.")] = False,
    json_: Json = False,
) -> None:
    """Check every artefact against the ledger, and search every file for names, ids and dates of the archives.

    What is searched for is what the indexed archives and the table of pseudonyms hold under this key; a made-up person is
    planted in copies first, to prove that the search can see. Exit 1 and a list if anything differs or is found.

    Example: lungpipe verify results --prefect
    """
    from lungpipe.dicom.memory import all_terms
    from lungpipe.dicom.pseudonymise import table_path
    from lungpipe.identity import Term, audit_workspace, known_terms

    terms = known_terms(table_path(), [Term(kind, text) for kind, text in all_terms()])
    places = list(also or [])
    if prefect:
        from tasks.prefect_places import prefect_places

        places += prefect_places()
    report = audit_workspace(Place.at(workspace), terms, places)
    _print(json.dumps(report.as_dict(), indent=1) if json_ else report.as_text())
    if not report.sound:
        raise SystemExit(1)


def gc(
    workspace: Workspace,
    superseded: Annotated[
        bool,
        typer.Option("--superseded", help="Also artefacts of earlier settings, which the present results are not of."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Remove files that no record of the ledger names, after saying what and how much; refused while a run is writing.

    Example: lungpipe gc results --superseded --dry-run
    """
    from lungpipe.store.gc import find_garbage, remove_garbage
    from lungpipe.store.lock import one_run

    place = Place.at(workspace)
    found = find_garbage(place, superseded=superseded)
    if json_:
        _print(json.dumps([{"why": g.why, "path": g.path, "bytes": g.n_bytes} for g in found], indent=1))
    else:
        for item in found:
            _print(f"{item.why}: {item.path} ({item.n_bytes / 1e6:.2f} MB)")
        _print(_total(found))
    if dry_run or not found:
        return
    if not yes and not typer.confirm("Remove all this for good?", err=True):
        raise SystemExit(1)
    with one_run(place):  # what a run that ended meanwhile made of it stays
        found = [item for item in find_garbage(place, superseded=superseded) if item in found]
        remove_garbage(place, found)
    print(f"removed {_total(found)}", file=sys.stderr)  # noqa: T201  the command line's own output


def _total(found: Sequence[Garbage]) -> str:
    kinds = ", ".join(f"{count} {why}" for why, count in sorted(Counter(g.why for g in found).items()))
    return f"{kinds}, {sum(g.n_bytes for g in found) / 1e6:.2f} MB" if found else "nothing to remove"


def _print(text: str) -> None:
    print(text)  # noqa: T201  the command line's own output
