"""Say what this installation has, and what is missing with its fix."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from lungpipe import plugins
from lungpipe.dicom.pseudonymise import KEY_VARIABLE, key_path
from lungpipe.store.record import package_versions

#: What an extra brings, and how to install it.
_OPTIONAL = {
    "torch": "learned models: pip install 'lungpipe[deep]'",
    "onnxruntime": "networks as ONNX files: pip install 'lungpipe[onnx]'",
    "monai": "surface distances of evaluate-masks: pip install 'lungpipe[surfaces]'",
}
#: The same of packages that can change no number, so that no run records their versions.
_BESIDE = {
    "prometheus-client": "metrics for Prometheus: pip install 'lungpipe[watching]'",
    "opentelemetry-exporter-otlp-proto-http": "spans for OpenTelemetry: pip install 'lungpipe[watching]'",
}


def examine() -> dict[str, Any]:
    """Collect versions, plug-ins, machine and problems.

    Returns
    -------
    dict
        ``versions``, ``plugins``, ``machine``, ``pseudonym_key``, ``problems`` (each with its fix) and ``optional``
        (extras that are not installed).
    """
    versions = package_versions()
    problems = []
    for name, version in versions.items():
        if version == "not installed" and name not in _OPTIONAL:
            problems.append(f"{name} is not installed; fix: pip install --force-reinstall lungpipe")
    found: dict[str, list[str]] = {}
    for kind in plugins.KINDS:
        found[kind] = list(plugins.installed(kind))
        for name in found[kind]:
            try:
                plugins.find(kind, name)
            except Exception as error:  # noqa: BLE001  whatever a plug-in raises on import is what must be shown
                problems.append(f"{kind.removesuffix('s')} {name!r} does not load ({type(error).__name__}: {error})")
    if not found["segmenters"]:
        problems.append("no plug-ins are registered; fix: install the package (pip install .), do not only copy it")
    key = key_path()
    if os.environ.get(KEY_VARIABLE) and not key.is_file():
        problems.append(f"{KEY_VARIABLE} names {key}, which does not exist; fix: create it or unset the variable")
    disk = shutil.disk_usage(Path.cwd())
    return {
        "versions": {"python": platform.python_version(), **versions},
        "plugins": found,
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(_memory_bytes() / 2**30, 1),
            "free_disk_gib": round(disk.free / 2**30, 1),
            "platform": f"{platform.system()} {platform.machine()}",
        },
        "pseudonym_key": "present" if key.is_file() else "will be made on first use",
        "problems": problems,
        "optional": [
            *(fix for name, fix in _OPTIONAL.items() if versions[name] == "not installed"),
            *(fix for name, fix in _BESIDE.items() if not _installed(name)),
        ],
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
