"""Standard error of a run: words for a person, or, where ``LUNGPIPE_LOG=json`` asks for it, one JSON object a line.

Logging belongs to the process and so does what is kept here: the run and the stage that a line is of.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import traceback
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.watching.events import RunEnded, ScanEnded, ScansExpected, StageBegan, StageEnded
from lungpipe.watching.screen import WITHHELD, masker, without_paths
from lungpipe.watching.standard_error import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lungpipe.watching.events import Event

VARIABLE = "LUNGPIPE_LOG"
#: While it lasts, names of the archive are not known yet, so words of others wait for its end.
_LEARNING = "curate"
#: Whose records below a warning are of interest.
_OWN = ("lungpipe", "data_catalog", "tasks", "flows")


def _nothing() -> None:
    pass


@dataclass(slots=True)
class _Here:
    """What every line says, and what is taken out of the words of others."""

    run: str = ""
    used: bool = False
    stage: str = ""
    step: tuple[str, int, int] | None = None
    paths: tuple[str, ...] = ()
    mask: Callable[[str], str] | None = None
    waiting: list[logging.LogRecord] = field(default_factory=list)
    handler: logging.Handler | None = None
    settle: Callable[[], None] = _nothing


_here = _Here()


def next_run(paths: tuple[str, ...] = ()) -> str:
    """Return the UUID of the run that begins, and remember the paths that its log must not name."""
    if _here.used or not _here.run:
        _here.run = str(uuid.uuid4())
    _here.used, _here.stage, _here.paths, _here.mask = True, "", paths, None
    return _here.run


def note_step(title: str, done: int, of: int) -> None:
    """Note how far something inside the stage is."""
    _here.step = (title, done, of)


def step() -> dict[str, Any] | None:
    """Return what was noted last in this stage: ``title``, ``done`` and ``of``."""
    return dict(zip(("title", "done", "of"), _here.step, strict=True)) if _here.step else None


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
    if _here.handler is None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  what a person reads
        return
    _emit(_record(text, level, "lungpipe", ours=ours, fields=fields))


def tell(event: Event) -> None:
    """Listen: note the stage, and where lines are JSON, write one of every stage, of every scan and of the end."""
    match event:
        case StageBegan(name):
            _here.stage, _here.step = name, None
            _line(f"stage {name} begins", event="stage_began")
        case StageEnded(name, seconds, failure):
            _here.settle()  # lines of the stage are told as such
            words = f"stage {name} {'failed' if failure else 'ended'} after {seconds:.1f} s"
            _line(words, logging.ERROR if failure else logging.INFO, event="stage_ended", seconds=round(seconds, 3))
            _here.stage, _here.step, _here.mask = "", None, None  # more names may be known now
            _release()
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
    if _here.handler is not None:
        _emit(_record(text, level, "lungpipe", ours=True, fields=fields))


def _record(text: str, level: int, name: str, *, ours: bool, fields: dict[str, Any] | None = None) -> logging.LogRecord:
    record = logging.LogRecord(name, level, "", 0, text, None, None)
    record.ours, record.fields = ours, fields or {}
    record.stage = _here.stage
    return record


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
    if _here.handler is not None:
        _attach(_here.handler)  # a workflow engine may have set up logging since
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
    _here.run, _here.used = str(uuid.uuid4()), False
    handler = _Lines()
    with capture(handler.foreign) as before:
        handler.write = before.write
        _here.handler, _here.settle = handler, before.settle
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
            logging.getLogger().removeHandler(handler)
            _here.stage = ""
            _release()
            _here.handler, _here.settle = None, _nothing


def _attach(handler: logging.Handler) -> None:
    if handler not in logging.getLogger().handlers:
        logging.getLogger().addHandler(handler)


def _uncaught(kind: Any, error: Any, trace: Any) -> None:
    if isinstance(error, KeyboardInterrupt):
        say("interrupted", logging.ERROR, ours=True)
        return
    record = _record("an error that nobody foresaw; please report it", logging.CRITICAL, "lungpipe", ours=True)
    record.exc_info = (kind, error, trace)
    _emit(record)


def _emit(record: logging.LogRecord) -> None:
    handler = _here.handler
    if handler is not None:
        handler.handle(record)


def _release() -> None:
    waiting, _here.waiting = _here.waiting, []
    for record in waiting:
        _emit(record)


class _Lines(logging.Handler):
    """Writes each record as one line of JSON."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.write: Callable[[bytes], None] = lambda _: None

    def foreign(self, text: str) -> None:
        """Take a line that something else wrote to standard error."""
        self.handle(_record(text, logging.WARNING, "stderr", ours=False))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it until names of the archive are known; what libraries note for themselves is left out."""
        own = record.name.split(".")[0] in _OWN
        if record.levelno < logging.WARNING and not own:
            return
        if not getattr(record, "ours", False) and _here.stage == _LEARNING:
            record.stage = _LEARNING
            _here.waiting.append(record)
            return
        try:
            self.write(json.dumps(_values(record), default=str).encode() + b"\n")
        except Exception:  # noqa: BLE001  as every handler of logging: a line that cannot be written stops nothing
            self.handleError(record)


def _values(record: logging.LogRecord) -> dict[str, Any]:
    ours = getattr(record, "ours", False)
    values = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "run": _here.run,
        "stage": getattr(record, "stage", _here.stage) or None,
        "scan": None,
        "message": record.getMessage() if ours else _masked(record.getMessage()),
        "logger": record.name,
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        frames = traceback.extract_tb(record.exc_info[2])
        values["error"] = type(error).__name__
        values["error_message"] = _masked(str(error))
        values["traceback"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    return values


def _masked(text: str) -> str:
    """Words of others without paths and identities."""
    try:
        if _here.mask is None:
            _here.mask = masker()
        return _here.mask(without_paths(text.strip(), _here.paths))
    except Exception:  # noqa: BLE001  what cannot be searched is not shown
        return WITHHELD
