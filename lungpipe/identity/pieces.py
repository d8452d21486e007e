"""What a file holds, piece by piece: the vocabulary of the readers, and the one that opens anything."""

from __future__ import annotations

import io
import tempfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.identity.context import How

#: Content that is read at once; what is larger goes through a temporary file or chunk by chunk.
LIMIT = 64 << 20
#: A chunk of a large file, and how much of the one before is read again.
CHUNK = 4 << 20
OVERLAP = 4 << 10
#: Bytes at the edges of a chunk whose surroundings are in the neighbouring one.
EDGE = 128


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes to search.

    Parameters
    ----------
    place : str
        Where inside the file, for a person to find it.
    content : bytes
    how : {"value", "bytes", "packed"}
        A whole value, such as a cell; bytes of which nothing is known; or compressed ones.
    offset : int
        Position in the file or stream, of ``bytes``.
    lead, tail : int
        Bytes at the two ends that belong to the neighbouring chunks.
    """

    place: str
    content: bytes
    how: How = "value"
    offset: int = 0
    lead: int = 0
    tail: int = 0


@dataclass(frozen=True, slots=True)
class Inside:
    """A file inside a file; to be read before the next item is asked for."""

    place: str
    stream: IO[bytes]


@dataclass(frozen=True, slots=True)
class Unsearched:
    """What could not be opened, and why; an audit that passes over it would be no audit."""

    place: str
    reason: str


Item = Piece | Inside | Unsearched


class TooMuchError(Exception):
    """A container expands to more than the budget."""


class Budget:
    """How many bytes the containers in one file may still expand to."""

    def __init__(self, left: int = 4 << 30) -> None:
        self.left = left

    def expand(self, source: IO[bytes]) -> IO[bytes]:
        """Read a decompressing stream into a seekable one.

        Raises
        ------
        TooMuchError
            If it does not end within the budget.
        """
        target = tempfile.SpooledTemporaryFile(max_size=LIMIT)  # noqa: SIM115  the caller closes it
        try:
            self._copy(source, target)
        except BaseException:
            target.close()
            raise
        target.seek(0)
        return target

    def _copy(self, source: IO[bytes], target: IO[bytes]) -> None:
        while block := source.read(1 << 20):
            self.left -= len(block)
            if self.left < 0:
                raise TooMuchError
            target.write(block)


def chunks(stream: IO[bytes], how: How = "bytes") -> Iterator[Piece]:
    """Cut a stream into overlapping pieces, so that nothing of up to ``OVERLAP - 2 * EDGE`` bytes is cut in two."""
    stream.seek(0)
    content, offset = stream.read(CHUNK), 0
    while content:
        following = stream.read(CHUNK)
        yield Piece("", content, how, offset, EDGE if offset else 0, EDGE if following else 0)
        offset += len(content) - OVERLAP
        content = content[-OVERLAP:] + following if following else b""


def in_memory(content: bytes) -> IO[bytes]:
    """Bytes as a stream."""
    return io.BytesIO(content)


def inflated(content: bytes, limit: int) -> bytes | None:
    """Content of a zlib stream (RFC 1950), cut at a limit; None if it is none."""
    if content[:1] != b"x":
        return None
    try:
        return zlib.decompressobj().decompress(content, max(1, limit))
    except zlib.error:
        return None
