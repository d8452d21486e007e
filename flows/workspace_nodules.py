"""Nodules of a finished workspace for a training: which ones, what a network sees of each, and which patients are held back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from lungpipe.geometry import IndexTriple
    from lungpipe.store.place import Place
    from lungpipe.volume import CTVolume, Mask

Seen = TypeVar("Seen")


class NodulesSection(BaseModel):
    """Nodules of a finished workspace: whose masks, and which patients by their pseudonyms; all if ``only`` is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: str
    segmenter: str
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    held_back: Annotated[float, Field(gt=0, lt=1)] = 0.2


@dataclass(eq=False, slots=True)
class Side(Generic[Seen]):
    """What a network sees of nodules, their rows, and whose they are."""

    seen: list[Seen] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def patients(self) -> int:
        """How many there are."""
        return len({row["patient_id"] for row in self.rows})


def wanted(data: NodulesSection) -> tuple[pd.DataFrame, Place]:
    """Rows of the nodules to learn from, one a nodule, in an order that depends on no pseudonym, and their workspace.

    Raises
    ------
    DatasetError
        If the workspace is not finished, or has no such masks or patients.
    """
    from lungpipe.store.place import Place
    from lungpipe.store.tables import read_table

    place = Place.at(data.workspace)
    if not place.exists("tables/nodules.parquet"):
        raise DatasetError(f"{place} has no tables/nodules.parquet; give the workspace of a finished run")
    table = read_table(place, "tables/nodules.parquet")
    if data.segmenter not in set(table["segmenter"]):
        there = ", ".join(sorted(map(str, table["segmenter"].unique())))
        raise DatasetError(f"{place} has no masks by {data.segmenter!r}; there are: {there}")
    if unknown := sorted({*data.only, *data.exclude} - set(table["patient_id"])):
        raise DatasetError(f"{place} has no patient {unknown[0]!r}; data.only and data.exclude are pseudonyms (P-...)")
    table = table[(table["segmenter"] == data.segmenter) & ~table["patient_id"].isin(data.exclude)]
    if data.only:
        table = table[table["patient_id"].isin(data.only)]
    return table.sort_values(["voxels_sha256", "z_mm", "y_mm", "x_mm"]), place


def divided(
    place: Place,
    table: pd.DataFrame,
    held_back: float,
    box: Callable[[Mask], tuple[IndexTriple, IndexTriple]],
    see: Callable[[CTVolume, Mask], Seen],
) -> tuple[Side[Seen], Side[Seen]]:
    """Nodules to learn from, and those of the patients that are held back; patients by the content of their scans.

    Parameters
    ----------
    place : Place
    table : DataFrame
        Of :func:`wanted`.
    held_back : float
        Share of the patients.
    box : callable
        Voxels of the scan that are read for a nodule.
    see : callable
        The scan, cut to that box, and the nodule's mask -> what is learned from.

    Raises
    ------
    DatasetError
        If a side has no nodule.
    """
    from flows.lessons import share_of
    from lungpipe.store.contents import stored_mask, volume_name
    from lungpipe.store.volumes import read_volume
    from tasks.progress import progress

    first_scan = table.groupby("patient_id")["voxels_sha256"].min()
    sides: tuple[Side[Seen], Side[Seen]] = (Side(), Side())
    with progress("nodules", len(table)) as advance:
        for row in table.to_dict("records"):
            mask = stored_mask(place, row)
            volume = read_volume(place, volume_name(str(row["volume_id"])), box(mask))
            side = sides[share_of(first_scan[str(row["patient_id"])]) < held_back]
            side.seen.append(see(volume, mask))
            side.rows.append({str(key): value for key, value in row.items()})
            advance(1, "")
    if not all(side.rows for side in sides):
        raise DatasetError(
            f"{len(sides[0].rows)} nodules to learn from and {len(sides[1].rows)} held back; give a workspace of more patients, or "
            "another data.held_back"
        )
    return sides


def source_of(data: NodulesSection, table: pd.DataFrame, sides: tuple[Side[Any], Side[Any]]) -> dict[str, Any]:
    """What the header of weights says of their training set; patients by the fingerprints of their scans."""
    from lungpipe.deep.header import fingerprints

    return {
        "datasets": sorted(map(str, table["dataset"].unique())),
        "intensities": "simulated" if (table["intensities"] == "simulated").any() else "measured",
        "segmenter": data.segmenter,
        "patients": sides[0].patients + sides[1].patients,
        "patients_held_back": sides[1].patients,
        "nodules": len(sides[0].rows) + len(sides[1].rows),
        "scans": fingerprints(map(str, table["voxels_sha256"])),
    }
