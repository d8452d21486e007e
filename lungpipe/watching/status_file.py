"""``status.json`` of a workspace: how far its run is, kept up to date by the process of the run."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import psutil

from lungpipe.errors import DatasetError
from lungpipe.watching.events import RunEnded, StageBegan, StageEnded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lungpipe.store.place import Place
    from lungpipe.watching.events import Event, Listener
    from lungpipe.watching.watch import Watch

NAME = "status.json"
#: How often it is written while nothing else is to tell.
EVERY_S = 5.0
#: How long the end of a run waits for the last writing.
LAST_WAIT_S = 10.0
#: A run that has written nothing for so long is not well.
SILENT_S = 60.0

Condition = Literal["running", "finished", "failed", "interrupted", "died", "silent"]

log = logging.getLogger(__name__)


@contextmanager
def kept(place: Place, watch: Watch) -> Iterator[Listener]:
    """Keep the file up to date while the block lasts: at every change of stage, and every :data:`EVERY_S`.

    A thread of its own writes it, so a slow or broken store holds up nobody; that it cannot be written is logged once.

    Parameters
    ----------
    place : Place
        The workspace.
    watch : Watch
        Gives the content, and is told when it was written.

    Yields
    ------
    Listener
    """
    due, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=_write_until, args=(place, watch, due, over), name="status", daemon=True)
    thread.start()

    def listen(event: Event) -> None:
        if isinstance(event, StageBegan | StageEnded | RunEnded):
            due.set()

    try:
        yield listen
    finally:
        over.set()
        due.set()
        thread.join(LAST_WAIT_S)


def _write_until(place: Place, watch: Watch, due: threading.Event, over: threading.Event) -> None:
    told = False
    while True:
        due.clear()
        last = over.is_set()
        try:
            place.write(NAME, json.dumps(watch.now(), indent=1).encode(), synced=False)
            watch.state.beat_s = time.time()
        except Exception as error:  # noqa: BLE001  whatever a store raises, the run goes on
            if not told:
                log.warning("%s cannot be written (%s); the run goes on", NAME, type(error).__name__)
            told = True
        if last:
            return
        due.wait(EVERY_S)


def read_status(place: Place) -> dict[str, Any] | None:
    """Read the file of a workspace; None if no run wrote one.

    Raises
    ------
    DatasetError
        If it cannot be understood.
    """
    try:
        found = json.loads(place.read(NAME))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DatasetError(f"{NAME} of {place} is damaged; the next run writes it anew") from error
    if not isinstance(found, dict) or not {"run", "heartbeat_s", "scans", "end"} <= found.keys():
        raise DatasetError(f"{NAME} of {place} is not one that a run wrote; the next run writes it anew")
    return found


def condition(status: Mapping[str, Any], now_s: float | None = None) -> Condition:
    """Tell how a run is, by its status.

    On the machine of the run its process is looked for, so a run that was killed there is known as ``"died"`` at once; on
    another one it is, after :data:`SILENT_S` without a sign, by the clocks of both. ``"silent"`` is a process that is there
    and writes nothing: it was stopped, or it cannot reach the workspace.
    """
    if status["end"] is not None:
        how: Condition = status["end"]["how"]
        return how
    quiet = (time.time() if now_s is None else now_s) - status["heartbeat_s"] > SILENT_S
    if status["host"] != socket.gethostname():
        return "died" if quiet else "running"
    if not _is_there(status["pid"], status["process_began_s"]):
        return "died"
    return "silent" if quiet else "running"


def _is_there(pid: int, began_s: float) -> bool:
    """Whether the process is there still, and not another one under its number."""
    try:
        process = psutil.Process(pid)
        same: bool = abs(process.create_time() - began_s) < 1
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
