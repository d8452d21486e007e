"""Rows of one artefact, all its tables in one small JSON file, and the tables of a cohort from the files of many.

A scan makes tables of a row or none. As Parquet a row of 127 columns takes 86 kB, 4 ms to write and 2 ms to read, nearly all of it by the
column; as JSON it takes 4 kB and a twentieth of a millisecond. Numbers come back as they were: they are written with the digits
that tell them apart.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store.columns import Between, ListOf, Matches, OneOf
from lungpipe.store.contracts import check_table
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import conform, contract_of, make_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from lungpipe.store.columns import Column, Rule, Schema
    from lungpipe.store.place import Place

#: Files whose rows are in memory as Python's objects, which take ten times the room of a column.
_FILES_AT_ONCE = 500
_INT64 = range(-(2**63), 2**63)

Row = dict[str, Any]


def write_rows(place: Place, path: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write rows of some tables into one file, if they keep the tables' contracts.

    The file is not forced to the disk: what a power cut takes of it is noticed by the artefact's record, and made again.

    Parameters
    ----------
    place : Place
        The workspace.
    path : str
        Relative.
    tables : mapping of str to sequence of mapping
        Rows by keys of :data:`lungpipe.store.schemas.SCHEMAS`; a table without rows is kept too.

    Raises
    ------
    DatasetError
        If rows break the contract of their table; nothing is written then.
    """
    kept = {name: checked(name, rows, path) for name, rows in tables.items()}
    try:
        content = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"rows for {path} hold text that is no Unicode; correct what made these rows") from None
    place.write(path, content, synced=False)


def load_rows(place: Place, path: str) -> dict[str, list[Row]]:
    """Read the tables of one file, each as its rows.

    Raises
    ------
    DatasetError
        If the file is missing or not one that :func:`write_rows` wrote.
    """
    try:
        tables = json.loads(place.read(path))
        if all(isinstance(row, dict) for rows in tables.values() for row in rows):
            return dict(tables)
        found = "no rows"
    except FileNotFoundError:
        found = "no file"
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        found = type(error).__name__
    raise DatasetError(f"rows at {place}/{path} cannot be read ({found}); run the recipe again to make them anew")


