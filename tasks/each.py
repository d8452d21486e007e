"""Run a function once an item on Dask; whatever befalls an item ends as its result or its failure."""

from __future__ import annotations

import errno
import math
import queue
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Future
from distributed.client import FuturesCancelledError
from distributed.comm.core import CommClosedError
from distributed.protocol.pickle import dumps, loads
from distributed.scheduler import KilledWorker

from lungpipe.errors import LungpipeError
from tasks.client import client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distributed import Client

#: Codes of failures of a disk or server: nothing is wrong with the item.
NO_ROOM, IO_FAILED = "no_room", "io_failed"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_POLL_S = 2.0
#: Results that come within so many seconds of one another are fetched together: one by one, each takes milliseconds.
_TOGETHER_S = 0.1
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
    resource: str = "",
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
        Passed on to every call; small, and not changed by it: calls on one worker share them.
    timeout_s : float, optional
        Wall seconds that one item may run on a worker.
    needs_bytes : sequence of int, optional
        Memory that each item needs. It goes to a worker that has it, unless all such are gone; where none
        has, it fails without being tried.
    resource : str
        What a worker must have, one at a time, such as ``"GPU"``; its own ``--resources`` say so. Where workers are there and
        none has it, every item fails without being tried.

    Raises
    ------
    LungpipeError
        If the scheduler stays away.
    """
    left, seen = set(range(len(items))), _Seen()
    while left:
        try:
            with _connected(address) as client:
                given = (timeout_s, needs_bytes, resource, seen)
                for position, outcome in _while_connected(client, function, items, left, args, *given):
                    left.discard(position)
                    yield position, outcome
        except (FuturesCancelledError, CommClosedError):  # the scheduler, or a worker with results, went away
            continue


@dataclass(slots=True)
class _Seen:
    """What workers had at any time of a call: one that is away for a moment is not one that there never was."""

    most_bytes: float = 0.0
    resource: bool = False


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
            client = client_of(address)
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
    resource: str,
    seen: _Seen,
) -> Iterator[tuple[int, Any | Failure]]:
    # The arguments travel with every call: scattered ones would be lost with the workers that hold them.
    packed = dumps((function, args))
    room = _room(client) if needs_bytes is not None else {}
    groups: dict[tuple[str, ...], list[int]] = {}
    seen.most_bytes = max(seen.most_bytes, *room.values(), 0.0)
    lacking = _lacking(client, resource, seen) if resource else None
    for i in sorted(wanted):
        if lacking is not None:
            yield i, lacking
            continue
        able = _able(room, needs_bytes[i], seen) if needs_bytes is not None else ()
        if isinstance(able, Failure):
            yield i, able
        else:
            groups.setdefault(able, []).append(i)
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    futures: dict[Future, int] = {}
    for able, positions in groups.items():
        keys = [f"{function.__name__}-{time.monotonic_ns()}-{i}" for i in positions]
        some = client.map(
            _call,
            [packed] * len(positions),
            [dumps(items[i]) for i in positions],
            pure=False,
            key=keys,
            workers=list(able) or None,
            # A worker that died comes back under another address: what waits for the old one must not wait for ever.
            allow_other_workers=bool(able),
            resources={resource: 1} if resource else None,
        )
        futures |= zip(some, positions, strict=True)
    for future in futures:
        future.add_done_callback(ended.put)
    started: dict[str, tuple[str, float]] = {}
    while futures:
        done = [future for future in _ended(ended) if future in futures]
        for future, outcome in _outcomes(client, done):
            yield futures.pop(future), outcome
            future.release()
        if client.status != "running":
            raise CommClosedError
        if timeout_s is not None:
            for future in _overdue(client, futures, started, timeout_s):
                yield futures.pop(future), Failure("timeout", f"it ran longer than {timeout_s:g} s and was stopped")


def _call(packed: bytes, item: bytes) -> Any:
    function, args = _unpacked(packed)
    return function(loads(item), *args)


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What all items share, unpacked once a worker."""
    function, args = loads(packed)
    return function, args


def _ended(ended: queue.SimpleQueue[Future]) -> list[Future]:
    """Futures that ended, those that end soon after with them; none if none does in time."""
    try:
        found = [ended.get(timeout=_POLL_S)]
    except queue.Empty:
        return []
    time.sleep(_TOGETHER_S)
    while True:
        try:
            found.append(ended.get_nowait())
        except queue.Empty:
            return found


def _outcomes(client: Client, done: list[Future]) -> Iterator[tuple[Future, Any | Failure]]:
    """Results of futures that ended, fetched together as far as they have any.

    Raises
    ------
    CommClosedError
        If the scheduler was lost meanwhile, though a client may be connected to its successor already: what a future then tells
        is of the loss, and not of its item.
    """
    finished = [future for future in done if future.status == "finished"]
    try:
        results = dict(zip(finished, client.gather(finished) if finished else (), strict=True))
    except FuturesCancelledError:
        raise
    except Exception:  # noqa: BLE001  one of them was lost meanwhile and failed when it was made again
        results = {}
    for future in done:
        outcome = results[future] if future in results else _outcome(future)
        if client.status != "running" or future.status not in {"finished", "error"}:
            raise CommClosedError
        yield future, outcome


def _room(client: Client) -> dict[str, float]:
    """Bytes that each worker may take before Dask stops it, by address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: _MOST_OF_A_WORKER * (worker["memory_limit"] or math.inf) for address, worker in workers.items()}


def _lacking(client: Client, resource: str, seen: _Seen) -> Failure | None:
    """Why nothing can be done, if workers are there and none has or had the resource."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    seen.resource |= any(worker["resources"].get(resource, 0) >= 1 for worker in workers)
    if not workers or seen.resource:
        return None
    return Failure(
        f"no_{resource.lower()}",
        f"it needs a worker with a {resource}, and none of {len(workers)} has one; start one on such a machine with "
        f'--resources "{resource}=1", or set device = "cpu"',
    )


def _able(room: dict[str, float], n_bytes: int, seen: _Seen) -> tuple[str, ...] | Failure:
    """Workers that have the memory; empty if all have, no worker is there yet, or all such are gone."""
    able = tuple(address for address, limit in room.items() if limit >= n_bytes)
    if len(able) == len(room) or (not able and seen.most_bytes >= n_bytes):
        return ()
    most = seen.most_bytes
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
