"""Where one image of an archive is: a file, a file inside a zip archive, or a frame of either."""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Files that hold a whole volume.
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
#: Bytes asked for at once, whatever a file says of its size.
_PIECE = 1 << 20


class UnavailableError(Exception):
    """A file cannot be had at this moment, which says nothing about what is in it; its cause is an ``OSError``."""


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """One image of an archive.

    Parameters
    ----------
    path : str
        The file, or the zip archive.
    entry : str
        Name inside the zip archive; empty for a file.
    frame : int
        Zero-based frame of a multi-frame image; -1 for a file that is one image.
    """

    path: str
    entry: str = ""
    frame: int = -1

    @property
    def file(self) -> Source:
        """The file that holds the image, whatever the frame."""
        return self if self.frame < 0 else Source(self.path, self.entry)

    def read(self) -> bytes:
        """Return the whole file's content.

        Raises
        ------
        OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError
            If the file is gone, or the archive damaged, encrypted or compressed in an unknown way.
        """
        return next(read_each([self]))


def of_paths(paths: Iterable[Path | str]) -> tuple[Source, ...]:
    """Name plain files as sources."""
    return tuple(Source(str(path)) for path in paths)


def digest(sources: Iterable[Source]) -> str:
    """SHA-256 over the contents of the images' files, in order, and their frames; names and dates do not count.

    The data file that a MetaImage header names counts with it.

    Raises
    ------
    OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError
        As :meth:`Source.read`.
    """
    total = hashlib.sha256()
    last: Source | None = None
    sources = list(sources)
    for source, content in zip(sources, read_each(sources), strict=True):
        if source.file != last:
            total.update(hashlib.sha256(content).digest())
            if not source.entry and source.path.lower().endswith(".mhd"):
                for path in data_files(Path(source.path), content):
                    total.update(hashlib.sha256(path.read_bytes()).digest())
            last = source.file
        if source.frame >= 0:
            total.update(f"frame {source.frame}".encode())
    return total.hexdigest()


def data_files(path: Path, header: bytes) -> list[Path]:
    """Files that a MetaImage header names as its data, as far as they are there; more than one makes a ``LIST``."""
    lines = [line.partition("=") for line in header[:_PIECE].decode("latin-1").splitlines()]
    names = [value.strip() for key, _, value in lines if key.strip().lower() == "elementdatafile"]
    return [
        path.parent / name for name in names if name.upper() not in {"LOCAL", "LIST"} and (path.parent / name).is_file()
    ]


def read_each(sources: Iterable[Source]) -> Iterator[bytes]:
    """Content of each source's file in turn; an archive is opened, and a multi-frame file read, once in a row.

    Raises
    ------
    OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError
        As :meth:`Source.read`.
    """
    with ExitStack() as stack:
        opened = ""
        archive: zipfile.ZipFile | None = None
        last: Source | None = None
        content = b""
        for source in sources:
            if source.file != last:
                if source.entry:
                    if source.path != opened or archive is None:
                        stack.close()
                        archive = stack.enter_context(zipfile.ZipFile(source.path))
                        opened = source.path
                    content = archive.read(source.entry)
                else:
                    content = Path(source.path).read_bytes()
                last = source.file
            yield content


def open_each(sources: Iterable[Source]) -> Iterator[tuple[Callable[[int], bytes], Exception | None]]:
    """For each file in turn, a function that reads its first bytes, or the error that opening it met.

    A file that cannot be had, then or later, is an :class:`UnavailableError`. The function works until the next file is asked for. An archive stays open while its entries follow each other.
    """
    opened = ""
    archive: zipfile.ZipFile | None = None
    try:
        for source in sources:
            try:
                if source.entry and source.path != opened:
                    if archive is not None:
                        archive.close()
                    archive, opened = None, ""
                    archive, opened = zipfile.ZipFile(source.path), source.path
                stream = _open(source, archive)
            except OSError as error:
                yield _nothing, _unavailable(error)
                continue
            except Exception as error:  # noqa: BLE001  a damaged archive may raise anything; the caller records it
                yield _nothing, error
                continue
            with stream:
                yield partial(_first, stream), None
    finally:
        if archive is not None:
            archive.close()


def _open(source: Source, archive: zipfile.ZipFile | None) -> IO[bytes]:
    return archive.open(source.entry) if source.entry and archive else Path(source.path).open("rb", buffering=0)


def _first(stream: IO[bytes], size: int) -> bytes:
    """Read the first bytes of a stream; a short read ends only with the stream."""
    parts = []
    try:
        stream.seek(0)
        while size > 0 and (part := stream.read(min(size, _PIECE))):
            parts.append(part)
            size -= len(part)
    except OSError as error:
        raise _unavailable(error) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unavailable(error: OSError) -> UnavailableError:
    found = UnavailableError(type(error).__name__)
    found.__cause__ = error
    return found


def _nothing(_size: int) -> bytes:
    return b""
