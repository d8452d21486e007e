"""A few rows straight to Parquet, without a data frame: a scan writes a dozen tables of a row or none.

Making, checking and packing a frame of one row takes forty milliseconds, nearly all of it by the column. What is packed here has
the bytes that :func:`lungpipe.store.tables.to_bytes` gives; whatever is not plainly right is left to it, which has the words for
what is wrong.
"""

from __future__ import annotations

import io
import math
import re
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from lungpipe.store.columns import Between, ListOf, Matches, OneOf
from lungpipe.store.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    from lungpipe.store.columns import Column, Rule, Schema

#: From so many rows on a frame is faster.
MOST_ROWS = 64
_INT64 = range(-(2**63), 2**63)


def pack_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Pack rows as Parquet if they surely keep the contract of their table; else None, and nothing is decided.

    Parameters
    ----------
    name : str
        A key of :data:`lungpipe.store.schemas.SCHEMAS`.
    rows : sequence of mapping
    """
    import pyarrow as pa

    schema = SCHEMAS[name]
    if not rows:
        return empty(name)
    features = [column for column in dict.fromkeys(c for row in rows for c in row) if column not in schema.columns]
    if len(rows) > MOST_ROWS or (features and not schema.open):
        return None
    ordered = _sorted(schema, rows)
    if ordered is None or not all(_keeps(column, ordered) for column in schema.declared):
        return None
    if not all(_is_number(row.get(feature)) for feature in features for row in ordered):
        return None
    if not all(relation.holds(_with_nan(schema, row)) for relation in schema.relations for row in ordered):
        return None
    target = _arrow_schema(name, tuple(features))
    try:
        arrays = [pa.array([row.get(field.name) for row in ordered], field.type, from_pandas=True) for field in target]
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    return _packed(pa.Table.from_arrays(arrays, schema=target))


def _packed(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


@cache
def empty(name: str) -> bytes:
    """A table without rows, as :func:`pack_rows` packs it."""
    return _packed(_arrow_schema(name, ()).empty_table())


@cache
def _arrow_schema(name: str, features: tuple[str, ...]) -> pa.Schema:
    """Types of the columns, with the notes by which pandas reads them back."""
    import pandas as pd
    import pyarrow as pa

    kinds = {"str": pa.string(), "int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64()}
    columns = {**SCHEMAS[name].columns, **dict.fromkeys(features, "float64")}
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


def _with_nan(schema: Schema, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if row[name] is None else row[name] for name in schema.columns}


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
