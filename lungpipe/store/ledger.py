"""The ledger: every artefact is named by what made it, and one small file says so.

A record is written last of all the files of its artefact, so an artefact without one was not finished. Records of one
patient lie in a folder of their own, ``ledger/<pseudonym>/``, and those of the whole cohort in ``ledger/cohort/``: a worker
writes only files that nobody else writes, and what a patient has a part in is found by reading one folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store.record import environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from lungpipe.store.place import Place

FOLDER = "ledger"
#: Scope of what belongs to no single patient.
COHORT = "cohort"
#: Scope of the environments that records name as their maker.
ENVIRONMENTS = "environments"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one artefact.

    Parameters
    ----------
    scope : str
        Pseudonym of the patient, :data:`COHORT` or :data:`ENVIRONMENTS`.
    kind : str
        What it is: the stage that makes it (``"volume"``, ``"lung"``, ``"annotations"``, ``"masks"``, ``"features"``; for the
        cohort ``"table"``, ``"configuration"``, ``"scores"``, ``"report"``, ``"run"`` ...).
    id : str
        Its :func:`artefact_id`: hash of kind, inputs, settings and stage versions.
    made_from : tuple of str
        References (see :attr:`ref`) of the artefacts that it was made from.
    subject : mapping
        Pseudonyms and names of what it is about: ``dataset``, ``series_uid``, ``segmenter`` ...
    inputs : mapping
        Digests and descriptions of what came from outside the workspace. JSON values.
    settings : mapping
        Settings that it depends on. JSON values.
    versions : mapping
        Version of each stage and plug-in that it depends on.
    outputs : mapping
        SHA-256 of each file or folder of it, by relative path.
    failed : mapping
        ``code`` and ``message`` where the inputs allow no result; the artefact then has no outputs.
    made_by : str
        Reference of the environment, code and packages, that made it.
    made_at_s : int
        When, in seconds since 1970 (UTC).
    made_in_s : float
        Wall seconds that it took; 0 where that was not measured.
    """

    scope: str
    kind: str
    id: str
    made_from: tuple[str, ...] = ()
    subject: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""
    made_at_s: int = 0
    made_in_s: float = 0.0

    @property
    def ref(self) -> str:
        """How other records name this one: ``<scope>/<kind>-<id>``."""
        return f"{self.scope}/{self.kind}-{self.id}"


