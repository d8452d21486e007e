"""Parameters of plug-ins: those that a recipe gives, held against the plug-in's own, and those that go into records."""

from __future__ import annotations

import difflib
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Marks a field that belongs to a machine and not to what is computed: it is left out of records.
HERE_ONLY: Mapping[str, Any] = {"recorded": False}


def recorded(plugin: Any) -> dict[str, Any]:
    """Name, version and parameters of a plug-in as JSON values, without what belongs to a machine."""
    hidden = here_only(plugin)
    parameters = {key: value for key, value in asdict(plugin).items() if key not in hidden}
    return {"name": plugin.name, "version": plugin.version, "parameters": parameters}


def here_only(plugin: Any) -> frozenset[str]:
    """Parameters of a plug-in that belong to a machine (paths, programs), and are left out of every record."""
    return frozenset(item.name for item in fields(plugin) if not item.metadata.get("recorded", True))


def check_parameters(where: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse parameters that a plug-in does not have, or whose value is of another kind than its default.

    Parameters
    ----------
    where : str
        Section of the recipe, for messages.
    given : mapping
        From the recipe.
    defaults : mapping
        The plug-in's own by name.

    Raises
    ------
    DatasetError
        On the first that is wrong.
    """
    for key, value in given.items():
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(defaults) or 'none'}"
            raise DatasetError(f"{where}: no parameter {key!r}; {advice}")
        kind = type(defaults[key])
        fits = type(value) is kind or (kind, type(value)) in {(float, int), (tuple, list)}
        if defaults[key] is not MISSING and not fits:
            raise DatasetError(f"{where}.{key}: expected a value like {defaults[key]!r}, found {value!r}")
