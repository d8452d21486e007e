"""A table held against its declaration whenever one is written or read; pandera finds what is wrong with it.

Pandera's cost is by the column, not the row, and a scan writes a dozen small tables with some 170 columns. So a table is first asked whether it keeps every rule, and only one that does not, or not surely, goes to pandera.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from lungpipe.errors import DatasetError
from lungpipe.store.columns import Between, ListOf, Matches, OneOf, Relation
from lungpipe.store.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import pandera.pandas as pa
    from pandera.errors import SchemaError

    from lungpipe.store.columns import Column, Rule, Schema

#: Faults that one message tells.
_MOST_TOLD = 5
_ADVICE = {
    "write": "nothing was written; correct what made these rows (docs/data-dictionary.md says what a column holds)",
    "read": "the file was changed, or another version of lungpipe wrote it; run the recipe again to make it anew",
}
_TYPES = "every column has its declared type"
_KNOWN = "every column is in the schema"


def check_table(name: str, frame: pd.DataFrame, shown: str, act: Literal["write", "read"]) -> None:
    """Hold a table against its contract.

    Parameters
    ----------
    name : str
        A key of :data:`lungpipe.store.schemas.SCHEMAS`.
    frame : DataFrame
    shown : str
        What the table is called in messages: a relative path, nothing that could identify a patient.
    act : {"write", "read"}
        Which advice the message ends with.

    Raises
    ------
    DatasetError
        If it breaks the contract. The message counts rows and names the first by its number; it quotes no text, since
        that could be an identifier in the wrong column.
    """
    from pandera.errors import SchemaErrors

    frame = frame.reset_index(drop=True)
    if not frame.columns.is_unique:
        raise DatasetError(f"table {name!r} ({shown}) breaks its contract: a column is there twice; {_ADVICE[act]}")
    if _surely_keeps(SCHEMAS[name], frame):
        return
    try:
        pandera_schema(name).validate(frame, lazy=True)
    except SchemaErrors as error:
        faults = list(dict.fromkeys(_faults(SCHEMAS[name], frame, error.schema_errors)))
    else:
        return
    told = "; ".join(faults[:_MOST_TOLD]) or "its rules cannot be applied"
    more = f"; and {len(faults) - _MOST_TOLD} more faults" if len(faults) > _MOST_TOLD else ""
    raise DatasetError(f"table {name!r} ({shown}) breaks its contract: {told}{more}; {_ADVICE[act]}") from None


def _surely_keeps(schema: Schema, frame: pd.DataFrame) -> bool:
    """Whether the table keeps its contract; False leaves it to pandera, which has the words for what is wrong."""
    kinds = {str(name): str(kind) for name, kind in frame.dtypes.items()}
    if not kinds.keys() >= schema.columns.keys() or _unknown(schema, frame) or _mistyped(schema, frame):
        return False
    if any(kinds[column.name] != column.dtype for column in schema.declared):
        return False
    for column in schema.declared:
        cells = frame[column.name]
        missing = cells.isna()
        if missing.any():
            if not column.nullable:
                return False
            cells = cells[~missing]
        if column.rule is not None and not _holds(column.rule, cells).all():
            return False
    return all(relation.holds(frame).all() for relation in (*schema.relations, *_row_rules(schema)))


@cache
def pandera_schema(name: str) -> pa.DataFrameSchema:
    """Contract of a table as a pandera schema.

    Parameters
    ----------
    name : str
        A key of :data:`lungpipe.store.schemas.SCHEMAS`.
    """
    import pandera.pandas as pa

    schema = SCHEMAS[name]
    checks = [
        *(pa.Check(_whole(relation), error=relation.words) for relation in schema.relations),
        *(pa.Check(_whole(relation), error=relation.words) for relation in _row_rules(schema)),
    ]
    # Pandera takes Int64 for int64, and knows nothing of the columns of an open table.
    checks.append(pa.Check(lambda table: not _mistyped(schema, table), error=_TYPES))
    if schema.further:
        checks.append(pa.Check(lambda table: not _unknown(schema, table), error=_KNOWN))
    return pa.DataFrameSchema(
        {column.name: _pandera_column(column) for column in schema.declared},
        checks=checks,
        strict=not (schema.open or schema.further),
        name=name,
    )


def _pandera_column(column: Column) -> pa.Column:
    import pandera.pandas as pa

    rule = column.rule
    checks = [] if rule is None else [pa.Check(lambda cells: _holds(rule, cells), error=column.allowed)]
    return pa.Column(column.dtype, checks, nullable=column.nullable, required=True)


def _holds(rule: Rule, cells: pd.Series[Any]) -> pd.Series[bool]:
    """Whether each cell keeps the rule; missing cells are not asked."""
    match rule:
        case OneOf(values):
            return cells.isin(values)
        case Matches(pattern):
            return cells.str.fullmatch(pattern).astype(bool)
        case ListOf(values):
            known = set(values)
            kept = [text for text in cells.unique() if _is_list_of(str(text), known)]
            return cells.isin(kept)
        case Between(low, high, above):
            return ((cells > low) if above else (cells >= low)) & (cells <= high)


def _is_list_of(text: str, known: set[str]) -> bool:
    parts = text.split(";") if text else []
    return known.issuperset(parts) and len(set(parts)) == len(parts)


def _whole(relation: Relation) -> Any:
    """One bool for the whole table: pandera would spread failing rows over all columns."""
    return lambda table: bool(relation.holds(table).all())


def _row_rules(schema: Schema) -> tuple[Relation, ...]:
    """That no row repeats a key, and that rows come in the order of the keys."""
    if not schema.keys:
        return ()
    keys = list(schema.keys)
    unique = Relation("no row repeats a key", lambda t: ~t.duplicated(keys))
    in_order = Relation(f"rows are sorted by {', '.join(keys)}", lambda t: _not_before_the_last(t, keys))
    return (unique, in_order) if schema.sorted else (unique,)


def _not_before_the_last(table: pd.DataFrame, keys: list[str]) -> pd.Series[bool]:
    """Whether each row's key is at least that of the row before it; compares neighbours only, so it is linear."""
    import numpy as np
    import pandas as pd

    smaller = np.zeros(max(len(table) - 1, 0), bool)
    tied = ~smaller
    for key in keys:
        cells = table[key].to_numpy()
        smaller |= tied & np.asarray(cells[1:] < cells[:-1], bool)
        tied &= np.asarray(cells[1:] == cells[:-1], bool)
    return pd.Series(np.append(True, ~smaller)[: len(table)], index=table.index)