def gather_rows(place: Place, paths: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Join the rows of many files, table by table, in the order of the keys, and hold each table against its contract.

    Parameters
    ----------
    place : Place
    paths : sequence of str
        Relative paths of the files.

    Returns
    -------
    dict of str to DataFrame
        Those tables that any file has.

    Raises
    ------
    DatasetError
        If a file is missing or damaged, or a table breaks its contract.
    """
    packed: dict[str, list[pa.Table]] = {}
    for start in range(0, len(paths), _FILES_AT_ONCE):
        rows: dict[str, list[Row]] = {}
        for path in paths[start : start + _FILES_AT_ONCE]:
            for name, found in load_rows(place, path).items():
                rows.setdefault(name, []).extend(found)
        for name, some in rows.items():
            packed.setdefault(name, []).append(_in_columns(name, some))
    return {name: _whole(name, pieces, len(paths)) for name, pieces in packed.items()}


def checked(name: str, rows: Sequence[Mapping[str, Any]], shown: str = "") -> list[Row]:
    """Rows as JSON values, in the order of their keys.

    Making a frame of a row and checking it takes forty milliseconds. So rows that plainly keep the contract are told here; all
    others are left to :func:`lungpipe.store.tables.make_table` and :func:`lungpipe.store.contracts.check_table`, which have the
    words for what is wrong.

    Raises
    ------
    DatasetError
        If rows break the contract.
    """
    plain = _plain(name, rows)
    if plain is not None:
        return plain
    frame = make_table(name, rows)
    check_table(name, frame, shown or name, "write")
    cells = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(map(str, cells), row, strict=True)) for row in cells.itertuples(index=False)]


def _plain(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Row] | None:
    """Rows that surely keep the contract; None if that is not sure."""
    schema = contract_of(name)
    if not rows:
        return []
    features = [column for column in dict.fromkeys(c for row in rows for c in row) if column not in _columns(name)]
    if features and not schema.open:
        return None
    ordered = _sorted(schema, rows)
    if ordered is None or not all(_keeps(column, ordered) for column in schema.declared):
        return None
    if not all(_is_number(row.get(feature)) for feature in features for row in ordered):
        return None
    if not all(relation.holds(_with_nan(name, row)) for relation in schema.relations for row in ordered):
        return None
    try:
        return [
            {column.name: _json(column.dtype, row[column.name]) for column in schema.declared}
            | {feature: _json("float64", row[feature]) for feature in features if feature in row}
            for row in ordered
        ]
    except OverflowError:  # an integer that no float64 holds
        return None


def _json(dtype: str, cell: Any) -> Any:
    if cell is None or (dtype == "float64" and cell != cell):
        return None
    if dtype == "str":
        return cell
    return float(cell) if dtype == "float64" else int(cell)


def _in_columns(name: str, rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    schema = _arrow_schema(name, tuple(dict.fromkeys(c for row in rows for c in row if c not in _columns(name))))
    try:
        arrays = [pa.array([row.get(field.name) for row in rows], field.type, from_pandas=True) for field in schema]
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise _mixed(name, error) from None
    return pa.Table.from_arrays(arrays, schema=schema)


def _whole(name: str, pieces: Sequence[pa.Table], n_files: int) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame = pa.concat_tables(pieces, promote_options="permissive").to_pandas()
    except (ValueError, TypeError) as error:
        raise _mixed(name, error) from None
    frame = conform(name, frame)
    check_table(name, frame, f"{n_files} files of rows", "read")
    return frame


def _mixed(name: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"rows of table {name!r} do not fit together ({type(error).__name__}); run the recipe again to make them anew"
    )


@cache
def _columns(name: str) -> Mapping[str, str]:
    return SCHEMAS[name].columns


@cache
def _arrow_schema(name: str, features: tuple[str, ...]) -> pa.Schema:
    """Types of the columns, with the notes by which pandas reads them back."""
    import pandas as pd
    import pyarrow as pa

    kinds = {"str": pa.string(), "int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64()}
    columns = {**_columns(name), **dict.fromkeys(features, "float64")}
    frame = pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in columns.items()})
    typed = pa.schema([(column, kinds[dtype]) for column, dtype in columns.items()])
    return pa.Table.from_pandas(frame, schema=typed, preserve_index=False).schema


def _sorted(schema: Schema, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """Rows in the order of their keys; None if a key is missing or repeated."""
    try:
        keyed = {tuple(row[key] for key in schema.keys or schema.columns): row for row in rows}
        keys = sorted(keyed)
    except (KeyError, TypeError):
        return None
    if len(keys) < len(rows) or any(cell != cell for key in keys for cell in key):
        return None
    return [keyed[key] for key in keys]


def _keeps(column: Column, rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every cell is there, of its type, and allowed."""
    for row in rows:
        cell = row.get(column.name, row)  # a row is no cell
        if cell is None or cell != cell:
            if not column.nullable or column.dtype == "str":
                return False
        elif not (_fits(column, cell) and (column.rule is None or _allows(column.rule, cell))):
            return False
    return True


def _with_nan(name: str, row: Mapping[str, Any]) -> Row:
    return {column: math.nan if row[column] is None else row[column] for column in _columns(name)}


def _fits(column: Column, cell: Any) -> bool:
    if column.dtype == "str":
        return type(cell) is str
    if column.dtype == "float64":
        return _is_number(cell)
    return type(cell) is not bool and isinstance(cell, Integral) and int(cell) in _INT64


def _is_number(cell: Any) -> bool:
    return cell is None or type(cell) is float or (type(cell) is not bool and isinstance(cell, Real))


def _allows(rule: Rule, cell: Any) -> bool:
    match rule:
        case OneOf(values):
            return cell in values
        case Matches(pattern):
            return re.fullmatch(pattern, cell) is not None
        case ListOf(values):
            parts = cell.split(";") if cell else []
            return len(set(parts)) == len(parts) and all(part in values for part in parts)
        case Between(low, high, above):
            return bool((cell > low if above else cell >= low) and cell <= high)
