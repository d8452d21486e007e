"""What an earlier look at an archive found, so that a second one reads only what is new or changed.

One SQLite file an archive. It holds the archive's own identifiers and paths, so it lives beside the pseudonym key, readable
by its owner alone, and never in a workspace.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungpipe.dicom.pseudonymise import key_path
from lungpipe.dicom.series import Header, Series
from lungpipe.dicom.source import Source
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lungpipe.dicom.archive import Folder, Mark
    from lungpipe.identity.terms import Kind

#: Raise when headers, stacks or their codes come out differently: older memories are then forgotten.
VERSION = 4

_TABLES = """
CREATE TABLE IF NOT EXISTS folders (path TEXT PRIMARY KEY, is_zip INTEGER, digest BLOB, marks TEXT);
CREATE TABLE IF NOT EXISTS files (folder TEXT, name TEXT, kind TEXT, found TEXT, PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (patient TEXT, series TEXT, folder TEXT, name TEXT,
    PRIMARY KEY (patient, series, folder, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_by_file ON members (folder, name);
CREATE TABLE IF NOT EXISTS stacks (patient TEXT, series TEXT, stack INTEGER, summary TEXT, pixels TEXT, picture BLOB,
    PRIMARY KEY (patient, series, stack)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unsettled (patient TEXT, series TEXT, PRIMARY KEY (patient, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS terms (kind TEXT, text TEXT, PRIMARY KEY (kind, text)) WITHOUT ROWID;
"""
_SLICED = {"headers", "files", "sop_uids"}


def memory_path(root: Path) -> Path:
    """Where the memory of an archive is: beside the pseudonym key, named by a hash of the archive's path."""
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return key_path().parent / "index" / f"{name}.sqlite"


@contextmanager
def remember(path: Path | None) -> Iterator[Memory]:
    """Open a memory, or an empty one in RAM; what was added is kept when the block ends, however it ends.

    Raises
    ------
    DatasetError
        If the file is damaged, or another run has been writing to it for a minute.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    database = sqlite3.connect(path or ":memory:", isolation_level="DEFERRED", timeout=60)
    try:
        _prepare(database, on_disk=path is not None)
        try:
            yield Memory(database)
        finally:
            database.commit()
    except sqlite3.DatabaseError as error:
        raise DatasetError(
            f"what was indexed before cannot be used ({error}): if no other run is indexing the same archive, delete {path}"
        ) from error
    finally:
        database.close()


def _prepare(database: sqlite3.Connection, *, on_disk: bool) -> None:
    """Make the tables, anew if they are those of another version."""
    if on_disk:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
    if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f"DROP TABLE {name}")
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.executescript(_TABLES)


class Memory:
    """The tables of one archive."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def save(self) -> None:
        """Keep what was added so far."""
        self._db.commit()

    def folders(self) -> dict[str, bytes]:
        """Digest of every folder whose files are all known."""
        return dict(self._db.execute("SELECT path, digest FROM folders"))

    def marks(self, path: str) -> dict[str, Mark]:
        """Name, size and time of a folder's files when they were read."""
        row = self._db.execute("SELECT marks FROM folders WHERE path = ?", (path,)).fetchone()
        return {mark[0]: (mark[0], mark[1], mark[2]) for mark in json.loads(row[0])} if row else {}

    def set_folder(self, folder: Folder, digest: bytes, marks: list[Mark]) -> None:
        """Note a folder; an empty digest says that it is not wholly known."""
        row = (folder.path, folder.is_zip, digest, json.dumps(marks))
        self._db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?)", row)

    def forget_folder(self, path: str) -> None:
        """Drop a folder that is gone; the series that it had a part in become unsettled."""
        names = [name for (name,) in self._db.execute("SELECT name FROM files WHERE folder = ?", (path,))]
        self.forget_files(path, names)
        self._db.execute("DELETE FROM folders WHERE path = ?", (path,))

    def forget_files(self, folder: str, names: Iterable[str]) -> None:
        """Drop files that are gone or changed; the series that they were in become unsettled."""
        for name in names:
            where = (folder, name)
            self._db.execute(
                "INSERT OR IGNORE INTO unsettled SELECT patient, series FROM members WHERE folder = ? AND name = ?",
                where,
            )
            self._db.execute("DELETE FROM members WHERE folder = ? AND name = ?", where)
            self._db.execute("DELETE FROM files WHERE folder = ? AND name = ?", where)

    def add_files(self, rows: Iterable[tuple[str, str, str, str, list[tuple[str, str]]]]) -> None:
        """Add files as (folder, name, kind, found, series of it); those series become unsettled."""
        rows = list(rows)
        self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (row[:4] for row in rows))
        members = [(*key, row[0], row[1]) for row in rows for key in row[4]]
        self._db.executemany("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)", members)
        keys = {member[:2] for member in members}
        self._db.executemany("INSERT OR IGNORE INTO unsettled VALUES (?, ?)", keys)

    def unsettled(self) -> list[tuple[str, str]]:
        """Patient and series of every series whose stacks are not those of its files, whenever that came about."""
        return list(self._db.execute("SELECT patient, series FROM unsettled ORDER BY patient, series"))

    def settle(self, patient: str, series: str) -> None:
        """Note that the stacks of a series are those of its files."""
        self._db.execute("DELETE FROM unsettled WHERE patient = ? AND series = ?", (patient, series))

    def found(self, patient: str, series: str) -> Iterator[tuple[str, str]]:
        """Kind and content of every file of a series."""
        return self._db.execute(
            "SELECT kind, found FROM members JOIN files USING (folder, name) WHERE patient = ? AND series = ?",
            (patient, series),
        )

    def count_files(self) -> int:
        """How many files were read, whatever came of them."""
        return int(self._db.execute("SELECT count(*) FROM files").fetchone()[0])

    def others(self) -> dict[str, int]:
        """How many files are neither images nor errors, by kind."""
        query = "SELECT found, count(*) FROM files WHERE kind = 'other' GROUP BY found ORDER BY found"
        return dict(self._db.execute(query))

    def errors(self) -> list[str]:
        """What was found of every file that cannot be indexed."""
        query = "SELECT found FROM files WHERE kind = 'error' ORDER BY folder, name"
        return [found for (found,) in self._db.execute(query)]

    def set_stacks(self, patient: str, series: str, stacks: Iterable[Series]) -> None:
        """Replace the stacks of a series; their pixels count as not checked."""
        self._db.execute("DELETE FROM stacks WHERE patient = ? AND series = ?", (patient, series))
        for stack in stacks:
            self.set_stack(stack, (patient, series))

    def set_stack(self, stack: Series, key: tuple[str, str] | None = None) -> None:
        """Add or replace one stack; its pixels count as not checked."""
        patient, series = key or stack.key[:2]
        row = (patient, series, stack.stack, json.dumps(_summary(stack)))
        self._db.execute("INSERT OR REPLACE INTO stacks VALUES (?, ?, ?, ?, NULL, NULL)", row)

    def stacks(self) -> list[tuple[Series, str | None]]:
        """Every stack without headers, and what its pixels came to."""
        query = "SELECT summary, pixels FROM stacks ORDER BY patient, series, stack"
        return [(_series(json.loads(summary)), pixels) for summary, pixels in self._db.execute(query)]

    def sop_uids(self, series: str, stack: int) -> tuple[str, ...]:
        """SOP instance UIDs of a stack, in the order of its slices; empty if there is none."""
        query = "SELECT summary FROM stacks WHERE series = ? AND stack = ?"
        row = self._db.execute(query, (series, stack)).fetchone()
        return tuple(json.loads(row[0])["sop_uids"]) if row else ()

    def set_pixels(self, series: Series, report: str, picture: bytes) -> None:
        """Note what the pixels of a stack came to, and its thumbnail."""
        self._db.execute(
            "UPDATE stacks SET pixels = ?, picture = ? WHERE patient = ? AND series = ? AND stack = ?",
            (report, picture, *series.key),
        )

    def picture(self, series: Series) -> bytes:
        """Thumbnail of a stack; empty if it has none."""
        query = "SELECT picture FROM stacks WHERE patient = ? AND series = ? AND stack = ?"
        row = self._db.execute(query, series.key).fetchone()
        return row[0] or b"" if row else b""

    def add_terms(self, terms: Iterable[tuple[str, str]]) -> None:
        """Note names, ids and dates that must appear nowhere else."""
        self._db.executemany("INSERT OR IGNORE INTO terms VALUES (?, ?)", terms)

    def terms(self) -> list[tuple[Kind, str]]:
        """Kind and text of everything that identifies."""
        return list(self._db.execute("SELECT kind, text FROM terms ORDER BY kind, text"))


def all_terms() -> list[tuple[Kind, str]]:
    """What identifies, by kind, of every archive that was indexed under this key."""
    found: set[tuple[Kind, str]] = set()
    for path in sorted((key_path().parent / "index").glob("*.sqlite")):
        with remember(path) as memory:
            found.update(memory.terms())
    return sorted(found)


def pack_headers(headers: list[Header]) -> str:
    """Headers of one file as text; their path, being that of the file, is left out."""
    return json.dumps([[_plain(getattr(h, f.name)) for f in fields(Header)[1:]] + [h.source.frame] for h in headers])


def unpack_headers(text: str, source: Source) -> list[Header]:
    """Inverse of :func:`pack_headers`."""
    return [_header(row, Source(source.path, source.entry, row[-1])) for row in json.loads(text)]


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def _header(row: list[Any], source: Source) -> Header:
    names = [f.name for f in fields(Header)[1:]]
    values = dict(zip(names, row[:-1], strict=True))
    for name in ("position_mm", "orientation", "pixel_spacing_mm", "size", "bits"):
        values[name] = None if values[name] is None else tuple(values[name])
    values["marks"] = frozenset(values["marks"])
    for name in ("scanner", "identity"):
        values[name] = tuple((key, value) for key, value in values[name])
    return Header(source, **values)


def _summary(series: Series) -> dict[str, Any]:
    """A stack as JSON values: without headers, paths by folder."""
    values = {f.name: getattr(series, f.name) for f in fields(Series) if f.name not in _SLICED}
    values["geometry"] = asdict(series.geometry) if series.geometry else None
    values["twins"] = [[_place(one), _place(other), kind] for one, other, kind in series.twins]
    values["files"] = [_place(file) for file in series.files]
    values["sop_uids"] = series.sop_uids
    return values


def _place(source: Source) -> list[Any]:
    return [source.path, source.entry, source.frame]


def _series(values: dict[str, Any]) -> Series:
    grid = values["geometry"]
    values["geometry"] = Geometry(**{name: tuple(value) for name, value in grid.items()}) if grid else None
    values["twins"] = tuple((Source(*one), Source(*other), kind) for one, other, kind in values["twins"])
    values["files"] = tuple(Source(path, entry, frame) for path, entry, frame in values["files"])
    for name in ("sop_uids", "codes"):
        values[name] = tuple(values[name])
    return Series(**values)
