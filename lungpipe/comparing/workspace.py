"""A finished run as a comparison reads it: its record and whichever of its tables are there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

#: Tables that are compared.
TABLES = ("series", "nodules", "exclusions", "features", "predictions", "scores")


def open_run(address: str | Path | Place) -> Run:
    """Read the record and the tables of a workspace.

    Parameters
    ----------
    address : str, Path or Place
        Folder or address of the workspace.

    Returns
    -------
    Run
        A table that is not there, or breaks its contract, is in ``missing`` with the reason.

    Raises
    ------
    DatasetError
        If there is neither a record nor a table of nodules, features or scores: this is no workspace.
    """
    place = Place.at(address)
    tables: dict[str, pd.DataFrame] = {}
    missing: dict[str, str] = {}
    for name in TABLES:
        path = f"tables/{name}.parquet"
        if not place.exists(path):
            missing[name] = "is not there"
            continue
        try:
            tables[name] = read_table(place, path)
        except DatasetError as error:
            missing[name] = f"cannot be read: {error}"
    record = _record(place)
    if record is None and not tables.keys() & {"nodules", "features", "scores"}:
        raise DatasetError(
            f"{place} has no run.json and no tables; expected the workspace of a finished run (lungpipe run RECIPE)"
        )
    return Run(str(place), record or {}, tables, missing)


def _record(place: Place) -> dict[str, Any] | None:
    if not place.exists("run.json"):
        return None
    try:
        record = json.loads(place.read("run.json"))
    except ValueError as error:
        raise DatasetError(f"{place}/run.json is no JSON ({error}); run the recipe again to write it anew") from error
    if not isinstance(record, dict):
        raise DatasetError(f"{place}/run.json holds no record of a run; run the recipe again to write it anew")
    return record


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One side of a comparison.

    Parameters
    ----------
    address : str
    record : mapping
        ``run.json``; empty if there is none.
    tables : mapping of str to DataFrame
        By name, of :data:`TABLES`.
    missing : mapping of str to str
        Why a table is not among them.
    """

    address: str
    record: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    missing: Mapping[str, str]

    @property
    def title(self) -> str:
        """What was run."""
        return str(self.record.get("title", ""))

    @property
    def key(self) -> str:
        """Fingerprint of the key of its pseudonyms; empty where the record does not say."""
        return str(self.record.get("pseudonym_key_fingerprint") or "")
