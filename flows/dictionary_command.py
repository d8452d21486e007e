"""The command ``dictionary``: what every table, column and feature of a workspace means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def dictionary(
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON for a script to read, instead of Markdown.")] = False,
) -> None:
    """Print the data dictionary: tables, columns, types, units, allowed values, and the IBSI code of every feature.

    Example: lungpipe dictionary --out data-dictionary.md
    """
    from lungpipe.store.dictionary import as_dict, as_markdown
    from lungpipe.store.place import write_atomically

    text = json.dumps(as_dict(), indent=1) + "\n" if json_ else as_markdown()
    if out is None:
        print(text, end="")  # noqa: T201  the command line's own output
        return
    write_atomically(out, text.encode())
    print(out)  # noqa: T201  the command line's own output
