"""Run an outside program in a folder of its own, under limits, with an environment of known content."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lungpipe.errors import PluginError, SegmentationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

GUARD = Path(__file__).with_name("guard.py")
#: Variables that a program gets from ours: where programs and libraries are, language, and what it may compute on.
PASSED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XDG_RUNTIME_DIR", "DOCKER_HOST",
)  # fmt: skip
#: A proxy where nothing listens, for programs that would fetch something; switches of libraries that know one.
OFFLINE = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    "no_proxy": "",
    "NO_PROXY": "",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PIP_NO_INDEX": "1",
}  # fmt: skip
#: Characters of a program's own words in our messages.
WORDS = 240
_NO_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|can't allocate memory|cannot allocate memory|std::bad_alloc|unable to mmap",
    re.IGNORECASE,
)
_NO_NETWORK = re.compile(
    r"ProxyError|urlopen error|127\.0\.0\.1\D{1,12}9\b|OfflineModeIsEnabled|LocalEntryNotFoundError"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRESS = re.compile(r"\d+%\||\bit/s\b|\bs/it\b")
_TELLING = re.compile(r"error|exception|fatal|fail|denied|not found|no such|cannot|invalid", re.IGNORECASE)
_PATHS = re.compile(r"(?:[A-Za-z]:)?[\w.~+@%-]*(?:[/\\][\w.~+@%=-]*)+")
#: Errors that only say that there was another before them.
_ANOTHER = re.compile(r"further up|workers? died", re.IGNORECASE)
#: Names of files that are of a program and its weights, and stay in a message.
_ITS_OWN = re.compile(r"[a-z_]+\.(?:json|ya?ml|toml|pth?|onnx|ts|py|so)")
_ADDRESSES = re.compile(r"\b\w+://\S+|\S+@\S+")
_NUMBERS = re.compile(r"\b\d+(?:\.\d+){3,}\b|\b\d{4}-\d\d-\d\d\b|\b\d{6,}\b|\b0x[0-9a-fA-F]+\b")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    Parameters
    ----------
    reason : {"exit", "time", "memory"}
        By itself, or at a limit.
    status : int
        Exit status; negative, the signal that ended it.
    tail : str
        The end of what it wrote to standard output and error.
    seconds : float
    peak_bytes : int
        Largest memory seen, all its processes together.
    """

    reason: str
    status: int
    tail: str
    seconds: float
    peak_bytes: int


