"""The Parquet tables of a workspace: made in one form, and held against their contracts when written and when read."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError
from lungpipe.store.contracts import check_table
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from lungpipe.store.columns import Schema

__all__ = [
    "SCHEMAS",
    "conform",
    "contract_of",
    "from_bytes",
    "make_table",
    "read_table",
    "to_bytes",
    "write_table",
]


def contract_of(name: str) -> Schema:
    """Contract of a table.

    Raises
    ------
    DatasetError
        If no table has that name.
    """
    if name not in SCHEMAS:
        raise DatasetError(f"no table is called {name!r}; there are {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def make_table(name: str, rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Build a table from rows: columns in the schema's order and types, rows sorted by key.

    Parameters
    ----------
    name : str
        A key of :data:`SCHEMAS`.
    rows : iterable of mapping
        Extra columns are kept, as float64, where the schema is open.

    Raises
    ------
    DatasetError
        If a column is missing or unexpected, a value does not fit its column's type, or two rows share a key. What
        the values may be is checked by :func:`to_bytes`.
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    if frame.empty:
        frame = pd.DataFrame(columns=list(contract_of(name).columns))
    return conform(name, frame)


def conform(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Put columns and rows of a table in order; parameters and errors as :func:`make_table`."""
    schema = contract_of(name)
    missing = [c for c in schema.columns if c not in frame]
    extra = {str(c): schema.dtype_of(str(c), frame[c].dtype) for c in frame if c not in schema.columns}
    known = {column: dtype for column, dtype in extra.items() if dtype is not None}
    if missing or len(known) < len(extra):
        unexpected = [column for column in extra if column not in known]
        raise DatasetError(f"table {name!r}: missing columns {missing}, unexpected columns {unexpected}")
    frame = _typed(name, frame[[*schema.columns, *extra]], {**schema.columns, **known})
    frame = frame.sort_values(list(schema.keys or schema.columns), kind="stable", ignore_index=True)
    if schema.keys and (repeated := frame.duplicated(list(schema.keys))).any():
        first = int(repeated.to_numpy().argmax())
        raise DatasetError(
            f"table {name!r}: {int(repeated.sum())} rows repeat a key ({', '.join(schema.keys)}), the first of them in "
            f"row {first} of the sorted table, counted from 0"
        )
    return frame


def _typed(name: str, frame: pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    try:
        return frame.astype(dtypes)
    except (TypeError, ValueError, OverflowError):
        wrong = [column for column, dtype in dtypes.items() if not _fits(frame[[column]], dtype)]
    # Pandas quotes the value, which can be an identifier in the wrong column.
    raise DatasetError(
        f"table {name!r}: values do not fit the type of "
        f"{', '.join(f'{column} ({dtypes[column]})' for column in wrong[:10])}; correct what made these rows"
    )


def _fits(cells: pd.DataFrame, dtype: str) -> bool:
    try:
        cells.astype(dict.fromkeys(cells, dtype))
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def to_bytes(name: str, frame: pd.DataFrame, shown: str = "") -> bytes:
    """Hold a table against its contract, then pack it as Parquet; equal tables give equal bytes.

    Parameters
    ----------
    name : str
        A key of :data:`SCHEMAS`.
    frame : DataFrame
    shown : str
        What the table is called in messages; default: the name.

    Raises
    ------
    DatasetError
        If the table breaks its contract.
    """
    contract_of(name)
    check_table(name, frame, shown or name, "write")
    return _packed(name, frame)


def _packed(name: str, frame: pd.DataFrame) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"str": pa.string(), "int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64()}
    further = {str(column): SCHEMAS[name].dtype_of(str(column), frame[column].dtype) for column in frame}
    columns = {**{column: dtype or "float64" for column, dtype in further.items()}, **SCHEMAS[name].columns}
    schema = pa.schema([(column, kinds[columns[column]]) for column in map(str, frame)])
    plain = frame.reset_index(drop=True)
    plain.attrs = {}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(plain, schema=schema, preserve_index=False), buffer)
    return buffer.getvalue()


def from_bytes(name: str, content: bytes, shown: str = "") -> pd.DataFrame:
    """Read a table that :func:`to_bytes` packed, and hold it against its contract.

    Parameters
    ----------
    name : str
        A key of :data:`SCHEMAS`.
    content : bytes
    shown : str
        What the table is called in messages; default: the name.

    Raises
    ------
    DatasetError
        If it is no Parquet table, or breaks its contract.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    contract_of(name)
    try:
        # One file, known whole: what reads data sets takes ten times as long for a few rows.
        frame: pd.DataFrame = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False).to_pandas()
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise DatasetError(
            f"table {name!r} ({shown or name}) cannot be read ({type(error).__name__}); run the recipe again to make it anew"
        ) from None
    check_table(name, frame, shown or name, "read")
    return frame


def write_table(frame: pd.DataFrame, place: Place, path: str) -> None:
    """Write a table as Parquet, whole or not at all, if it keeps its contract.

    Parameters
    ----------
    frame : DataFrame
    place : Place
        The workspace.
    path : str
        Relative; its stem says which table it is (``"tables/features.parquet"``).

    Raises
    ------
    DatasetError
        If the table breaks its contract.
    """
    place.write(path, to_bytes(PurePosixPath(path).stem, frame, path))


def read_table(place: Place, path: str) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote; parameters as there.

    Raises
    ------
    DatasetError
        If it is missing or breaks its contract.
    """
    return from_bytes(PurePosixPath(path).stem, _content(place, path), path)


def _content(place: Place, path: str) -> bytes:
    try:
        return place.read(path)
    except FileNotFoundError:
        message = f"no table at {place}/{path}; is this a lungpipe workspace, and did its run finish?"
        raise DatasetError(message) from None
