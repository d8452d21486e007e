"""What changed in the record of a run: recipe, plug-ins, seeds, inputs, code and packages."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Parts of ``run.json`` that say how results were made, in the order in which changes are told.
SECTIONS = ("recipe", "plugins", "seeds", "inputs", "intensities", "pseudonym_key_fingerprint", "environment")
#: Keys that change how a run looks or how long it takes, and no number.
_NO_NUMBER = ("recipe.run.", "recipe.report.", "pseudonym_key_fingerprint")
#: What stands where a run does not have a key.
ABSENT = "(not there)"


def settings_changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Change]:
    """List every value of two records that differs.

    Parameters
    ----------
    first, second : mapping
        ``run.json`` of two runs. Volumes are compared by their number: their names follow the key of the pseudonyms.

    Returns
    -------
    list of Change
        In the order of :data:`SECTIONS`, then by key.
    """
    one, other = flat_record(first), flat_record(second)
    changed = [key for key in {**one, **other} if one.get(key, ABSENT) != other.get(key, ABSENT)]
    order = {name: position for position, name in enumerate(SECTIONS)}
    changed.sort(key=lambda key: (order[key.split(".", 1)[0]], key))
    return [
        Change(key, one.get(key, ABSENT), other.get(key, ABSENT), not key.startswith(_NO_NUMBER)) for key in changed
    ]


def flat_record(record: Mapping[str, Any]) -> dict[str, str]:
    """Write the settings of a record as one level of dotted keys and texts.

    Parameters
    ----------
    record : mapping
        ``run.json``; its recipe may be text.

    Returns
    -------
    dict of str to str
        Lists and single values as JSON. Empty tables count as not there.
    """
    kept = {name: record[name] for name in SECTIONS if name in record}
    if isinstance(kept.get("recipe"), str):
        kept["recipe"] = _parsed(kept["recipe"])
    inputs = kept.get("inputs")
    if isinstance(inputs, Mapping) and isinstance(inputs.get("volumes"), Mapping):
        kept["inputs"] = {**inputs, "volumes": len(inputs["volumes"])}
    found: dict[str, str] = {}
    _flatten("", kept, found)
    return found


def _parsed(recipe: str) -> Any:
    try:
        return tomllib.loads(recipe)
    except tomllib.TOMLDecodeError:
        return recipe


def _flatten(above: str, value: Any, found: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, one in value.items():
            _flatten(f"{above}.{key}" if above else str(key), one, found)
    else:
        found[above] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that two runs do not share.

    Parameters
    ----------
    key : str
        Dotted path in ``run.json``.
    first, second : str
        Its values; :data:`ABSENT` where a run does not have it.
    counts : bool
        Whether it can change a number.
    """

    key: str
    first: str
    second: str
    counts: bool
