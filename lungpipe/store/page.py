"""A page of a workspace, with its record."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lungpipe.store import ledger
from lungpipe.store.record import code_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lungpipe.store.place import Place


def write_page(place: Place, kind: str, name: str, html: str, made_from: Iterable[str] = ()) -> tuple[str, str]:
    """Write a page and its record.

    Parameters
    ----------
    place : Place
        The workspace.
    kind : {"report", "curation"}
    name : str
        Relative path.
    html : str
    made_from : iterable of str
        References of what it shows.

    Returns
    -------
    address : str
        Of the page.
    ref : str
        Of its record.
    """
    content = html.encode()
    entry = ledger.named(
        ledger.COHORT,
        kind,
        subject={"page": name},
        made_from=made_from,
        inputs={"html_sha256": hashlib.sha256(content).hexdigest()},
        versions={"code": code_digest()},
    )
    place.write(name, content)
    ledger.replace_older(place, ledger.record(place, entry, [name]))
    return f"{place}/{name}", entry.ref
