"""What an outside model is: its version, and the hash of its weights."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.errors import PluginError
from lungpipe.segment.outside.supervise import anonymous, environment_of, last_words, missing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that a program may take to say its version.
VERSION_S = 120.0
_ASK = (
    "import json, sys, importlib.metadata as m\n"
    "found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try:\n"
    "        found[name] = m.version(name)\n"
    "    except m.PackageNotFoundError:\n"
    "        pass\n"
    "print(json.dumps(found))\n"
)


def executable(program: str, advice: str) -> str:
    """Absolute path of a program.

    Raises
    ------
    PluginError
        If it is not there, with ``advice`` on how to install it.
    """
    found = shutil.which(Path(program).expanduser())
    if found is None:
        raise missing(program, advice)
    return str(Path(found).absolute())


@cache
def version_said(argv: tuple[str, ...]) -> str:
    """What a version command says, its last line.

    Raises
    ------
    PluginError
        If it cannot be run, fails or says nothing.
    """
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_S,
            env=environment_of({}),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PluginError(
            f"{name} did not say its version within {VERSION_S:g} s; run it by hand and see why"
        ) from error
    except OSError as error:
        raise missing(argv[0]) from error
    lines = done.stdout.split("\n") if done.stdout.strip() else done.stderr.split("\n")
    said = [line.strip() for line in lines if line.strip()]
    if done.returncode or not said:
        words = last_words(done.stderr or done.stdout)
        raise PluginError(f"{name} was asked for its version and exited with status {done.returncode}{words}")
    return anonymous(said[-1])


@cache
def packages_of(python: str, names: tuple[str, ...]) -> str:
    """Versions of packages as another Python sees them, ``"name version"`` joined by ``", "``; without those it lacks.

    Raises
    ------
    PluginError
        If that Python cannot be run.
    """
    done = subprocess.run(
        [python, "-c", _ASK, *names],
        capture_output=True,
        text=True,
        timeout=VERSION_S,
        env=environment_of({}),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise PluginError(f"{Path(python).name} was asked for packages and failed{last_words(done.stderr)}")
    found = json.loads(done.stdout)
    return ", ".join(f"{name} {found[name]}" for name in names if name in found)


def python_of(program: str) -> str | None:
    """The Python that a script runs under, by its first line; None if it is no such script."""
    with Path(program).open("rb") as stream:
        first = stream.readline(4096)
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    return words[0] if words and "python" in Path(words[0]).name and Path(words[0]).is_file() else None


def weights_digest(paths: Sequence[str | Path]) -> str:
    """SHA-256 of weight files: of one file its own; otherwise over relative names and digests, sorted.

    Files are hashed again only if their name, size or time changed.

    Raises
    ------
    PluginError
        If a path is missing, or a folder holds no file.
    """
    files: list[tuple[str, str, int, int]] = []
    for path in (Path(p).expanduser() for p in paths):
        if not path.exists():
            raise PluginError(f"no weights at {path}; put them there, or name their file or folder in the recipe")
        members = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if not members:
            raise PluginError(f"the folder of weights {path} is empty")
        for member in members:
            name = member.name if member == path else f"{path.name}/{member.relative_to(path).as_posix()}"
            status = member.stat()
            files.append((name, str(member.resolve()), status.st_size, status.st_mtime_ns))
    return _digest(tuple(files)) if files else ""


def check_unchanged(name: str, paths: Sequence[str | Path], sha256: str) -> None:
    """Refuse weights that changed since a plug-in was made.

    Parameters
    ----------
    name : str
        Of the plug-in.
    paths, sha256
        As :func:`weights_digest` took and gave them then.

    Raises
    ------
    PluginError
        If they give another digest now.
    """
    if weights_digest(paths) != sha256:
        raise PluginError(f"{name}: the file of weights is not what it was when the run was planned; run again")


@cache
def _digest(files: tuple[tuple[str, str, int, int], ...]) -> str:
    digests = []
    for name, path, _, _ in files:
        with Path(path).open("rb") as stream:
            digests.append((name, hashlib.file_digest(stream, "sha256").hexdigest()))
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()
