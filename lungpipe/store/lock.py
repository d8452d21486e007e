"""One run a workspace at a time: a lock that a run which was killed does not leave behind.

On a disk it is the operating system's lock on a file, which ends with the process that holds it, however that ends. In an
object store, which has no locks, it is an object that its holder writes anew every few seconds; one that is no longer written
counts for nothing. Nobody's clock is compared with another's: who finds such an object watches whether it changes.

The file lies beside ``run.json`` and has no dot before its name, so that neither `lungpipe verify` nor `lungpipe gc` takes it
for something half-written; no artefact is in it, so the ledger does not know it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from lungpipe.errors import DatasetError, LungpipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.store.place import Place

NAME = "run.lock"
#: Seconds between two writings of a lease.
BEAT_S = 10.0
#: Seconds after which a lease that did not change is nobody's: five writings may fail.
EXPIRES_S = 60.0
#: Seconds in which another that took the same dead lease shows.
_SETTLE_S = 2.0


class WorkspaceBusyError(DatasetError):
    """Another run writes to the workspace."""


@contextmanager
def one_run(place: Place) -> Iterator[None]:
    """Hold the workspace while the block runs.

    Parameters
    ----------
    place : Place
        The workspace; a local folder is made if it is not there.

    Raises
    ------
    WorkspaceBusyError
        If another run holds it; the message says which, since when, and what to do.
    LungpipeError
        At the end, if this process stood still so long that another took over the lease in the object store.
    """
    with _locked(place) if place.local is not None else _leased(place):
        yield


def require_free(place: Place) -> None:
    """Refuse at once a local workspace that is held, and change nothing; in an object store only :func:`one_run` can tell.

    Raises
    ------
    WorkspaceBusyError
        As :func:`one_run`.
    """
    if place.local is not None and place.exists(NAME):
        with place.path(NAME).open("rb") as stream:
            _lock(stream, place, fcntl.LOCK_SH)


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    path = place.path(NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        _lock(stream, place, fcntl.LOCK_EX)
        # The file stays, empty: a name that comes and goes could be locked twice.
        stream.truncate(0)
        stream.write(json.dumps(_holder()).encode())
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def _lock(stream: BinaryIO, place: Place, kind: int) -> None:
    """Lock an open file until it is closed."""
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        raise _busy(place, stream.read()) from error


@contextmanager
def _leased(place: Place) -> Iterator[None]:
    holder = _holder()
    _take(place, holder)
    over, lost = threading.Event(), threading.Event()
    beating = threading.Thread(target=_beat, args=(place, holder, over, lost), name="workspace lease", daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        if not lost.is_set():
            with suppress(OSError):  # it expires
                place.remove(NAME)
    if lost.is_set():
        raise LungpipeError(
            f"while this process stood still for more than {EXPIRES_S:g} s, another run took {place}; both may have written "
            "tables, so run the recipe once more when the other has ended"
        )


def _take(place: Place, holder: dict[str, Any]) -> None:
    """Write the lease where there is none, or one that nobody keeps up."""
    try:
        place.create(NAME, json.dumps(holder).encode())
    except FileExistsError:
        found = _read(place)
        waited = time.monotonic()
        while found is not None and time.monotonic() - waited < EXPIRES_S:
            time.sleep(BEAT_S / 4)
            if (now := _read(place)) != found:
                if now is not None:
                    raise _busy(place, now) from None
                found = None
        place.remove(NAME)
        try:
            place.create(NAME, json.dumps(holder).encode())
        except FileExistsError:
            raise _busy(place, _read(place) or b"") from None
        time.sleep(_SETTLE_S)
        if (now := _read(place)) is None or not _is_of(holder, now):
            raise _busy(place, now or b"") from None


def _beat(place: Place, holder: dict[str, Any], over: threading.Event, lost: threading.Event) -> None:
    beats = 0
    while not over.wait(BEAT_S):
        beats += 1
        with suppress(OSError):  # the next one may succeed
            found = _read(place)
            if found is not None and not _is_of(holder, found):
                lost.set()
                return
            place.write(NAME, json.dumps({**holder, "beats": beats}).encode())


def _read(place: Place) -> bytes | None:
    try:
        return place.read(NAME)
    except FileNotFoundError:
        return None


def _is_of(holder: dict[str, Any], content: bytes) -> bool:
    return bool(_parsed(content).get("token") == holder["token"])


def _holder() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since_s": int(time.time()),  # no date: the identity audit searches the file for the archive's dates
        "token": uuid.uuid4().hex,
    }


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _busy(place: Place, content: bytes) -> WorkspaceBusyError:
    found = _parsed(content)
    who = "another run"
    if found:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.get("since_s", 0)))
        who = f"process {found.get('process')} on {found.get('host')}, since {since},"
    return WorkspaceBusyError(
        f"one run at a time may write to {place}, and {who} is doing so; wait for it to end or stop it, then run the same "
        "command again, or name another workspace with --workspace"
    )
