"""`lungpipe scheduler` and `lungpipe worker`: Dask's own programs with the settings that a run needs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What we do not know is Dask's to know.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def scheduler(context: typer.Context) -> None:
    """Start a Dask scheduler for workers on other machines; further options are those of `dask scheduler`.

    Example: lungpipe scheduler --host 10.0.0.1 --port 8786 --dashboard-address 127.0.0.1:8787
    """
    _become("dask_scheduler", context.args)


def worker(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Of the scheduler, as in tcp://10.0.0.1:8786.")],
    workers: Annotated[int, typer.Option(min=1, help="Worker processes on this machine.")] = 1,
    memory_per_worker: Annotated[str, typer.Option(help="Limit of each, as Dask writes it.")] = "4GiB",
) -> None:
    """Start Dask workers of one thread for a scheduler elsewhere; further options are those of `dask worker`.

    Networks with device = "cuda" run on workers that say they have a GPU: --resources "GPU=1".

    Example: lungpipe worker tcp://10.0.0.1:8786 --workers 8 --memory-per-worker 6GiB
    """
    from tasks.cluster import THREADS_VARIABLE, threads_each

    os.environ.setdefault(THREADS_VARIABLE, threads_each(workers))
    given = ["--nthreads", "1", "--nworkers", str(workers), "--memory-limit", memory_per_worker]
    _become("dask_worker", [address, *given, *context.args])


def _become(program: str, arguments: Sequence[str]) -> NoReturn:
    """Go on as a program of Dask; a variable that the user has set stays."""
    from tasks.cluster import SETTINGS
    from tasks.cluster_settings import as_environment

    command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
    os.execve(command[0], command, {**as_environment(SETTINGS), **os.environ})
