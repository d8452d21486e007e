"""An `sbatch` and a `scancel` that run job scripts on this machine, where there is no SLURM."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

#: The number of a job is that of its session, so that scancel ends all of it.
SBATCH = """#!/bin/sh
cp "$1" "$FAKE_SLURM/$$.sh"
setsid sh "$FAKE_SLURM/$$.sh" > "$FAKE_SLURM/$$.out" 2>&1 < /dev/null &
echo $! > "$FAKE_SLURM/$$.session"
echo "Submitted batch job $$"
"""
SCANCEL = """#!/bin/sh
kill -TERM -- -"$(cat "$FAKE_SLURM/$1.session")"
echo cancelled > "$FAKE_SLURM/$1.cancelled"
"""


class Slurm:
    """The jobs that were submitted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    @property
    def scripts(self) -> list[str]:
        """Of all jobs so far."""
        return [path.read_text() for path in sorted(self.folder.glob("*.sh"))]

    @property
    def cancelled(self) -> int:
        """How many jobs were ended by scancel."""
        return len(list(self.folder.glob("*.cancelled")))

    @property
    def sessions(self) -> list[int]:
        """Of all jobs so far."""
        return [int(path.read_text()) for path in self.folder.glob("*.session")]

    def kill(self, session: int) -> None:
        """End a job as a node that fails does."""
        with suppress(ProcessLookupError):
            os.killpg(session, signal.SIGKILL)
