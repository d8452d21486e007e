"""Where Prefect keeps what it knows of runs on this machine: its database, results and logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQLITE = ("sqlite+aiosqlite:///", "sqlite:///")


def prefect_places() -> list[Path]:
    """Files and folders of Prefect on this machine that exist.

    Prefect's own settings are asked (``$PREFECT_HOME``, profile, ``$PREFECT_SERVER_DATABASE_CONNECTION_URL``), so a
    temporary database is found as well as ``~/.prefect``. A server on another machine keeps its database there, and it
    is not among these.

    Returns
    -------
    list of Path
        The home folder, and the database with its log and the results where they lie elsewhere; sorted.
    """
    settings = get_current_settings()
    home = settings.home.expanduser().resolve()
    places = {home, *_database(), settings.results.local_storage_path.expanduser().resolve()}
    outside = {place for place in places if place == home or not place.is_relative_to(home)}
    return sorted(place for place in outside if place.exists())


def _database() -> Iterator[Path]:
    secret = get_current_settings().server.database.connection_url
    address = secret.get_secret_value() if secret is not None else ""
    for scheme in _SQLITE:
        if address.startswith(scheme):
            path = Path(unquote(address.removeprefix(scheme).partition("?")[0])).resolve()
            yield from (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")))
