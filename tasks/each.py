"""Run a function once an item on Dask; whatever befalls an item ends as its result or its failure."""

from __future__ import annotations

import errno
import math
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Client, wait
from distributed.client import FuturesCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from lungpipe.errors import LungpipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

#: Codes of failures of a disk or server: nothing is wrong with the item.
NO_ROOM, IO_FAILED = "no_room", "io_failed"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_POLL_S = 2.0
#: Seconds within which a scheduler answers.
_ANSWER_S = 10
#: Seconds that a scheduler which went away may take to come back.
BACK_WITHIN_S = 600.0
#: Share of its memory limit at which Dask stops a worker.
_MOST_OF_A_WORKER = 0.95


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no result: a reason code and one sentence."""

    code: str
    message: str


def each(
    address: str,
    function: Callable[..., Any],
    items: Sequence[Any],
    *args: Any,
    timeout_s: float | None = None,
    needs_bytes: Sequence[int] | None = None,
) -> Iterator[tuple[int, Any | Failure]]:
    """Yield ``(position, function(item, *args))`` as items finish, in any order.

    A result is released as soon as it is yielded, so a worker that dies takes down only what it was doing. An item
    that kills its workers, raises, or runs longer than ``timeout_s`` yields a :class:`Failure`; the worker of the
    last kind is restarted, which also ends C code that would not listen. When the scheduler goes away, all that was not
    yielded begins again as soon as one answers at its address.

    Parameters
    ----------
    address : str
        Of the Dask scheduler.
    function : callable
        Importable by the workers.
    items : sequence
    *args
        Passed on to every call; small.
    timeout_s : float, optional
        Wall seconds that one item may run on a worker.
    needs_bytes : sequence of int, optional
        Memory that each item needs. It goes to a worker that has it, unless all such are gone; where none
        has, it fails without being tried.

    Raises
    ------
    LungpipeError
        If the scheduler stays away.
    """
    left = set(range(len(items)))
    while left:
        try:
            with _connected(address) as client:
                for position, outcome in _while_connected(client, function, items, left, args, timeout_s, needs_bytes):
                    left.discard(position)
                    yield position, outcome
        except (FuturesCancelledError, CommClosedError):  # the scheduler went away, and with it all that it knew of
            continue


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """A client, as soon as a scheduler answers.

    Raises
    ------
    LungpipeError
        If none does in time.
    """
    deadline = time.monotonic() + BACK_WITHIN_S
    while True:
        try:
            client = Client(address, timeout=_ANSWER_S, set_as_default=False)
        except OSError as error:
            if time.monotonic() > deadline:
                raise LungpipeError(
                    f"the Dask scheduler at {address} has been away for {BACK_WITHIN_S:g} s; start it and its workers again"
                ) from error
            time.sleep(_POLL_S)
        else:
            break
    with client, client.as_current():
        yield client


def _while_connected(
    client: Client,
    function: Callable[..., Any],
    items: Sequence[Any],
    wanted: Iterable[int],
    args: tuple[Any, ...],
    timeout_s: float | None,
    needs_bytes: Sequence[int] | None,
) -> Iterator[tuple[int, Any | Failure]]:
    # The arguments travel with every call: scattered ones would be lost with the workers that hold them.
    room = _room(client) if needs_bytes is not None else {}
    futures: dict[Any, int] = {}
    for i in sorted(wanted):
        able = _able(room, needs_bytes[i]) if needs_bytes is not None else None
        if isinstance(able, Failure):
            yield i, able
            continue
        key = f"{function.__name__}-{time.monotonic_ns()}-{i}"
        # A worker that died comes back under another address: what waits for the old one must not wait for ever.
        elsewhere = able is not None
        future = client.submit(
            function, items[i], *args, pure=False, key=key, workers=able, allow_other_workers=elsewhere
        )
        futures[future] = i
    started: dict[str, tuple[str, float]] = {}
    while futures:
        try:
            done = wait(list(futures), timeout=_POLL_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        for future in done:
            outcome = _outcome(future)
            if client.status != "running":  # then it may tell of the loss of the scheduler, and not of the item
                raise CommClosedError
            yield futures.pop(future), outcome
            future.release()
        if client.status != "running":
            raise CommClosedError
        if timeout_s is not None:
            for future in _overdue(client, futures, started, timeout_s):
                yield futures.pop(future), Failure("timeout", f"it ran longer than {timeout_s:g} s and was stopped")


def _room(client: Client) -> dict[str, float]:
    """Bytes that each worker may take before Dask stops it, by address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: _MOST_OF_A_WORKER * (worker["memory_limit"] or math.inf) for address, worker in workers.items()}


def _able(room: dict[str, float], n_bytes: int) -> list[str] | Failure | None:
    """Workers that have the memory; None if all have, or no worker is there yet."""
    able = [address for address, limit in room.items() if limit >= n_bytes]
    if len(able) == len(room):
        return None
    most = max(room.values())
    return able or Failure(
        "too_large_for_a_worker",
        f"it needs about {n_bytes / 2**30:.1f} GiB by its headers, and the largest worker may take {most / 2**30:.1f} GiB; "
        "raise run.memory_per_worker, or add a larger worker",
    )


def _outcome(future: Any) -> Any | Failure:
    try:
        return future.result()
    except KilledWorker:
        return Failure("worker_died", "the worker process died each time it was tried; memory or native code")
    except LungpipeError as error:  # its words are ours and name nobody
        return Failure(getattr(error, "code", "refused"), str(error))
    except OSError as error:
        where = _place_of(error)
        if error.errno in _NO_ROOM:
            return Failure(NO_ROOM, f"no room was left on the disk at {where}")
        return Failure(
            IO_FAILED,
            f"{type(error).__name__} ({errno.errorcode.get(error.errno or 0, 'no number')}) at {where}: a disk or server failed; run again",
        )
    except Exception as error:  # noqa: BLE001  one item never stops the others; its kind is recorded
        where = _place_of(error)
        return Failure(
            "internal_error", f"{type(error).__name__} at {where} in the worker; this is a bug: please report it"
        )


def _place_of(error: BaseException) -> str:
    """Where an error came up, for a developer to look; the error's own words might name a patient."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno}"


def _overdue(
    client: Client, futures: dict[Any, int], started: dict[str, tuple[str, float]], timeout_s: float
) -> list[Any]:
    """Futures past their time; they are cancelled and their workers restarted.

    ``started`` has worker and time of what runs. What a dead worker leaves starts anew elsewhere, and so does its time.
    """
    running = {str(key): worker for worker, keys in client.processing().items() for key in keys}
    now = time.monotonic()
    for key in started.keys() - running.keys():
        del started[key]
    for key, worker in running.items():
        if key not in started or started[key][0] != worker:
            started[key] = (worker, now)
    late = [f for f in futures if str(f.key) in running and now - started[str(f.key)][1] > timeout_s]
    for future in late:
        future.cancel(force=True)
    if late:
        client.restart_workers([running[str(f.key)] for f in late], raise_for_error=False)
    return late
