"""What there is to tell of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lungpipe.scan import ScanResult

Outcome = Literal["made", "reused", "excluded"]
Ending = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A stage of the run begins."""

    name: str


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage ended after so many wall seconds; ``failure`` is the type of the error that ended it."""

    name: str
    seconds: float
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ScansExpected:
    """So many scans will be worked on or looked over."""

    total: int


@dataclass(frozen=True, slots=True)
class ScanEnded:
    """What became of a scan."""

    result: ScanResult

    @property
    def outcome(self) -> Outcome:
        """Whether anything was made, all of it stood, or the scan as a whole was left out."""
        if self.result.exclusion is not None:
            return "excluded"
        return "made" if self.result.made else "reused"

    @property
    def code(self) -> str:
        """Why it was left out, empty if it was not."""
        return self.result.exclusion.code if self.result.exclusion is not None else ""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over.

    Parameters
    ----------
    how : {"finished", "failed", "interrupted"}
    error : str
        Type of the error.
    message : str
        Its words, without paths and identities.
    """

    how: Ending
    error: str = ""
    message: str = ""


Event = StageBegan | StageEnded | ScansExpected | ScanEnded | RunEnded
#: What is called with every event, under a lock: it must be quick, and where it raises it is not called again.
Listener = Callable[[Event], None]
