"""The command ``watch``: the same run again and again, for who wants no server."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

#: Seconds that an interrupted run has to end by itself.
_GRACE_S = 60.0
#: Seconds below which looking would be all that is done.
_LEAST_S = 1.0
#: Seconds within which a signal or the end of a run is noticed.
_POLL_S = 0.2


def watch(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    every: Annotated[str, typer.Option(help="How long to wait after a run: 90s, 15m, 2h.")] = "15m",
    workspace: Annotated[
        str | None,
        typer.Option(help="Folder or address of the results; default: RECIPE's name + '-workspace'."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    dask: Annotated[str | None, typer.Option(help="Address of your own Dask scheduler.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Local worker processes.")] = None,
) -> None:
    """Run a recipe whenever its archive, annotations or settings changed, until it is stopped; needs no server.

    Each look is a `lungpipe run` in a process of its own: it ends at once where nothing changed, and else works on what is
    new. One that fails is told, and tried again at the next look. SIGTERM or SIGINT interrupts the run: scans in flight are
    done again next time, all others are kept.

    Example: lungpipe watch recipes/own-data.toml --every 15m --workspace results
    """
    from dask.utils import parse_timedelta

    from flows.config import load_config
    from lungpipe.errors import DatasetError
    from tasks.progress import say

    try:
        every_s = float(parse_timedelta(every))
    except (ValueError, KeyError) as error:
        raise DatasetError(f"--every {every!r}: expected a number and a unit, as in 90s, 15m or 2h") from error
    if every_s < _LEAST_S:
        raise DatasetError(f"--every {every!r}: expected at least {_LEAST_S:g} s")
    load_config(recipe, overrides)  # what is misspelt today is told now; what is misspelt later fails a look
    words = [sys.executable, "-m", "flows.cli", "run", str(recipe)]
    for option, value in (("--workspace", workspace), ("--dask", dask), ("--workers", workers)):
        words += [option, str(value)] if value is not None else []
    words += [word for change in overrides or [] for word in ("--set", change)]
    stopped: list[int] = []
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda number, _: stopped.append(number))
    while not stopped:
        status = _run(words, stopped)
        if stopped:
            break
        if status:
            say(f"watch: the run failed (exit {status}); its last lines say why, and it is tried again")
        say(f"watch: next look at {time.strftime('%H:%M:%S', time.localtime(time.time() + every_s))}")
        until = time.monotonic() + every_s
        while not stopped and time.monotonic() < until:
            time.sleep(min(_POLL_S, every_s))
    say("watch: stopped; what is done is kept")


def _run(words: list[str], stopped: list[int]) -> int:
    """Run to the end, or interrupt it when a signal came; returns its exit status."""
    # A session of its own: Ctrl-C reaches this process alone, which passes it on once.
    child = subprocess.Popen(words, start_new_session=True)
    while child.poll() is None and not stopped:
        time.sleep(_POLL_S)
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()