def artefact_id(kind: str, **made_from: object) -> str:
    """Sixteen hex digits naming an artefact by its inputs, settings and stage versions.

    Parameters
    ----------
    kind : str
        What it is (``"volume"``, ``"masks"``).
    **made_from
        Everything that determines it: JSON values, tuples or dataclasses of them.
    """
    text = json.dumps([kind, made_from], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {"__type__": type(value).__name__, **asdict(value)}
    raise TypeError(f"{type(value).__name__} cannot be part of an artefact's name")


def named(
    scope: str,
    kind: str,
    *,
    subject: Mapping[str, Any],
    made_from: Iterable[str] = (),
    inputs: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Record:
    """Record of an artefact that may be made yet, its id the hash of everything given."""
    made_from, inputs, settings, versions = tuple(made_from), inputs or {}, settings or {}, versions or {}
    name = artefact_id(kind, subject=subject, made_from=made_from, inputs=inputs, settings=settings, versions=versions)
    return Record(scope, kind, name, made_from, subject, inputs, settings, versions)


def digest_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 over the contents of local files, in order; names and dates do not count.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:  # noqa: PTH123  a str or a Path
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def record(place: Place, entry: Record, outputs: Iterable[str] = (), seconds: float = 0.0) -> Record:
    """Write the record of an artefact, last of all its files.

    Parameters
    ----------
    place : Place
        The workspace.
    entry : Record
        Without outputs, maker and time, which are filled in.
    outputs : iterable of str
        Files and folders of the artefact, relative to the workspace.
    seconds : float
        Wall seconds that it took to make.

    Returns
    -------
    Record
        As written.
    """
    entry = replace(
        entry,
        outputs={name: place.digest(name) for name in outputs},
        made_by=_environment(place),
        made_at_s=int(time.time()),
        made_in_s=round(seconds, 3),
    )
    _write(place, entry)
    return entry


def _write(place: Place, entry: Record) -> None:
    values = json.loads(json.dumps({one.name: getattr(entry, one.name) for one in fields(entry)}, default=_plain))
    values["sha256"] = _checksum(values)
    # On one line: to indent it takes ten times as long. Those of patients are not forced to the disk, as their outputs are not:
    # what a power cut takes is noticed, as a record is held against its checksum and its outputs, and made again.
    place.write(path_of(entry.ref), json.dumps(values).encode(), synced=entry.scope in {COHORT, ENVIRONMENTS})


@cache
def _environment(place: Place) -> str:
    """Reference of this process's environment, recorded in the workspace."""
    here = environment()
    entry = Record(ENVIRONMENTS, "environment", artefact_id("environment", **here), settings=here)
    if not place.exists(path_of(entry.ref)):
        _write(place, entry)
    return entry.ref


def path_of(ref: str) -> str:
    """Relative path of a record."""
    return f"{FOLDER}/{ref}.json"


def load(place: Place, ref: str) -> Record:
    """Read a record.

    Raises
    ------
    FileNotFoundError
        If there is none.
    DatasetError
        If it is damaged: it is not what was written, by its own checksum.
    """
    content = place.read(path_of(ref))
    try:
        values = json.loads(content)
        found = values.pop("sha256")
        expected = _checksum(values)
        values["made_from"] = tuple(values["made_from"])
        entry = Record(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"the ledger's record {ref} cannot be read ({type(error).__name__})") from error
    if found != expected or entry.ref != ref:
        raise DatasetError(f"the ledger's record {ref} was changed after it was written")
    return entry


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def stands(place: Place, ref: str) -> Record | None:
    """The record of an artefact, if there is one **and** every output is there with the recorded content."""
    try:
        entry = load(place, ref)
        sound = all(place.digest(name) == digest for name, digest in entry.outputs.items())
    except (OSError, DatasetError):
        return None
    return entry if sound else None


def refs(place: Place, scope: str) -> list[str]:
    """References of every record of a scope, sorted."""
    names = place.children(f"{FOLDER}/{scope}")
    return [f"{scope}/{name.removesuffix('.json')}" for name in names if name.endswith(".json") and name[0] != "."]


def scopes(place: Place) -> list[str]:
    """Every scope that has a folder, sorted."""
    return [name for name in place.children(FOLDER) if not name.startswith(".")]


def patients(place: Place) -> list[str]:
    """Pseudonym of every patient that has records."""
    return [scope for scope in scopes(place) if scope not in {COHORT, ENVIRONMENTS}]


def records(place: Place, scope: str, kind: str = "") -> Iterator[Record]:
    """Records of a scope, or those of one kind.

    Raises
    ------
    DatasetError
        As :func:`load`.
    """
    for ref in refs(place, scope):
        if not kind or ref.split("/")[1].startswith(f"{kind}-"):
            yield load(place, ref)


def readable(place: Place, scope: str) -> list[Record]:
    """Records of a scope that can be read, each after what it was made from."""
    found: list[Record] = []
    for ref in refs(place, scope):
        with suppress(DatasetError, OSError):
            found.append(load(place, ref))
    order = {"volume": 0, "annotations": 1, "lung": 1, "masks": 2}
    return sorted(found, key=lambda entry: order.get(entry.kind, len(order)))


def forget(place: Place, ref: str) -> None:
    """Remove a record; its outputs stay."""
    place.remove(path_of(ref))


def replace_older(place: Place, entry: Record) -> None:
    """Remove the cohort's other records that name an output of this one: it was written over.

    Only the flow writes records of the cohort, so this needs no lock.
    """
    for other in list(records(place, COHORT, entry.kind)):
        if other.ref != entry.ref and set(other.outputs) & set(entry.outputs):
            forget(place, other.ref)
