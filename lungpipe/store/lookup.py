"""Rows of a table by one value, read without pandas: a command that answers at once cannot wait for its import."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.store.place import Place


def rows_with(place: Place, name: str, key: str, value: str, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a Parquet table whose text column ``key`` holds ``value``; none where there is no such column.

    Parameters
    ----------
    place : Place
    name : str
        Relative path of the table.
    key, value : str
    columns : sequence of str
        Columns wanted besides the key.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(place.read(name)))
    if key not in file.schema_arrow.names:
        return []
    table = file.read(columns=[key, *(column for column in columns if column != key)])
    # A comparison with a Python string would import pandas; so candidates first, then equality.
    near = table.filter(pc.match_substring(table.column(key), pattern=value))
    return [row for row in near.to_pylist() if row[key] == value]
