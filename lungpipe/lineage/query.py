"""Questions in SQL to the tables of many workspaces at once, which can read nothing else and write nothing."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.lineage.about import needs_extra
from lungpipe.store.tables import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.store.place import Place

#: In force before the first query is read: the tables are handed over as objects, so no file need ever be opened.
_LOCKED = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Names of the columns, and the rows; a missing value is None."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """One JSON object a row; numbers that JSON does not have become null."""
        return [{name: _plain(value) for name, value in zip(self.columns, row, strict=True)} for row in self.rows]

    def as_text(self) -> str:
        """An aligned table: numbers to the right, missing values as ``-``."""
        cells = [[_shown(value) for value in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(self.columns, *cells, strict=True)]
        right = [
            bool(column) and all(value is None or isinstance(value, int | float | Decimal) for value in column)
            for column in (tuple(row[i] for row in self.rows) for i in range(len(self.columns)))
        ]
        lines = [self.columns, tuple("-" * width for width in widths), *cells]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(line, widths, right, strict=True)
            ).rstrip()
            for line in lines
        )


def query(sql: str, places: Sequence[Place]) -> Answer:
    """Ask the tables of some workspaces.

    Views ``series``, ``exclusions``, ``nodules``, ``features``, ``predictions`` and ``scores`` hold the rows of all
    workspaces that have the table, columns matched by name, with a column ``workspace`` in front: the folder's name, with
    as much of the path as tells it from the others.

    Parameters
    ----------
    sql : str
        One SELECT statement in DuckDB's dialect (DESCRIBE, SHOW and SUMMARIZE count as such).
    places : sequence of Place
        The workspaces.

    Raises
    ------
    DatasetError
        If a workspace has no table or is given twice, the statement is anything but one SELECT, it is wrong, it asks for
        a file, or the package is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise needs_extra("duckdb") from error
    names = _names(places)
    with duckdb.connect() as connection:
        views = _add_views(connection, dict(zip(names, places, strict=True)))
        for setting in _LOCKED:
            connection.execute(setting)
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise DatasetError("a query is one SELECT statement; nothing can be written or changed with it")
            found = connection.execute(statements[0])
            columns = tuple(str(column[0]) for column in found.description or ())
            return Answer(columns, tuple(found.fetchall()))
        except duckdb.Error as error:
            raise DatasetError(f"{str(error).strip()}\nthere are the views {', '.join(views)}") from error


def _names(places: Sequence[Place]) -> list[str]:
    """Shortest ends of the addresses that tell the workspaces apart."""
    if not places:
        raise DatasetError("a query needs at least one workspace")
    parts = [PurePosixPath(place.address.replace("\\", "/")).parts for place in places]
    if len(set(parts)) < len(parts):
        raise DatasetError("a workspace is given twice")
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [place.address for place in places]


def _add_views(connection: Any, places: dict[str, Place]) -> list[str]:
    """One view a table, over all workspaces that have it; returns their names."""
    asked: dict[str, list[str]] = {}
    for number, (shown, place) in enumerate(places.items()):
        seen = [name for name in SCHEMAS if place.exists(f"tables/{name}.parquet")]
        if not seen:
            raise DatasetError(f"no table in {place}; is this a lungpipe workspace, and did its run finish?")
        for name in seen:
            connection.register(f"_{name}_{number}", _table(place, f"tables/{name}.parquet"))
            label = shown.replace("'", "''")
            asked.setdefault(name, []).append(f"SELECT '{label}' AS workspace, * FROM _{name}_{number}")
    for name, parts in asked.items():
        connection.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")
    return list(asked)


def _table(place: Place, path: str) -> Any:
    """A table that is read when it is asked for, and then no more columns than needed; from a server it is read now."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    try:
        if place.local is not None:
            return ds.dataset(place.path(path), format="parquet")
        return pq.read_table(io.BytesIO(place.read(path)))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{path} of {place} cannot be read ({type(error).__name__}); see `lungpipe verify`"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
