"""Tables of a workspace, read and held against their contract once by a worker that evaluates many configurations."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.store.place import Place

#: Workspaces that are held at once: the one that teaches, and a few that only test.
WORKSPACES = 4


def nodules_of(place: Place) -> pd.DataFrame:
    """Table of nodules as it is now; not to be changed by who gets it."""
    path = "tables/nodules.parquet"
    return _read(place, path, place.digest(path))


def features_of(place: Place) -> pd.DataFrame:
    """Table of features as it is now; not to be changed by who gets it."""
    path = "tables/features.parquet"
    return _read(place, path, place.digest(path))


@lru_cache(maxsize=2 * WORKSPACES)
def _read(place: Place, path: str, sha256: str) -> pd.DataFrame:
    del sha256
    return read_table(place, path)
