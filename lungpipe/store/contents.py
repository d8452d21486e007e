"""What the tables say is in the store: the volume of each series, the masks of each nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError, StoreError
from lungpipe.store.tables import read_table
from lungpipe.store.volumes import read_mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lungpipe.store.place import Place
    from lungpipe.volume import Mask

Row = dict[str, Any]


def volume_name(volume_id: str) -> str:
    """Zarr group of a volume, relative to the workspace.

    Raises
    ------
    StoreError
        If the id is empty: the data set is outlines without images.
    """
    if not volume_id:
        raise StoreError("no_image", "the nodule has no image: its data set is outlines alone")
    return f"volumes/{volume_id}.zarr"


def stored_series(place: Place, only: Collection[str] = ()) -> list[Row]:
    """Rows of ``tables/series.parquet`` whose volume is in the store, in the table's order.

    Parameters
    ----------
    place : Place
        The workspace.
    only : collection of str
        Pseudonyms of the series wanted; all if empty.

    Raises
    ------
    DatasetError
        If there is no such table, or a series that is wanted is not there or has no volume.
    """
    table = read_table(place, "tables/series.parquet")
    rows: list[Row] = [dict(row) for row in table.to_dict("records") if row["volume_id"]]  # type: ignore[arg-type]
    if not only:
        return rows
    found = [row for row in rows if row["series_uid"] in only]
    missing = sorted(set(only) - {str(row["series_uid"]) for row in found})
    if missing:
        raise DatasetError(
            f"no volume of {', '.join(missing)} in {place}: {len(rows)} of its {len(table)} series have one, "
            "and tables/series.parquet names them"
        )
    return found


def stored_nodules(place: Place) -> dict[str, list[Row]]:
    """Rows of ``tables/nodules.parquet`` by series, in the table's order; none before a run wrote it."""
    found: dict[str, list[Row]] = {}
    if place.exists("tables/nodules.parquet"):
        for row in read_table(place, "tables/nodules.parquet").to_dict("records"):
            found.setdefault(str(row["series_uid"]), []).append(dict(row))  # type: ignore[arg-type]
    return found


def stored_mask(place: Place, row: Mapping[Any, Any]) -> Mask:
    """The mask of a row of the table of nodules, if it is still the one that the row describes.

    Raises
    ------
    StoreError
        ``damaged_mask`` if it is missing or damaged, ``stale_mask`` if a later run replaced it.
    """
    path = f"masks/{row['artefact']}/{row['nodule_id']}"
    mask = read_mask(place, volume_name(row["volume_id"]), path)
    if mask.content_id != row["mask_id"]:
        raise StoreError(
            "stale_mask", "the stored mask is not the one in the tables: a later run replaced it; run the recipe again"
        )
    return mask
