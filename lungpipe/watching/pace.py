"""How fast scans go, and how long the rest takes, where some have to be worked on and others only looked over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lungpipe.scan import ScanResult


@dataclass(slots=True)
class Pace:
    """Pace of the scans of a run.

    A scan that stands is looked over in milliseconds and one that does not takes minutes, so a mean over both tells nothing.
    Workers say how long they had each scan. The rest takes what is left of each kind times the mean of its kind, divided by
    the worker seconds that a second of the clock has brought so far. Which of those left will stand is guessed: a patient
    without records has none that do, and of the others as large a share as of those that came already, all before the first.

    Parameters
    ----------
    fresh, known : int
        Scans of patients without and with records when the run began.
    """

    fresh: int = 0
    known: int = 0
    _known_uids: frozenset[str] = frozenset()
    _began: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)
    _known_done: int = 0
    _known_worked: int = 0
    _worked: int = 0
    _worked_s: float = 0.0
    _stood: int = 0
    _stood_s: float = 0.0

    @classmethod
    def of(cls, scans: Iterable[tuple[str, str]], patients: Iterable[str]) -> Pace:
        """Pace of scans, by series and patient, of which these patients have records."""
        recorded = set(patients)
        pairs = list(scans)
        known = frozenset(series for series, patient in pairs if patient in recorded)
        return cls(len(pairs) - len(known), len(known), known)

    def add(self, result: ScanResult) -> None:
        """Count a scan; one whose worker said no time slows the rest, and counts as nothing else."""
        self._last = time.monotonic()
        worked = bool(result.made)
        if result.series_uid in self._known_uids:
            self._known_done += 1
            self._known_worked += worked
        else:
            self.fresh -= 1
        if not result.took_s:
            return
        if worked:
            self._worked += 1
            self._worked_s += result.took_s
        else:
            self._stood += 1
            self._stood_s += result.took_s

    @property
    def _at_once(self) -> float:
        """Worker seconds that a second of the clock has brought."""
        return (self._worked_s + self._stood_s) / max(self._last - self._began, 1e-3)

    @property
    def per_min(self) -> float | None:
        """Scans a minute of those that need work, or, where none did so far, of those that stand; None before the first."""
        n, seconds = (self._worked, self._worked_s) if self._worked else (self._stood, self._stood_s)
        return 60 * self._at_once * n / seconds if seconds else None

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes, counted from the last scan; None where nothing tells it."""
        share = self._known_worked / self._known_done if self._known_done else 0.0
        known_left = self.known - self._known_done
        to_work, to_look_over = self.fresh + share * known_left, (1 - share) * known_left
        if to_work and not self._worked:
            return None
        if not self._at_once:
            return None
        worked_s = to_work * self._worked_s / self._worked if self._worked else 0.0
        stood_s = to_look_over * self._stood_s / self._stood if self._stood else 0.0
        return (worked_s + stood_s) / self._at_once


def duration(seconds: float) -> str:
    """Return a duration as a person says it: ``"40 s"``, ``"12 min"``, ``"3.5 h"``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rate(per_min: float) -> str:
    """Return a pace as a person says it: ``"4.2 scans/min"``, ``"310 scans/min"``."""
    return f"{per_min:.0f} scans/min" if per_min >= 100 else f"{per_min:.2g} scans/min"
