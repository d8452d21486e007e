"""What every page has in common: its template engine, and files inside links."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    import pandas as pd


def environment() -> Environment:
    """Make the template engine; a name that is missing in a template is an error."""
    return Environment(
        loader=PackageLoader("lungpipe", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_uri(kind: str, content: bytes) -> str:
    """Write a file as a link that holds it; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def csv_uri(table: pd.DataFrame) -> str:
    """Write a table as a link that holds it as CSV."""
    return data_uri("text/csv;charset=utf-8", table.to_csv(index=False).encode())
