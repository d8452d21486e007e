"""Which run this process is at, and how far: what every line of its log says, as logging belongs to the process."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Here:
    """Where the process is.

    Parameters
    ----------
    run : str
        UUID.
    begun : bool
        Whether that run began; before it, the process makes ready for it.
    stage : str
        Empty between stages.
    step : tuple, optional
        What is counted inside the stage, how many are done, and of how many.
    paths : tuple of str
        Of archive and annotations: the log must not name them.
    """

    run: str = ""
    begun: bool = False
    stage: str = ""
    step: tuple[str, int, int] | None = None
    paths: tuple[str, ...] = ()


HERE = Here()


def next_run(paths: tuple[str, ...] = ()) -> str:
    """Return the UUID of the run that begins, and remember the paths that its log must not name."""
    if HERE.begun or not HERE.run:
        HERE.run = str(uuid.uuid4())
    HERE.begun, HERE.stage, HERE.step, HERE.paths = True, "", None, paths
    return HERE.run


def make_ready() -> None:
    """Choose the UUID of a run that will begin: what is written before is of it too."""
    HERE.run, HERE.begun = str(uuid.uuid4()), False


def note_step(title: str, done: int, of: int) -> None:
    """Note how far something inside the stage is."""
    HERE.step = (title, done, of)


def step() -> dict[str, Any] | None:
    """Return what was noted last in this stage: ``title``, ``done`` and ``of``."""
    return dict(zip(("title", "done", "of"), HERE.step, strict=True)) if HERE.step else None
