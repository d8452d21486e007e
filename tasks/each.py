"""Run a function once an item on Dask; whatever befalls an item ends as its result or its failure."""

from __future__ import annotations

import math
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Client, wait
from distributed.scheduler import KilledWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_POLL_S = 2.0
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
    last kind is restarted, which also ends C code that would not listen.

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
    """
    with Client(address, set_as_default=False) as client, client.as_current():
        # The arguments travel with every call: scattered ones would be lost with the workers that hold them.
        room = _room(client) if needs_bytes is not None else {}
        futures: dict[Any, int] = {}
        for i, item in enumerate(items):
            able = _able(room, needs_bytes[i]) if needs_bytes is not None else None
            if isinstance(able, Failure):
                yield i, able
                continue
            key = f"{function.__name__}-{time.monotonic_ns()}-{i}"
            # A worker that died comes back under another address: what waits for the old one must not wait for ever.
            elsewhere = able is not None
            future = client.submit(
                function, item, *args, pure=False, key=key, workers=able, allow_other_workers=elsewhere
            )
            futures[future] = i
        started: dict[str, float] = {}
        while futures:
            try:
                done = wait(list(futures), timeout=_POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                done = set()
            for future in done:
                yield futures.pop(future), _outcome(future)
                future.release()
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
    except Exception as error:  # noqa: BLE001  one item never stops the others; its kind is recorded
        # The place tells a developer where to look; the error's own words might name a patient.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return Failure(
            "internal_error", f"{type(error).__name__} at {where} in the worker; this is a bug: please report it"
        )


def _overdue(client: Client, futures: dict[Any, int], started: dict[str, float], timeout_s: float) -> list[Any]:
    """Futures past their time; they are cancelled and their workers restarted."""
    running = {str(key): worker for worker, keys in client.processing().items() for key in keys}
    now = time.monotonic()
    for key in running:
        started.setdefault(key, now)
    late = [f for f in futures if str(f.key) in running and now - started[str(f.key)] > timeout_s]
    for future in late:
        future.cancel(force=True)
    if late:
        client.restart_workers([running[str(f.key)] for f in late], raise_for_error=False)
    return late
