"""Search every file below a folder for terms: names, contents, and what is packed inside."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lungpipe.errors import DatasetError
from lungpipe.identity.containers import (
    decompressor,
    read_compressed,
    read_dicom,
    read_pickle,
    read_png,
    read_zip,
    read_zlib,
)
from lungpipe.identity.databases import read_parquet, read_sqlite, read_zarr_array
from lungpipe.identity.matcher import Matcher
from lungpipe.identity.pieces import Budget, Inside, Item, Piece, Unsearched, chunks, inflated
from lungpipe.identity.texts import read_text
from lungpipe.store.verify import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lungpipe.identity.context import How
    from lungpipe.identity.terms import Term

#: Files inside files inside files.
DEEPEST = 6
#: Each term is told once of each file, with further places up to this many; what is beyond is counted.
MOST_PLACES = 20
#: Bytes of values that are searched together.
_TOGETHER = 1 << 20
_CHUNK_OF_ZARR = re.compile(r"\.zarr/(?:.*/)?c(?:/\d+)*$")


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search found and how much it saw."""

    findings: tuple[Finding, ...]
    n_files: int
    n_bytes: int


def search_identities(root: Path | Sequence[Path], terms: Iterable[Term]) -> list[Finding]:
    """Search every file below one or more folders; see :func:`search`.

    Raises
    ------
    DatasetError
        If a folder or file that was named does not exist.
    """
    roots = [root] if isinstance(root, Path) else list(root)
    return list(search(roots, Matcher(terms)).findings)


