"""Run a function once an item on Dask; whatever befalls an item ends as its result or its failure."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no result: a reason code and one sentence."""

    code: str
    message: str


def each(
    address: str, function: Callable[..., Any], items: Sequence[Any], *args: Any, timeout_s: float | None = None
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
    """
    with Client(address, set_as_default=False) as client, client.as_current():
        # The arguments travel with every call: scattered ones would be lost with the workers that hold them.
        futures = {
            client.submit(function, item, *args, pure=False, key=f"{function.__name__}-{time.monotonic_ns()}-{i}"): i
            for i, item in enumerate(items)
        }
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
