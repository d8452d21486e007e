"""Records of logging as JSON, one object a line, without paths and identities."""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungpipe.watching.here import HERE
from lungpipe.watching.screen import WITHHELD, masker, without_paths

if TYPE_CHECKING:
    from collections.abc import Callable

#: While it lasts, names of the archive are not known yet, so words of others wait for its end.
_LEARNING = "curate"
#: So many wait at most; of more only the number is told.
_MOST_WAITING = 10_000
#: Whose records below a warning are of interest.
_OWN = ("lungpipe", "data_catalog", "tasks", "flows")


def record_of(
    text: str, level: int, name: str, *, ours: bool, fields: dict[str, Any] | None = None
) -> logging.LogRecord:
    """Make a record of this stage; the words of one that is ``ours`` can name nobody."""
    record = logging.LogRecord(name, level, "", 0, text, None, None)
    record.ours, record.fields, record.stage = ours, fields or {}, HERE.stage
    return record


class JsonLines(logging.Handler):
    """Writes each record as one line of JSON."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.write: Callable[[bytes], None] = lambda _: None
        self._waiting: list[logging.LogRecord] = []
        self._dropped = 0
        self._mask: Callable[[str], str] | None = None

    def foreign(self, text: str) -> None:
        """Take a line that something else wrote to standard error."""
        self.handle(record_of(text, logging.WARNING, "stderr", ours=False))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it until names of the archive are known; what libraries note for themselves is left out."""
        if record.levelno < logging.WARNING and record.name.split(".")[0] not in _OWN:
            return
        if not getattr(record, "ours", False) and HERE.stage == _LEARNING:
            record.stage = _LEARNING
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(record)
            else:
                self._dropped += 1
            return
        # A line that cannot be written stops nothing. To say so would be another such line, and so on for ever.
        with suppress(Exception):
            self.write(json.dumps(self._values(record), default=str).encode() + b"\n")

    def names_are_known(self) -> None:
        """Write what waited; names that were learnt since are masked from now on."""
        self._mask = None
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            self.handle(record)
        if self._dropped:
            text = f"{self._dropped} more lines were written in the meantime, and are not kept"
            self.handle(record_of(text, logging.WARNING, "lungpipe", ours=True))
            self._dropped = 0

    def _values(self, record: logging.LogRecord) -> dict[str, Any]:
        text = record.getMessage()
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "run": HERE.run,
            "stage": getattr(record, "stage", HERE.stage) or None,
            "scan": None,
            "message": text if getattr(record, "ours", False) else self._masked(text),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(record.exc_info[2])
            values["error"] = type(error).__name__
            values["error_message"] = self._masked(str(error))
            values["traceback"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
        return values

    def _masked(self, text: str) -> str:
        """Words of others without paths and identities."""
        try:
            if self._mask is None:
                self._mask = masker()
            return self._mask(without_paths(text.strip(), HERE.paths))
        except Exception:  # noqa: BLE001  what cannot be searched is not shown
            return WITHHELD