def _mistyped(schema: Schema, table: pd.DataFrame) -> list[str]:
    """Columns that are not of their type; those beyond the declared ones are features."""
    expected = {
        name: schema.columns.get(str(name), schema.dtype_of(str(name), kind) or "float64")
        for name, kind in table.dtypes.items()
    }
    return [str(name) for name, kind in table.dtypes.items() if expected[name] not in ("str", str(kind))]


def _unknown(schema: Schema, table: pd.DataFrame) -> list[str]:
    """Columns that are neither declared nor among the further ones."""
    return [
        str(name)
        for name, kind in table.dtypes.items()
        if name not in schema.columns and schema.dtype_of(str(name), kind) is None
    ]


def _faults(schema: Schema, frame: pd.DataFrame, errors: list[SchemaError]) -> Iterator[str]:
    """One line a fault; what only follows from a missing or mistyped column is left out."""
    for error in errors:
        column = error.schema.name
        match error.reason_code.name:
            case "COLUMN_NOT_IN_DATAFRAME":
                yield f"column {error.failure_cases!r} is missing"
            case "COLUMN_NOT_IN_SCHEMA":
                yield f"{sum(name not in schema.columns for name in frame)} columns are not in the schema"
            case "WRONG_DATATYPE":
                yield _wrong_type(schema, frame, column)
            case "SERIES_CONTAINS_NULLS":
                yield f"column {column!r} has {_rows(frame[column].isna())} without a value, and none may be missing"
            case "DATAFRAME_CHECK" if not hasattr(
                error.schema, "columns"
            ):  # of a column, which may be called as its table
                yield _broken_cells(frame[column], error)
            case "DATAFRAME_CHECK":
                yield from _broken_rows(schema, frame, error.check.error)


def _broken_cells(cells: pd.Series[Any], error: SchemaError) -> str:
    import pandas as pd

    at = error.failure_cases["index"].to_numpy()
    broken = pd.Series(cells.index.isin(at))
    found = f", found {cells.iloc[at.min()]:g}" if pd.api.types.is_numeric_dtype(cells) else ""
    return f"column {cells.name!r} has {_rows(broken)} with other values than expected ({error.check.error}{found})"


def _broken_rows(schema: Schema, frame: pd.DataFrame, words: str) -> Iterator[str]:
    if words == _KNOWN:
        yield f"{len(_unknown(schema, frame))} columns are not in the schema"
    wrong = _mistyped(schema, frame) if words == _TYPES else []
    yield from (_wrong_type(schema, frame, name) for name in wrong if name in schema.columns)
    if schema.open and (features := [name for name in wrong if name not in schema.columns]):
        yield f"{len(features)} feature columns are not float64, the first in place {list(frame).index(features[0])}"
    for relation in (*schema.relations, *_row_rules(schema)):
        if relation.words == words:
            yield f"the rule that {words} is broken by {_rows(~relation.holds(frame))}"


def _wrong_type(schema: Schema, frame: pd.DataFrame, column: str) -> str:
    return f"column {column!r} has the type {frame[column].dtype}, expected {schema.columns[column]}"


def _rows(broken: pd.Series[bool]) -> str:
    count = int(broken.sum())
    number = int(broken.to_numpy().argmax())
    return (
        f"1 row (number {number}, counted from 0)"
        if count == 1
        else f"{count} rows (the first is number {number}, counted from 0)"
    )
