"""A small process that runs an outside program, keeps it to its limits, and leaves nothing behind.

It is started as a script, with the standard library and psutil alone, and talks JSON lines with the process that started
it: first it names the folder that it made; then it runs what each line asks for and answers with how that ended; at the
end of its input, which is also what it sees when its parent is killed, it kills what still runs and removes the folder.

Memory is what the processes hold (resident; on Linux with shared pages divided among those that share them), summed over
the program and all its descendants, looked at :data:`LOOK_S` apart. A limit on address space (``RLIMIT_AS``) would not do:
programs that use PyTorch reserve many times the addresses that they fill, with CUDA hundreds of gigabytes, and the limit
would count for each of their processes alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import psutil

#: Seconds between two looks at a running program.
LOOK_S = 0.1
#: Bytes of a program's output that are kept, from its end.
TAIL_BYTES = 1 << 15
#: Seconds that a command which ends a container may take.
AFTERWARDS_S = 60.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Parentless(Exception):  # noqa: N818  it is no error: the parent is gone, and so should we be
    """The process that started the guard is gone."""


def main() -> None:
    """Make a folder, run what is asked for in it, remove it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder = tempfile.mkdtemp(prefix="lungpipe-outside-")
    try:
        _say({"folder": folder})
        for line in iter(sys.stdin.buffer.readline, b""):
            _say(run(json.loads(line)))
    except (Parentless, BrokenPipeError):
        pass
    finally:
        kill_descendants()
        shutil.rmtree(folder, ignore_errors=True)


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Run one program to its end or to a limit.

    Parameters
    ----------
    asked : dict
        ``argv``, ``environment``, ``folder`` to run in, ``time_limit_s``, ``memory_limit_bytes``, and ``afterwards``:
        a command that ends what killing processes does not, or nothing.

    Returns
    -------
    dict
        ``reason`` (``"exit"``, ``"missing"``, ``"time"``, ``"memory"``), ``status``, ``tail`` of the output,
        ``seconds`` and ``peak_bytes``.
    """
    began, peak = time.monotonic(), 0
    try:
        program = subprocess.Popen(
            asked["argv"],
            cwd=asked["folder"],
            env=asked["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_me,  # noqa: PLW1509  there is no other thread yet
        )
    except OSError as error:
        return {"reason": "missing", "status": -1, "tail": error.strerror or "", "seconds": 0.0, "peak_bytes": 0}
    tail = _Tail(program.stdout)
    reason = "exit"
    try:
        while program.poll() is None:
            _look_after_parent(LOOK_S if time.monotonic() - began > 1 else LOOK_S / 10)
            used = memory_used(asked["memory_limit_bytes"])
            peak = max(peak, used)
            if used > asked["memory_limit_bytes"]:
                reason = "memory"
                break
            if time.monotonic() - began > asked["time_limit_s"]:
                reason = "time"
                break
    finally:
        kill_descendants()
        if asked["afterwards"]:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(  # noqa: PLW1510  what it says is of no interest
                    asked["afterwards"], env=asked["environment"], capture_output=True, timeout=AFTERWARDS_S
                )
    return {
        "reason": reason,
        "status": program.wait(),
        "tail": tail.text(),
        "seconds": time.monotonic() - began,
        "peak_bytes": peak,
    }


def memory_used(limit: int) -> int:
    """Bytes that all descendants hold; counted exactly only where the quick sum, an upper bound, is above the limit."""
    processes = psutil.Process().children(recursive=True)
    quick = exact = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            quick += process.memory_info().rss
    if quick <= limit:
        return quick
    for process in processes:
        with contextlib.suppress(psutil.Error):
            full = process.memory_full_info()
            exact += getattr(full, "pss", full.rss)
    return exact


def kill_descendants() -> None:
    """Kill every descendant, until there is none: also those that left the program's group, where the system says so."""
    for _ in range(100):
        alive = [p for p in psutil.Process().children(recursive=True) if _running(p)]
        for process in alive:
            with contextlib.suppress(psutil.Error, OSError):
                if os.getpgid(process.pid) == process.pid:
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
        psutil.wait_procs(alive, timeout=0.2)
        if not alive:
            return


def _running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


class _Tail:
    """The end of what a program writes, read as it comes so that the program never waits for a reader."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._kept = stream, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(self._stream.fileno(), TAIL_BYTES):
                self._kept = (self._kept + piece)[-TAIL_BYTES:]

    def text(self) -> str:
        self._thread.join(timeout=5)
        return self._kept.decode("utf-8", "replace")


def _look_after_parent(wait_s: float) -> None:
    """Wait, and raise if the parent went away meanwhile; it says nothing while a program runs."""
    if select.select([sys.stdin.buffer], [], [], wait_s)[0]:
        raise Parentless


def _say(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _die_with_me() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    """Linux only: adopt orphans, or die with one's parent; elsewhere the program's process group has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
