"""What the frame check says of a set of annotations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from lungpipe.errors import DatasetError

Outcome = Literal["accepted", "doubtful", "refused"]


@dataclass(frozen=True, slots=True)
class Tally:
    """How well one reading fits: of all nodules those inside their volumes; of those looked at, in the lung, and denser.

    ``denser`` counts nodules in or touching the lung that are denser than their surroundings.
    """

    frame: str
    nodules: int
    inside: int
    looked_at: int
    in_lung: int
    denser: int


@dataclass(frozen=True, slots=True)
class SetVerdict:
    """What the evidence says of the nodules that declare one frame.

    Parameters
    ----------
    declared : {"lps", "ras", "voxel"}
    outcome : {"accepted", "doubtful", "refused"}
    better : str, optional
        The frame that fits better, or may; None where none does.
    tallies : tuple of Tally
        One a frame of :data:`lungpipe.frame.FRAMES`, in its order.
    message : str
        What was found and what to do, in words without identifiers; empty if accepted.
    """

    declared: str
    outcome: Outcome
    better: str | None
    tallies: tuple[Tally, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class FrameVerdict:
    """What the evidence says of a set of annotations: one verdict for each frame that its nodules declare."""

    sets: tuple[SetVerdict, ...]

    @property
    def refused(self) -> bool:
        """Whether the set must not be worked on."""
        return any(part.outcome == "refused" for part in self.sets)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What needs a look though it refuses nothing."""
        return tuple(part.message for part in self.sets if part.outcome == "doubtful")

    def message(self) -> str:
        """What was found and what to do; empty where every part is accepted."""
        return "; ".join(part.message for part in self.sets if part.message)

    def require(self) -> None:
        """Raise if the set must not be worked on.

        Raises
        ------
        DatasetError
            If the annotations fit another frame better, or no frame at all.
        """
        if self.refused:
            told = "; ".join(part.message for part in self.sets if part.outcome == "refused")
            raise DatasetError(f'{told}. If they are right all the same, set cohort.frame_check = "warn" in the recipe')

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        sets = [{**asdict(part), "tallies": [asdict(tally) for tally in part.tallies]} for part in self.sets]
        return {"refused": self.refused, "sets": sets}
