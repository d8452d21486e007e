"""Take what this process and its children write to standard error, line by line."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Descriptor of standard error (POSIX).
_ERR = 2
#: How long is waited for lines that are on their way.
_LAST_WAIT_S = 5.0


class Before(NamedTuple):
    """What was standard error before.

    Parameters
    ----------
    write : callable
        Writes bytes to it.
    settle : callable
        Waits until all lines that were written so far have been taken.
    """

    write: Callable[[bytes], None]
    settle: Callable[[], None]


@contextmanager
def capture(take: Callable[[str], None]) -> Iterator[Before]:
    """Call ``take`` with every line that is written to standard error while the block lasts.

    The descriptor is replaced, not only Python's stream, so lines of native code and of processes that are started inside the
    block come too. A child that outlives the block is listened to until this process ends.

    Yields
    ------
    Before
    """
    sys.stderr.flush()
    before, stream = os.dup(_ERR), sys.stderr
    reading, writing = os.pipe()
    os.dup2(writing, _ERR)
    os.close(writing)
    mark, seen = os.urandom(16).hex().encode(), threading.Event()

    def write(content: bytes) -> None:
        while content:
            content = content[os.write(before, content) :]

    def read() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if line.strip() == mark:
                    seen.set()
                elif text := line.decode("utf-8", "replace").rstrip():
                    take(text)
        os.close(before)

    def settle() -> None:
        own.flush()
        seen.clear()
        os.write(_ERR, b"\n" + mark + b"\n")
        seen.wait(_LAST_WAIT_S)

    threading.Thread(target=read, name="standard-error", daemon=True).start()
    own = os.fdopen(_ERR, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = own
    try:
        yield Before(write, settle)
    finally:
        settle()
        sys.stderr = stream
        os.dup2(before, _ERR)
