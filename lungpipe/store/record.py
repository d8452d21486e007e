"""``run.json``: what made a workspace."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.store.place import Place

#: Distributions beyond the requirements whose versions can change a number.
OPTIONAL = ("torch", "monai", "onnxruntime")


def package_versions() -> dict[str, str]:
    """Installed versions of lungpipe, all its requirements and :data:`OPTIONAL`; ``"not installed"`` if missing."""
    required = [text for text in metadata.requires("lungpipe") or [] if "extra ==" not in text]
    names = [match.group() for text in required if (match := re.match(r"[\w.-]+", text))]
    versions = {}
    for name in ("lungpipe", *sorted(names, key=str.lower), *OPTIONAL):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def code_digest() -> str:
    """SHA-256 over the Python sources of the four packages: the code version, also between releases."""
    total = hashlib.sha256()
    for package in ("lungpipe", "data_catalog", "tasks", "flows"):
        for path in sorted(Path(str(resources.files(package))).rglob("*.py")):
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@cache
def environment() -> dict[str, Any]:
    """Versions of code, interpreter and packages, and the kind of machine."""
    return {
        "lungpipe": metadata.version("lungpipe"),
        "code_sha256": code_digest(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
    }


def write_run(place: Place, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically."""
    place.write("run.json", (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())
