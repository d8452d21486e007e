"""The records that a run's results lead back to: each of them, or one for each kind where they are too many."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError
from lungpipe.store import ledger
from lungpipe.store.ledger import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.store.place import Place

#: Scope of the records that stand for many; no workspace has it.
SUMMED = "scans"
#: What stands between the makers of a record that stands for many.
BETWEEN = ";"


def results(place: Place) -> list[str]:
    """References of what stands for the results: the run, or without one every record of the cohort.

    Raises
    ------
    DatasetError
        If the ledger has no record of the cohort.
    """
    found = ledger.refs(place, ledger.COHORT)
    if not found:
        raise DatasetError(f"the ledger of {place} has no record of tables or scores; did its run finish?")
    return [ref for ref in found if ref.startswith(f"{ledger.COHORT}/run-")] or found


def leading_to(place: Place, most: int) -> tuple[list[Record], bool]:
    """Records that the results of a workspace lead back to.

    Parameters
    ----------
    place : Place
    most : int
        Most records of scans that are given one by one. If there are more, each kind of them becomes one record of scope
        :data:`SUMMED`: ``inputs`` has their number, its name is a hash of their references, ``settings`` and ``versions`` all that
        occur. Memory then does not grow with what a record holds.

    Returns
    -------
    records : list of Record
        Those of the cohort first.
    summed : bool
        Whether kinds were summed up.

    Raises
    ------
    DatasetError
        If the ledger has no record of the cohort, or one is missing or damaged.
    """
    cohort: list[Record] = []
    scans: list[Record] = []
    kinds = _Kinds()
    for entry in _walk(place, results(place)):
        if entry.scope == ledger.COHORT:
            cohort.append(entry)
        else:
            kinds.add(entry)
            if len(kinds) <= most:
                scans.append(entry)
            else:
                scans.clear()
    if len(kinds) <= most:
        return cohort + scans, False
    return [kinds.mapped(entry) for entry in cohort] + kinds.records(), True


def _walk(place: Place, starts: list[str]) -> Iterator[Record]:
    met, waiting = set(starts), starts[::-1]
    while waiting:
        ref = waiting.pop()
        try:
            entry = ledger.load(place, ref)
        except FileNotFoundError as error:
            raise DatasetError(f"the ledger of {place} lacks the record {ref}; see `lungpipe verify`") from error
        yield entry
        new = [one for one in dict.fromkeys(entry.made_from) if one not in met]
        met.update(new)
        waiting += new[::-1]


class _Kinds:
    """What is kept of many records, kind by kind."""

    def __init__(self) -> None:
        self._refs: defaultdict[str, list[str]] = defaultdict(list)
        self._from: defaultdict[str, set[str]] = defaultdict(set)
        self._settings: defaultdict[str, set[str]] = defaultdict(set)
        self._versions: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._makers: defaultdict[str, set[str]] = defaultdict(set)
        self._failed: Counter[str] = Counter()
        self._instances: Counter[str] = Counter()
        self._last: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._refs.values()))

    def add(self, entry: Record) -> None:
        kind = entry.kind
        self._refs[kind].append(entry.ref)
        self._from[kind].update(_kind(ref) for ref in entry.made_from)
        self._settings[kind].add(json.dumps(entry.settings, sort_keys=True))
        for name, version in entry.versions.items():
            self._versions[kind][name].add(version)
        self._makers[kind].add(entry.made_by)
        self._failed[kind] += bool(entry.failed)
        self._instances[kind] += len(entry.inputs.get("instances", ()))
        self._last[kind] = max(self._last[kind], entry.made_at_s)

    def ref(self, kind: str) -> str:
        digest = hashlib.sha256("\n".join(sorted(self._refs[kind])).encode()).hexdigest()
        return f"{SUMMED}/{kind}-{digest[:16]}"

    def mapped(self, entry: Record) -> Record:
        """A record of the cohort as made from kinds instead of single records."""
        own = [ref for ref in entry.made_from if ref.split("/")[0] == ledger.COHORT]
        kinds = dict.fromkeys(_kind(ref) for ref in entry.made_from if ref.split("/")[0] != ledger.COHORT)
        return replace(entry, made_from=(*own, *map(self.ref, kinds)))

    def records(self) -> list[Record]:
        return [
            Record(
                SUMMED,
                kind,
                self.ref(kind).rsplit("-", 1)[1],
                tuple(self.ref(one) for one in sorted(self._from[kind])),
                inputs={"count": len(refs), "failed": self._failed[kind], "instances": self._instances[kind]},
                settings={"any of": [json.loads(text) for text in sorted(self._settings[kind])]},
                versions={name: ", ".join(sorted(found)) for name, found in sorted(self._versions[kind].items())},
                made_by=BETWEEN.join(sorted(self._makers[kind])),
                made_at_s=self._last[kind],
            )
            for kind, refs in self._refs.items()
        ]


def _kind(ref: str) -> str:
    return ref.split("/")[1].rsplit("-", 1)[0]
