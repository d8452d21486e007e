"""Progress on standard error: a bar where a person watches, a line now and then where a log does."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lungpipe.store import ledger
from lungpipe.watching.here import note_step
from lungpipe.watching.logs import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lungpipe.scan import ScanJob, ScanResult
    from lungpipe.store.place import Place
    from lungpipe.watching.watch import Watch

__all__ = ["counted", "progress", "say", "scan_progress"]

_LINE_EVERY_S = 10.0


@contextmanager
def progress(title: str, total: int, *, guess: bool = True) -> Iterator[Callable[[int, str], None]]:
    """Show how many of ``total`` are done; the block calls ``advance(n, note)`` as they finish.

    Parameters
    ----------
    title : str
    total : int
    guess : bool
        Whether the bar says how long the rest takes, from the mean so far; else the note does.
    """
    note_step(title, 0, total)
    if sys.stderr.isatty():
        columns = [
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            *([TimeRemainingColumn()] if guess else []), TextColumn("{task.fields[note]}"),
        ]  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, note="")

            def update(n: int, note: str) -> None:
                bar.update(task, advance=n, note=note)
                note_step(title, int(bar.tasks[0].completed), total)

            yield update
        return
    start = last = time.monotonic()
    done, latest = 0, ""

    def line(words: str) -> None:
        text = f"{title}: {done}/{total} {words}{latest}".rstrip()
        say(text, ours=True, event="progress", title=title, done=done, of=total, note=latest)

    def advance(n: int, note: str) -> None:
        nonlocal done, last, latest
        done, latest = done + n, note
        note_step(title, done, total)
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            line("")

    yield advance
    line(f"in {time.monotonic() - start:.1f} s ")


@contextmanager
def scan_progress(watch: Watch, jobs: Sequence[ScanJob], place: Place) -> Iterator[Callable[[ScanResult], None]]:
    """Show how the scans of a run come on, and tell all that watch; the block calls ``tell(result)`` as they end.

    Parameters
    ----------
    watch : Watch
    jobs : sequence of ScanJob
        All that will come.
    place : Place
        The workspace: a patient that it knows has scans that may stand already.
    """
    watch.expect([(job.series_uid, job.patient_id) for job in jobs], ledger.patients(place))
    with progress("scans", len(jobs), guess=False) as advance:

        def tell(result: ScanResult) -> None:
            watch.scan(result)
            advance(1, watch.note())

        yield tell


@contextmanager
def counted() -> Iterator[Callable[[str, int, int], None]]:
    """Show stages whose totals are known only when they begin; the block calls ``advance(title, done, total)``."""
    with ExitStack() as stack:
        title = ""
        step: Callable[[int, str], None]

        def advance(name: str, done: int, total: int) -> None:
            nonlocal title, step
            if name != title:
                stack.close()
                title, step = name, stack.enter_context(progress(name, total))
            step(done, "")

        yield advance
