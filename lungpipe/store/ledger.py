"""Content addresses: an artefact is named by what made it, and one small file says so."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def artefact_id(kind: str, **made_from: object) -> str:
    """Sixteen hex digits naming an artefact by its inputs, settings and stage versions.

    Parameters
    ----------
    kind : str
        What it is (``"volume"``, ``"scan"``).
    **made_from
        Everything that determines it: JSON values, tuples or dataclasses of them.
    """
    text = json.dumps([kind, made_from], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {"__type__": type(value).__name__, **asdict(value)}
    raise TypeError(f"{type(value).__name__} cannot be part of an artefact's name")


def digest_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 over the contents of files, in order; names and dates do not count.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        with Path(path).open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def digest_folder(folder: Path) -> str:
    """SHA-256 over the relative names and contents of every file below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    names = "\n".join(p.relative_to(folder).as_posix() for p in files)
    return hashlib.sha256((names + digest_files(files)).encode()).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in the same folder, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def record(workspace: Path, name: str, kind: str, outputs: Iterable[Path], made_from: Mapping[str, Any]) -> None:
    """Write the ledger entry of an artefact, last of all its files.

    Parameters
    ----------
    workspace : Path
    name : str
        Its :func:`artefact_id`.
    kind : str
    outputs : iterable of Path
        Files or folders of the artefact, inside the workspace.
    made_from : mapping
        What a reader needs to understand the name: input digests, settings, versions. JSON values.
    """
    entry = {
        "id": name,
        "kind": kind,
        "outputs": {p.relative_to(workspace).as_posix(): _digest(p) for p in outputs},
        "made_from": made_from,
    }
    text = json.dumps(entry, indent=1, sort_keys=True, default=_plain)
    write_atomically(workspace / "ledger" / f"{kind}-{name}.json", text.encode())


def stands(workspace: Path, name: str, kind: str) -> bool:
    """Whether the ledger knows an artefact **and** every output is there with the recorded content."""
    path = workspace / "ledger" / f"{kind}-{name}.json"
    try:
        outputs: dict[str, str] = json.loads(path.read_bytes())["outputs"]
        return all(_digest(workspace / relative) == digest for relative, digest in outputs.items())
    except (OSError, ValueError, KeyError):
        return False


def _digest(path: Path) -> str:
    if path.is_dir():
        return digest_folder(path)
    return digest_files([path])
