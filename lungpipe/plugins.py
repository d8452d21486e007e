"""Find what is installed, by entry point: segmenters, extractors, classifiers, annotation readers."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lungpipe.errors import PluginError

#: Entry-point groups are ``lungpipe.<kind>``.
KINDS = ("segmenters", "extractors", "embedders", "classifiers", "annotations")


@cache
def installed(kind: str) -> dict[str, EntryPoint]:
    """Entry points of a kind by name.

    Raises
    ------
    PluginError
        If ``kind`` is not one of :data:`KINDS`.
    """
    if kind not in KINDS:
        raise PluginError(f"no plug-in kind {kind!r}; the kinds are {', '.join(KINDS)}")
    return {point.name: point for point in sorted(entry_points(group=f"lungpipe.{kind}"), key=lambda p: p.name)}


def find(kind: str, name: str) -> Any:
    """Load a plug-in; heavy imports happen here and not before.

    Raises
    ------
    PluginError
        If nothing of that name is installed; the message lists what is.
    """
    points = installed(kind)
    if name not in points:
        known = ", ".join(points) or "none"
        raise PluginError(f"no {kind.removesuffix('s')} named {name!r} is installed; installed: {known}")
    return points[name].load()