def search(roots: Sequence[Path], matcher: Matcher) -> Searched:
    """Search every file below folders, or single files.

    Looked at are names of files and folders, bytes (UTF-8, Latin-1, UTF-16), and what is inside Parquet, zarr, JSON,
    HTML, SQLite, pickles, DICOM, PNG texts, zip, gzip, bzip2, xz, zstd and base64. Not looked at: what is drawn in a
    picture or burned into pixels, and what is encrypted. Links to folders are not followed.

    Parameters
    ----------
    roots : sequence of Path
        Findings below the first are told relative to it, below the others with the folder's name before.
    matcher : Matcher

    Returns
    -------
    Searched
        One finding a file, place and term, with the term masked; and one of kind ``"unsearched"`` for whatever could
        not be opened.

    Raises
    ------
    DatasetError
        If a folder or file that was named does not exist.
    """
    findings: list[Finding] = []
    n_files = n_bytes = 0
    for number, root in enumerate(roots):
        if not root.exists():
            raise DatasetError(f"{root} does not exist, so it cannot be searched; name a workspace folder")
        for relative, path in _files(root):
            shown = f"{root.name}/{relative}" if number and root.is_dir() else relative
            file = _OneFile(matcher, shown)
            file.see(_file_pieces(path, shown))
            findings += file.findings()
            if not path.is_dir():
                n_files += 1
                n_bytes += _size(path)
    return Searched(tuple(findings), n_files, n_bytes)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Files and folders below a root, in order, each with its path relative to the root."""
    if not root.is_dir():
        yield root.name, root
        return
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted([*below, *names]):
            path = Path(folder, name)
            yield path.relative_to(root).as_posix(), path


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _file_pieces(path: Path, shown: str) -> Iterator[Piece | Unsearched]:
    name = shown.rpartition("/")[2]
    yield Piece("what it is called", name.encode("utf-8", "surrogateescape"))
    try:
        if path.is_symlink():
            yield Piece("the link's target", os.fsencode(path.readlink()))
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            if path.is_symlink():
                yield Unsearched("", "a link to a folder is not followed")
            elif not os.access(path, os.R_OK | os.X_OK):
                yield Unsearched("", "an unreadable folder")
            return
        if not stat.S_ISREG(mode):
            return
        if path.name == "zarr.json":
            yield from pieces_of(read_zarr_array(path.parent), Budget())
        with path.open("rb") as stream:
            if _CHUNK_OF_ZARR.search(shown):
                yield from chunks(stream, "packed")  # decompressed with its array
            else:
                yield from pieces(stream, Budget())
    except FileNotFoundError:
        return  # a log or journal that its owner took away meanwhile, or a link to nothing
    except OSError as error:
        yield Unsearched("", f"it cannot be read ({type(error).__name__})")


def pieces(stream: IO[bytes], budget: Budget, depth: int = 0) -> Iterator[Piece | Unsearched]:
    """Everything in a file, whatever it is, taken apart as far as it goes."""
    if depth > DEEPEST:
        yield Unsearched("", f"files inside files, more than {DEEPEST} deep")
        return
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(132)
    stream.seek(0)
    structure = _structure(stream, head, size, budget)
    if structure is None:
        yield from pieces_of(read_text(stream, size), budget, depth)
        return
    reader, how = structure
    yield from chunks(stream, how)
    stream.seek(0)
    yield from pieces_of(reader, budget, depth)


def pieces_of(items: Iterator[Item], budget: Budget, depth: int = 0) -> Iterator[Piece | Unsearched]:
    """Pieces of what a reader gives, files inside opened in their turn."""
    for item in items:
        if not isinstance(item, Inside):
            yield item
            continue
        for below in pieces(item.stream, budget, depth + 1):
            place = f"{item.place}: {below.place}" if below.place else item.place
            if isinstance(below, Unsearched):
                yield Unsearched(place, below.reason)
            else:
                yield Piece(place, below.content, below.how, below.offset, below.lead, below.tail)


def _structure(stream: IO[bytes], head: bytes, size: int, budget: Budget) -> tuple[Iterator[Item], How] | None:
    """Reader of a container by its first bytes, and what its bytes are; None for text and anything else."""
    magic = decompressor(head)
    if magic is not None:
        return read_compressed(stream, magic, budget), "packed"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return read_zip(stream, budget), "packed"
    if head.startswith(b"PAR1"):
        return read_parquet(stream), "packed"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return read_png(stream), "packed"
    if inflated(head, 1) is not None:
        return read_zlib(stream, budget), "packed"
    if head.startswith(b"SQLite format 3\0"):
        return read_sqlite(stream, size), "bytes"  # what was deleted is still there
    if head[128:132] == b"DICM":
        return read_dicom(stream), "bytes"
    if head[:1] == b"\x80" and head[1:2] in {b"\2", b"\3", b"\4", b"\5"}:
        return read_pickle(stream), "bytes"
    return None


class _OneFile:
    """What is found in one file; values are searched many at once."""

    def __init__(self, matcher: Matcher, shown: str) -> None:
        self.matcher = matcher
        self.shown = shown
        self.values: list[Piece] = []
        self.waiting = 0
        self.found: dict[tuple[str, Term], None] = {}
        self.told: set[Term] = set()
        self.raw: dict[Term, str] = {}
        self.unsearched: dict[str, str] = {}
        self.more = 0

    def see(self, items: Iterator[Piece | Unsearched]) -> None:
        """Search the pieces of the file."""
        for item in items:
            if isinstance(item, Unsearched):
                self.unsearched.setdefault(item.place, item.reason)
            elif item.how == "value":
                short = len(item.content) < 64
                whole = self.matcher.whole(item.content.decode("utf-8", "replace"), item.place) if short else None
                if whole is not None:
                    self._add(item.place, whole)
                self.values.append(item)
                self.waiting += len(item.content)
                if self.waiting > _TOGETHER:
                    self._search_values()
            else:
                self._search_bytes(item)
        self._search_values()

    def _search_values(self) -> None:
        for hit in self.matcher.values([piece.content for piece in self.values]):
            self._add(self.values[hit.item].place, hit.term)
        self.values, self.waiting = [], 0

    def _search_bytes(self, piece: Piece) -> None:
        end = len(piece.content) - piece.tail
        for start, stop, term, _ in self.matcher.anything(piece.content, packed=piece.how == "packed"):
            if piece.lead <= start and stop <= end:
                where = f"{piece.place}, byte {piece.offset + start}" if piece.place else f"byte {piece.offset + start}"
                if term not in self.raw or (piece.place and self.raw[term].startswith("byte ")):
                    self.raw[term] = where

    def _add(self, place: str, term: Term) -> None:
        if (place, term) in self.found:
            return
        if term in self.told and len(self.found) >= MOST_PLACES:
            self.more += 1
        else:
            self.found[place, term] = None
            self.told.add(term)

    def findings(self) -> list[Finding]:
        """Findings of the file, terms masked wherever they stand."""
        if not (self.found or self.raw or self.unsearched):
            return []
        path = self.matcher.masked_path(self.shown)
        places = [*self.found, *((place, term) for term, place in self.raw.items() if term not in self.told)]
        rows: list[tuple[str, str, str]] = [
            (term.kind, self.matcher.masked(place), term.masked) for place, term in places
        ]
        rows += [("unsearched", self.matcher.masked(place), reason) for place, reason in self.unsearched.items()]
        if self.more:
            rows.append(("more", "", f"{self.more} further places of these terms in this file"))
        return [Finding(kind, path, message, place) for kind, place, message in rows]
