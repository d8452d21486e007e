"""Tables and arrays: Parquet, SQLite, zarr."""

from __future__ import annotations

import json
import sqlite3
import urllib.parse
import warnings
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zarr

from lungpipe.identity.pieces import LIMIT, Inside, Item, Piece, Unsearched, in_memory
from lungpipe.identity.texts import DIGITS, string_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROWS = 1 << 16
#: An int16 below this cannot hold two characters; no CT value does.
_TWO_CHARACTERS = 0x2020


def read_parquet(stream: IO[bytes]) -> Iterator[Item]:
    """Metadata, column names, and every text, binary, date and long whole number of a Parquet file."""
    try:
        with pq.ParquetFile(stream) as file:
            schema = file.schema_arrow
            yield from _metadata("metadata", file.metadata.metadata)
            for field in schema:
                yield Piece("a column's name", field.name.encode())
                yield from _metadata(f"metadata of column {field.name}", field.metadata)
            names = [field.name for field in schema if _may_identify(field.type)]
            columns = None if any("." in name for name in names) else names
            row = 0
            for batch in file.iter_batches(_ROWS, columns=columns) if names else ():
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    if name in names:
                        yield from _column(name, column, row)
                row += batch.num_rows
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        yield Unsearched("", f"a damaged Parquet file ({type(error).__name__})")


def _metadata(place: str, pairs: Mapping[bytes, bytes] | None) -> Iterator[Item]:
    for key, value in (pairs or {}).items():
        yield Piece(place, key)
        yield from string_items(f"{place} {key.decode('utf-8', 'replace')}", value.decode("utf-8", "surrogateescape"))


def _may_identify(kind: Any) -> bool:
    return not (pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


def _column(name: str, column: Any, row: int) -> Iterator[Item]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_integer(kind):
        wide = pc.cast(column, pa.decimal128(20))
        column = pc.cast(pc.if_else(pc.greater_equal(pc.abs(wide), 10 ** (DIGITS - 1)), wide, None), pa.string())
    elif pa.types.is_nested(kind):
        for i, value in enumerate(column.to_pylist()):
            for one in _leaves(value):
                yield from _cell(f"column {name}, row {row + i}", one)
        return
    try:
        encoded = column.dictionary_encode()
    except pa.ArrowNotImplementedError:
        for i, value in enumerate(column.to_pylist()):
            yield from _cell(f"column {name}, row {row + i}", value)
        return
    indices = np.asarray(encoded.indices.fill_null(-1))
    values = encoded.dictionary.to_pylist()
    for index, first in zip(*np.unique(indices, return_index=True), strict=True):
        if index >= 0:
            yield from _cell(f"column {name}, row {row + int(first)}", values[index])


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from _leaves(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _leaves(below)
    else:
        yield value


def _cell(place: str, value: Any) -> Iterator[Item]:
    if isinstance(value, str):
        yield from string_items(place, value)
    elif isinstance(value, bytes):
        yield Piece(place, value)
        if len(value) > 8:
            yield Inside(place, in_memory(value))
    elif value is not None and not isinstance(value, float | bool):
        text = str(value)
        if not isinstance(value, int) or len(text.lstrip("-")) >= DIGITS:
            yield Piece(place, text.encode())


def read_sqlite(stream: IO[bytes], size: int) -> Iterator[Item]:
    """Every cell of every table of an SQLite database, and the statements that made them."""
    path = getattr(stream, "name", None)
    try:
        if isinstance(path, str):
            yield from _database(path)
        elif size > LIMIT:
            yield Unsearched("", "a database inside another file, too large to open there")
        else:
            stream.seek(0)
            content = bytearray(stream.read())
            content[18:20] = b"\1\1"  # no write-ahead log comes with it
            with closing(sqlite3.connect(":memory:")) as connection:
                connection.deserialize(bytes(content))
                yield from _tables(connection)
    except (sqlite3.Error, ValueError) as error:
        yield Unsearched("", f"a damaged database ({type(error).__name__})")


def _database(path: str) -> Iterator[Item]:
    """Open read-only; as unchanging where its folder does not let its log be read."""
    address = "file:" + urllib.parse.quote(str(Path(path).resolve()))
    try:
        with closing(sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=30)) as connection:
            connection.execute("SELECT name FROM sqlite_master").fetchone()
            yield from _tables(connection)
    except sqlite3.OperationalError:
        with closing(sqlite3.connect(f"{address}?immutable=1", uri=True)) as connection:
            yield from _tables(connection)


def _tables(connection: sqlite3.Connection) -> Iterator[Item]:
    connection.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    made = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    for kind, name, statement in made:
        yield Piece(f"statement of {kind}", str(statement or name).encode("utf-8", "surrogateescape"))
        if kind != "table":
            continue
        try:
            rows = connection.execute('SELECT * FROM "' + name.replace('"', '""') + '"')
        except sqlite3.OperationalError as error:
            yield Unsearched(f"table {name}", f"it cannot be read here ({type(error).__name__})")
            continue
        columns = [column[0] for column in rows.description]
        for number, row in enumerate(rows, start=1):
            for column, value in zip(columns, row, strict=True):
                if isinstance(value, str | bytes | int):
                    yield from _cell(f"table {name}, column {column}, row {number}", value)


def read_zarr_array(folder: Path) -> Iterator[Item]:
    """Texts and bytes of a zarr v3 array, decompressed; nothing for the folder of a group."""
    try:
        if json.loads((folder / "zarr.json").read_bytes()).get("node_type") != "array":
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array: Any = zarr.open_array(folder, mode="r", zarr_format=3)
            for window in _windows(array):
                values = np.asarray(array[window])
                if values.dtype.kind in "OTUS":
                    for i, value in enumerate(values.ravel().tolist()):
                        yield from _cell(f"array element {i}", value)
                elif values.dtype != np.int16 or (values.size and values.max() >= _TWO_CHARACTERS):
                    yield from _bytes(values)
    except Exception as error:  # noqa: BLE001  every codec fails in its own way; the array is reported
        yield Unsearched("chunks", f"a damaged zarr array ({type(error).__name__})")


def _windows(array: Any) -> list[Any]:
    if array.ndim == 0 or array.nbytes <= LIMIT:
        return [...]
    return [slice(i, i + array.chunks[0]) for i in range(0, array.shape[0], array.chunks[0])]


def _bytes(values: np.ndarray[Any, Any]) -> Iterator[Item]:
    if values.dtype.itemsize > 1 or (values.size and values.max() >= 0x20):
        yield Inside("array values", in_memory(np.ascontiguousarray(values).tobytes()))
