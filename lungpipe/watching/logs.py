"""Standard error of a run: words for a person, or, where ``LUNGPIPE_LOG=json`` asks for it, one JSON object a line."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.watching.events import RunEnded, ScanEnded, ScansExpected, StageBegan, StageEnded
from lungpipe.watching.here import HERE, make_ready
from lungpipe.watching.json_lines import JsonLines, record_of
from lungpipe.watching.standard_error import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lungpipe.watching.events import Event

VARIABLE = "LUNGPIPE_LOG"


#: What writes JSON now, and what waits for lines that are on their way; empty while lines are for people.
_now: list[tuple[JsonLines, Callable[[], None]]] = []
#: What others had attached to print every record for a person: in the meantime records would come twice.
_aside: list[logging.Handler] = []


def say(text: str, level: int = logging.INFO, *, ours: bool = False, **fields: Any) -> None:
    """Write one line to standard error.

    Parameters
    ----------
    text : str
    level : int
        Of :mod:`logging`; a person is not shown it.
    ours : bool
        Whether the text can hold no path and no identity: JSON has it as it is.
    **fields
        JSON values that a script finds beside the text.
    """
    if not _now:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  what a person reads
        return
    _emit(record_of(text, level, "lungpipe", ours=ours, fields=fields))


def tell(event: Event) -> None:
    """Listen: note the stage, and where lines are JSON, write one of every stage, of every scan and of the end."""
    match event:
        case StageBegan(name):
            HERE.stage, HERE.step = name, None
            _line(f"stage {name} begins", event="stage_began")
        case StageEnded(name, seconds, failure):
            for _, settle in _now:
                settle()  # lines of the stage are told as such
            words = f"stage {name} {'failed' if failure else 'ended'} after {seconds:.1f} s"
            _line(words, logging.ERROR if failure else logging.INFO, event="stage_ended", seconds=round(seconds, 3))
            HERE.stage, HERE.step = "", None
            for handler, _ in _now:
                handler.names_are_known()
        case ScansExpected(total):
            _line(f"{total} scans", event="scans_expected", total=total)
        case ScanEnded(result):
            spent = {stage: round(seconds, 4) for stage, seconds in result.seconds.items()}
            about = {"status": event.outcome, "code": event.code or None, "seconds": spent}
            level = logging.WARNING if event.code else logging.INFO
            _line(f"scan {event.outcome}", level, event="scan_ended", scan=result.series_uid, **about)
        case RunEnded(how, error, message):
            level = logging.INFO if how == "finished" else logging.ERROR
            _line(f"run {how}", level, event="run_ended", error=error or None, error_message=message or None)


def _line(text: str, level: int = logging.INFO, **fields: Any) -> None:
    if _now:
        _emit(record_of(text, level, "lungpipe", ours=True, fields=fields))


@contextmanager
def json_log(*, last: bool = False) -> Iterator[None]:
    """Turn what is written to standard error while the block lasts into JSON, if ``LUNGPIPE_LOG`` says so.

    That is our own lines, records of :mod:`logging`, warnings, and whatever programs and child processes write. Inside such a
    block another one changes nothing.

    Parameters
    ----------
    last : bool
        Nobody above catches errors: one that arrives here becomes a line, and the process ends with status 1.

    Raises
    ------
    DatasetError
        If the variable is neither ``text`` nor ``json``.
    """
    asked = os.environ.get(VARIABLE, "").strip().lower() or "text"
    if asked not in {"text", "json"}:
        raise DatasetError(f"{VARIABLE} is {asked!r}; it is text (what a person reads, the default) or json")
    if asked == "text":
        yield
        return
    if _now:
        _attach(_now[0][0])  # a workflow engine may have set up logging since
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(_lines())
        try:
            yield
        except Exception as error:
            if not last:
                raise
            _uncaught(type(error), error, error.__traceback__)
            raise SystemExit(1) from error
        finally:
            if last:  # what the process says while it ends is of the log too
                atexit.register(stack.pop_all().close)


@contextmanager
def _lines() -> Iterator[None]:
    """Make everything that goes to standard error a line of JSON."""
    make_ready()
    handler = JsonLines()
    with capture(handler.foreign) as before:
        handler.write = before.write
        _now.append((handler, before.settle))
        hooks = sys.excepthook, threading.excepthook
        sys.excepthook = _uncaught
        threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
        logging.captureWarnings(capture=True)
        _attach(handler)
        try:
            yield
        finally:
            logging.captureWarnings(capture=False)
            sys.excepthook, threading.excepthook = hooks
            _detach(handler)
            HERE.stage = ""
            handler.names_are_known()
            _now.clear()


def _attach(handler: logging.Handler) -> None:
    """Make ``handler`` the only one that writes all records to a console; files and servers keep theirs."""
    root = logging.getLogger()
    for other in [other for other in root.handlers if other is not handler and _prints(other)]:
        root.removeHandler(other)
        _aside.append(other)
    if handler not in root.handlers:
        root.addHandler(handler)


def _detach(handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.removeHandler(handler)
    while _aside:
        root.addHandler(_aside.pop())


def _prints(handler: logging.Handler) -> bool:
    """Whether a handler writes to a stream of the process rather than to a file of its own or into memory."""
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    try:
        return bool(handler.stream.fileno() >= 0)
    except (AttributeError, OSError, ValueError):
        return False


def _uncaught(kind: Any, error: Any, trace: Any) -> None:
    if not isinstance(error, Exception):  # Ctrl-C, or SIGTERM as the workflow engine raises it
        say(f"interrupted ({kind.__name__})", logging.ERROR, ours=True)
        return
    record = record_of("an error that nobody foresaw; please report it", logging.CRITICAL, "lungpipe", ours=True)
    record.exc_info = (kind, error, trace)
    _emit(record)


def _emit(record: logging.LogRecord) -> None:
    for handler, _ in _now:
        handler.handle(record)
