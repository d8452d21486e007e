"""Progress on standard error: a bar where a person watches, a line now and then where a log does."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LINE_EVERY_S = 10.0


def say(text: str) -> None:
    """Write one line to standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  progress is this module's purpose


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show how many of ``total`` are done; the block calls ``advance(n, note)`` as they finish."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, note="")

            def update(n: int, note: str) -> None:
                bar.update(task, advance=n, note=note)

            yield update
        return
    start = last = time.monotonic()
    done, latest = 0, ""

    def advance(n: int, note: str) -> None:
        nonlocal done, last, latest
        done, latest = done + n, note
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            say(f"{title}: {done}/{total} {note}".rstrip())

    yield advance
    say(f"{title}: {done}/{total} in {time.monotonic() - start:.1f} s {latest}".rstrip())


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