class Room:
    """A temporary folder with a guard: both are gone when it is left, also when this process is killed in it."""

    def __enter__(self) -> Self:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.folder = Path(self._answer()["folder"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guard.stdin is not None and self._guard.stdout is not None:
            self._guard.stdin.close()
            self._guard.wait()
            self._guard.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # if the guard itself was killed

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        time_limit_s: float,
        memory_limit_gb: float,
        afterwards: Sequence[str] = (),
    ) -> Finished:
        """Run a program in the folder, and wait for its end.

        Parameters
        ----------
        argv : sequence of str
            Program and arguments; no shell sees them.
        environment : mapping
            All its variables, see :func:`environment_of`. ``TMPDIR`` is set to a folder in the room.
        time_limit_s : float
            Wall time, seconds.
        memory_limit_gb : float
            Of all its processes together, 10^9 bytes.
        afterwards : sequence of str
            A command that is run after it in any case.

        Raises
        ------
        PluginError
            If there is no such program.
        SegmentationError
            ``outside_failed`` if its guard was killed.
        """
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        asked = {
            "argv": [str(word) for word in argv],
            "environment": {**environment, "TMPDIR": str(temporary)},
            "folder": str(self.folder),
            "time_limit_s": time_limit_s,
            "memory_limit_bytes": int(memory_limit_gb * 1e9),
            "afterwards": list(afterwards),
        }
        if self._guard.stdin is None:
            raise RuntimeError("a room is entered before a program runs in it")
        try:
            self._guard.stdin.write(json.dumps(asked) + "\n")
            self._guard.stdin.flush()
            answer = self._answer()
        except (BrokenPipeError, ValueError) as error:
            raise SegmentationError(
                "outside_failed",
                "the process that watches the outside program was killed; look for memory that ran out",
            ) from error
        if answer["reason"] == "missing":
            raise missing(str(argv[0]))
        return Finished(**answer)

    def _answer(self) -> Any:
        if self._guard.stdout is None:
            raise RuntimeError("a room is entered before a program runs in it")
        return json.loads(self._guard.stdout.readline())


def environment_of(more: Mapping[str, str], passed: Sequence[str] = ()) -> dict[str, str]:
    """Variables of an outside program: a list of ours, what keeps it offline, and its own.

    Parameters
    ----------
    more : mapping
        Its own; they come last and win.
    passed : sequence of str
        Names of further variables of ours that it gets.
    """
    ours = {name: os.environ[name] for name in (*PASSED, *passed) if name in os.environ}
    return {**ours, **OFFLINE, **more}


def missing(program: str, advice: str = "install it, or name its executable in the recipe") -> PluginError:
    """The error for a program that is not there."""
    return PluginError(f"outside_missing: no program {Path(program).name!r} was found; {advice}")


def refuse_failure(finished: Finished, time_limit_s: float, memory_limit_gb: float) -> None:
    """Raise what a program's end means.

    Raises
    ------
    SegmentationError
        ``outside_timed_out``, ``outside_out_of_memory``, ``outside_wanted_network`` or ``outside_failed``.
    """
    said = last_words(finished.tail)
    if finished.reason == "time":
        raise SegmentationError(
            "outside_timed_out",
            f"the outside model was stopped after its limit of {time_limit_s:g} s; raise time_limit_s, or give it a GPU",
        )
    if finished.reason == "memory":
        raise SegmentationError(
            "outside_out_of_memory",
            f"the outside model was stopped at {finished.peak_bytes / 1e9:.1f} GB, its limit is {memory_limit_gb:g} GB; "
            "raise memory_limit_gb, or run fewer workers",
        )
    if finished.status == 0:
        return
    if _NO_MEMORY.search(finished.tail) or finished.status in (-9, 137):
        raise SegmentationError(
            "outside_out_of_memory",
            f"the outside model ran out of memory below its limit of {memory_limit_gb:g} GB{said}",
        )
    if _NO_NETWORK.search(finished.tail):
        raise SegmentationError(
            "outside_wanted_network",
            "the outside model wanted to fetch something, most likely weights that it lacks; nothing is fetched here: "
            "fetch them yourself, and name their folder as weights",
        )
    how = f"was ended by signal {-finished.status}" if finished.status < 0 else f"exited with status {finished.status}"
    raise SegmentationError("outside_failed", f"the outside model {how}{said}")


def last_words(text: str) -> str:
    """The last telling line of a program's output as part of a sentence, without paths, addresses, dates and numbers."""
    lines = [_ANSI.sub("", line).strip() for line in re.split(r"[\r\n]+", text)]
    lines = [line for line in lines if any(c.isalnum() for c in line) and not _PROGRESS.search(line)]
    telling = [line for line in lines[-40:] if _TELLING.search(line) and not _ANOTHER.search(line)]
    if not lines:
        return "; it said nothing"
    return f"; it said: {anonymous((telling or lines)[-1])}"


def anonymous(line: str) -> str:
    """A line without what could name a patient or a place: addresses, paths, UIDs, dates, long numbers."""
    line = _ADDRESSES.sub("<address>", line[: 4 * WORDS])
    line = _PATHS.sub(_last_part, line)
    line = _NUMBERS.sub("<number>", line)
    return line if len(line) <= WORDS else f"{line[:WORDS]}..."


def _last_part(path: re.Match[str]) -> str:
    name = re.split(r"[/\\]", path.group())[-1]
    return f"<path>/{name}" if _ITS_OWN.fullmatch(name) else "<path>"
