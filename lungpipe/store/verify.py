"""Hold a workspace against its ledger: what is missing, changed, or known to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store import ledger
from lungpipe.store.tables import SCHEMAS, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

    from lungpipe.store.ledger import Record
    from lungpipe.store.place import Place

#: Tables that indexing alone writes; the others come with a run.
_OF_INDEX = ("series", "exclusions")
#: Folders of a workspace in which every file belongs to an artefact.
_OWNED = ("volumes", "parts", "tables", "report")
#: How zarr calls what it has not finished.
_PARTIAL = ".partial"
#: What reading a damaged file may raise; pyarrow's errors are ValueError, KeyError, OSError or of these by inheritance.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Parameters
    ----------
    kind : str
        Of :func:`verify_workspace`: ``"damaged_record"``, ``"missing_record"``, ``"missing_output"``, ``"changed_output"``,
        ``"orphan"``, ``"leftover"``, ``"missing_table"``, ``"wrong_table"``, ``"missing_artefact"``. Of the identity
        audit: the kind of the term that was found, ``"unsearched"``, or ``"more"``.
    path : str
        Relative to the workspace, with ``/``.
    message : str
        What was expected and what was found.
    place : str
        Where inside the file.
    """

    kind: str
    path: str
    message: str
    place: str = ""


def verify_workspace(place: Place) -> list[Finding]:
    """Hold every artefact of a workspace against the ledger, and every table against its schema and artefacts.

    Every record is held against its own checksum and every output of it against the recorded hash; every file must
    belong to an artefact, and every artefact that a record was made from must be there.

    Parameters
    ----------
    place : Place
        The workspace.

    Returns
    -------
    list of Finding
        Empty for a sound workspace; sorted by path and kind.

    Raises
    ------
    DatasetError
        If there is no workspace. A damaged one never raises.
    """
    if not any(place.exists(name) for name in (ledger.FOLDER, "tables", "run.json")):
        raise DatasetError(
            f"{place} is no workspace: it has neither ledger nor tables nor run.json; name what `lungpipe run` wrote to"
        )
    findings: list[Finding] = []
    known = _records(place, findings)
    findings += _outputs(place, known.values())
    findings += _origins(place, known)
    findings += [Finding(kind, name, message) for kind, name, message in strays(place, known.values())]
    findings += _tables(place, known)
    return sorted(dict.fromkeys(findings), key=lambda f: (f.path, f.kind, f.place, f.message))


def _records(place: Place, findings: list[Finding]) -> dict[str, Record]:
    """Every record that can be read, by reference; the others become findings."""
    known: dict[str, Record] = {}
    for scope in ledger.scopes(place):
        for ref in ledger.refs(place, scope):
            try:
                entry = ledger.load(place, ref)
            except _DAMAGE as error:
                findings.append(Finding("damaged_record", ledger.path_of(ref), f"it cannot be read: {_said(error)}"))
            except DatasetError as error:
                findings.append(Finding("damaged_record", ledger.path_of(ref), str(error)))
            else:
                known[ref] = entry
    return known


def _said(error: Exception) -> str:
    return type(error).__name__


def _outputs(place: Place, known: Iterable[Record]) -> Iterator[Finding]:
    for entry in known:
        for name, digest in entry.outputs.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                message = "the record names an output outside the workspace"
                yield Finding("damaged_record", ledger.path_of(entry.ref), message)
                continue
            try:
                found = place.digest(name)
            except FileNotFoundError:
                message = f"{entry.ref} names it, but it is not there; run the recipe again"
                yield Finding("missing_output", name, message)
            except OSError as error:
                yield Finding("changed_output", name, f"it cannot be read ({type(error).__name__})")
            else:
                if found != digest:
                    message = f"its content is not what {entry.ref} recorded; run the recipe again to make it anew"
                    yield Finding("changed_output", name, message)


def _origins(place: Place, known: Mapping[str, Record]) -> Iterator[Finding]:
    """Records that name an artefact, or a maker, of which there is no record."""
    for entry in known.values():
        for ref in (*entry.made_from, *([entry.made_by] if entry.made_by else [])):
            if ref not in known and not place.exists(ledger.path_of(ref)):
                message = f"{entry.ref} was made from or by it, and it is not there; run the recipe again"
                yield Finding("missing_record", ledger.path_of(ref), message)


def strays(place: Place, known: Iterable[Record]) -> Iterator[tuple[str, str, str]]:
    """Files that belong to no artefact: ``("orphan" or "leftover", relative path, what to do)``.

    Whole folders are named where nothing in them belongs to an artefact.
    """
    owned = {name for entry in known for name in entry.outputs}
    above = {parent.as_posix() for name in owned for parent in PurePosixPath(name).parents}

    def walk(folder: str) -> Iterator[tuple[str, str, str]]:
        for child in place.children(folder):
            name = f"{folder}/{child}"
            if child.startswith(".") or child.endswith(_PARTIAL):
                yield "leftover", name, "a file that was not finished; `lungpipe gc` removes it"
            elif name in above:
                yield from walk(name)
            elif name not in owned and place.files(name):
                yield "orphan", name, "no record names it; run the recipe again, or remove it with `lungpipe gc`"

    for folder in _OWNED:
        yield from walk(folder)
    for scope in ledger.scopes(place):
        for child in place.children(f"{ledger.FOLDER}/{scope}"):
            if child.startswith("."):
                name = f"{ledger.FOLDER}/{scope}/{child}"
                yield "leftover", name, "a record that was not finished; `lungpipe gc` removes it"
    for child in place.children():
        if child.startswith("."):
            yield "leftover", child, "a file that was not finished; `lungpipe gc` removes it"


def _tables(place: Place, known: Mapping[str, Record]) -> Iterator[Finding]:
    required = {name for name, schema in SCHEMAS.items() if not schema.optional}
    if not place.exists("run.json"):
        required &= set(_OF_INDEX)
    seen = {name.removesuffix(".parquet") for name in place.children("tables") if name.endswith(".parquet")}
    for name in sorted(required - seen):
        yield Finding("missing_table", f"tables/{name}.parquet", "the table is not there; run the recipe again")
    ids = {kind: {r.id for r in known.values() if r.kind == kind} for kind in ("volume", "masks", "features")}
    for name in sorted(seen & set(SCHEMAS)):
        shown = f"tables/{name}.parquet"
        try:
            frame = read_table(place, shown)
        except DatasetError as error:
            yield Finding("wrong_table", shown, str(error))
        except _DAMAGE as error:
            yield Finding("wrong_table", shown, f"the table cannot be read ({type(error).__name__})")
        else:
            yield from _rows(name, frame, ids)


def _rows(name: str, frame: pd.DataFrame, ids: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Rows whose volume, mask or features have no record."""
    columns: dict[str, Any] = {}
    if name in ("series", "nodules"):
        columns["volume"] = frame["volume_id"]
    if name in ("nodules", "features"):
        columns["masks" if name == "nodules" else "features"] = frame["artefact"]
    for kind, column in columns.items():
        for one in sorted({str(value) for value in column if value} - ids[kind]):
            message = f"it has rows of {kind}-{one}, of which there is no record"
            yield Finding("missing_artefact", f"tables/{name}.parquet", message, one)
