"""What is known of a run while it lasts: counts and times, no identifier."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import psutil

from lungpipe.watching import here
from lungpipe.watching.events import RunEnded, ScanEnded, StageBegan, StageEnded
from lungpipe.watching.pace import Pace, duration, rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lungpipe.watching.events import Event


@dataclass(slots=True)
class State:
    """What is known of a run.

    Times are seconds since 1970 (UTC): written as dates they would look like those of studies.

    Parameters
    ----------
    run : str
        UUID.
    title : str
        Of the recipe.
    beat_s : float
        When the status was written last.
    """

    run: str
    title: str
    began_s: float = field(default_factory=time.time)
    stage: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    total: int = 0
    made: int = 0
    reused: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    pace: Pace = field(default_factory=Pace)
    end: RunEnded | None = None
    ended_s: float = 0.0
    beat_s: float = field(default_factory=time.time)

    def expect(self, scans: Iterable[tuple[str, str]], patients: Iterable[str]) -> None:
        """Know which scans will come, by series and patient, and which patients have records."""
        self.pace = Pace.of(scans, patients)
        self.total = self.pace.fresh + self.pace.known

    def take(self, event: Event) -> None:
        """Bring up to date."""
        match event:
            case StageBegan(name):
                self.stage = name
            case StageEnded(name, seconds, failure):
                self.stages[name] = round(seconds, 2)
                if not failure:  # else it stays: that is where the run ended
                    self.stage = ""
            case ScanEnded(result):
                self.pace.add(result)
                self.made += event.outcome == "made"
                self.reused += event.outcome == "reused"
                if event.code:
                    self.excluded[event.code] += 1
            case RunEnded():
                self.end, self.ended_s = event, time.time()

    @property
    def done(self) -> int:
        """Scans of which it is known what became."""
        return self.made + self.reused + self.excluded.total()

    def note(self) -> str:
        """Pace, time left and failures so far."""
        parts = []
        if (per_min := self.pace.per_min) is not None:
            parts.append(rate(per_min))
        if (left_s := self.pace.left_s) is not None and self.done < self.total:
            parts.append(f"{duration(left_s)} left")
        counts = ((self.reused, "reused"), (self.excluded.total(), "excluded"))
        return ", ".join([*parts, *(f"{n} {word}" for n, word in counts if n)])

    def as_dict(self) -> dict[str, Any]:
        """JSON values of ``status.json``."""
        per_min, left_s = self.pace.per_min, self.pace.left_s
        return {
            "run": self.run,
            "title": self.title,
            "lungpipe": metadata.version("lungpipe"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_began_s": round(psutil.Process().create_time(), 2),
            "began_s": round(self.began_s, 2),
            "heartbeat_s": round(time.time(), 2),
            "stage": self.stage or None,
            "step": here.step(),
            "stages": dict(self.stages),
            "scans": {
                "of": self.total,
                "done": self.done,
                "made": self.made,
                "reused": self.reused,
                "excluded": dict(sorted(self.excluded.items())),
                "per_min": None if per_min is None else round(per_min, 3),
                "left_s": None if left_s is None else round(left_s, 1),
            },
            "end": None
            if self.end is None
            else {
                "how": self.end.how,
                "at_s": round(self.ended_s, 2),
                "error": self.end.error,
                "message": self.end.message,
            },
        }
