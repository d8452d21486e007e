"""Find what a workspace no longer needs, and remove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lungpipe.store import ledger
from lungpipe.store.closure import closure
from lungpipe.store.verify import strays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.store.place import Place


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that can go.

    Parameters
    ----------
    why : {"orphan", "leftover", "superseded"}
    path : str
        File or folder, relative to the workspace.
    n_bytes : int
    """

    why: str
    path: str
    n_bytes: int


def find_garbage(place: Place, *, superseded: bool = False) -> list[Garbage]:
    """Files that no record names, and what was left half-written.

    Parameters
    ----------
    place : Place
        The workspace.
    superseded : bool
        Also artefacts that the present tables, scores and pages were not made from, such as those of earlier settings,
        with their records.

    Raises
    ------
    DatasetError
        If a record is damaged: `verify_workspace` names it, and the recipe makes it anew.
    """
    known = {ref: ledger.load(place, ref) for scope in ledger.scopes(place) for ref in ledger.refs(place, scope)}
    found = [Garbage(kind, name, _size(place, name)) for kind, name, _ in strays(place, known.values())]
    if not superseded:
        return found
    roots = [ref for ref, entry in known.items() if entry.scope == ledger.COHORT and entry.kind != "configuration"]
    needed = set(closure(place, roots))
    needed |= {known[ref].made_by for ref in needed}
    gone = [
        entry
        for ref, entry in known.items()
        if ref not in needed and (entry.scope in {ledger.COHORT, ledger.ENVIRONMENTS} or entry.scope[:2] == "P-")
    ]
    kept = {name for ref in needed for name in known[ref].outputs}
    for entry in gone:
        found += [
            Garbage("superseded", name, _size(place, name))
            for name in entry.outputs
            if name not in kept and place.exists(name)
        ]
        path = ledger.path_of(entry.ref)
        found.append(Garbage("superseded", path, _size(place, path)))
    return found


def _size(place: Place, name: str) -> int:
    return sum(place.size(one) for one in place.files(name))


def remove_garbage(place: Place, garbage: Sequence[Garbage]) -> None:
    """Remove what :func:`find_garbage` found: records first, so that an interruption leaves orphans, not broken promises."""
    for item in sorted(garbage, key=lambda g: not g.path.startswith(f"{ledger.FOLDER}/")):
        place.remove(item.path)
