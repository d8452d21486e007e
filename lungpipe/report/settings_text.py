"""The run's settings as text: the recipe as TOML, everything else as names and values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml(recipe: Mapping[str, Any] | str) -> str:
    """Write a recipe as TOML.

    Parameters
    ----------
    recipe : mapping or str
        Tables of plain values; text is returned as it is. None, which TOML lacks, is left out.

    Returns
    -------
    str
        TOML.
    """
    if isinstance(recipe, str):
        return recipe
    lines = [f"{key} = {_value(value)}" for key, value in recipe.items() if _is_plain(value)]
    for name, table in recipe.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines).strip() + "\n"


def flat(record: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Lay out nested settings as names with dots and their values.

    Parameters
    ----------
    record : mapping
        JSON values.
    before : str
        Prefix of the names.

    Returns
    -------
    list of (str, str)
        In the order given.
    """
    rows = []
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, default=str)))
    return rows


def _is_plain(value: object) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _value(value: Any) -> str:
    """Write one value; a JSON string, number, truth value or list of them is TOML too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items() if one is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)
