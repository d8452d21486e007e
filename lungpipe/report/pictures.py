"""The nodules that a report pictures, and what an earlier report drew of them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.report import MOST_NODULES
from lungpipe.report.drawing import Drawing, Tile
from lungpipe.store import ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from lungpipe.store.place import Place

#: Raise it when the same masks and volumes give other pictures.
VERSION = "1"
KIND, PATH = "pictures", "parts/pictures/pictures.json"
#: Longest side of a picture, of few nodules and of more than :data:`FEW`.
SIDE_PX, SIDE_OF_FEW_PX = 96, 256
FEW = 200


@dataclass(frozen=True, slots=True)
class Sitter:
    """A nodule whose picture is wanted.

    Parameters
    ----------
    nodule_id, series_uid, patient_id : str
        Pseudonyms.
    volume_id, artefact : str
        Of the stored volume and of the masks.
    radius_mm : float
        Of the outlined surroundings before clipping, mm; 0 for none.
    side_px : int
        Longest side of each picture.
    """

    nodule_id: str
    series_uid: str
    patient_id: str
    volume_id: str
    artefact: str
    radius_mm: float
    side_px: int

    @property
    def key(self) -> str:
        """Name of the pictures: it tells them from those of another mask, radius or size."""
        return ledger.artefact_id(
            "picture",
            of=[self.series_uid, self.nodule_id, self.volume_id, self.artefact],
            radius_mm=self.radius_mm,
            side_px=self.side_px,
            version=VERSION,
        )

    @property
    def made_from(self) -> tuple[str, str]:
        """References of the records of the volume and of the masks."""
        return f"{self.patient_id}/volume-{self.volume_id}", f"{self.patient_id}/masks-{self.artefact}"


def shown_configuration(nodules: pd.DataFrame, scores: pd.DataFrame | None) -> tuple[str, float]:
    """Segmenter and radius, mm, of the pictures: those with the best inner AUC, or the first segmenter and 8 mm."""
    if scores is not None:
        fixed = scores[(scores["selection"] == "fixed") & (scores["dataset"] == scores["dataset"].iloc[0])]
        if fixed["inner_auc"].notna().any():
            best = fixed.iloc[int(fixed["inner_auc"].fillna(-1.0).to_numpy().argmax())]
            return str(best["segmenter"]), float(best["radius_mm"])
    return (str(nodules["segmenter"].iloc[0]) if len(nodules) else ""), 8.0


def sitters_of(nodules: pd.DataFrame, scores: pd.DataFrame | None, most: int = MOST_NODULES) -> list[Sitter]:
    """Nodules of a cohort's table to picture, those with an image, each nodule of a series once; the first ``most``."""
    segmenter, radius_mm = shown_configuration(nodules, scores)
    rows = nodules[(nodules["segmenter"] == segmenter) & (nodules["volume_id"] != "")]
    rows = rows.drop_duplicates(["series_uid", "nodule_id"]).head(most)
    side_px = SIDE_OF_FEW_PX if len(rows) <= FEW else SIDE_PX
    columns = ["nodule_id", "series_uid", "patient_id", "volume_id", "artefact"]
    return [
        Sitter(**{str(column): str(value) for column, value in row.items()}, radius_mm=radius_mm, side_px=side_px)
        for row in rows[columns].to_dict("records")
    ]


def draw_nodule(sitter: Sitter, workspace: str) -> Tile:
    """Draw a nodule in a worker, which loads what that takes; see :func:`lungpipe.report.tiles.nodule_tile`."""
    from lungpipe.report.tiles import nodule_tile

    return nodule_tile(sitter, workspace)


def drawn_before(place: Place) -> dict[str, Tile]:
    """Tiles of an earlier report by their sitters' keys, if their record stands."""
    for entry in ledger.records(place, ledger.COHORT, KIND):
        if ledger.stands(place, entry.ref) is not None:
            return {key: _tile(values) for key, values in json.loads(place.read(PATH)).items()}
    return {}


def keep(place: Place, sitters: Sequence[Sitter], tiles: Mapping[str, Tile]) -> str:
    """Write the tiles of a report, in the order of their sitters, in place of those of an earlier one.

    Returns
    -------
    ref : str
        Of their record.
    """
    entry = ledger.named(
        ledger.COHORT,
        KIND,
        subject={"page": "report/index.html"},
        made_from=sorted({ref for sitter in sitters for ref in sitter.made_from}),
        inputs={"pictures": [sitter.key for sitter in sitters if sitter.key in tiles]},
        versions={"pictures": VERSION},
    )
    if ledger.stands(place, entry.ref) is None:
        found = {sitter.key: _values(tiles[sitter.key]) for sitter in sitters if sitter.key in tiles}
        place.write(PATH, json.dumps(found).encode())
        ledger.replace_older(place, ledger.record(place, entry, [PATH]))
    return entry.ref


def _values(tile: Tile) -> dict[str, Any]:
    views = {
        name: {
            "picture": base64.b64encode(one.picture).decode(),
            "size": list(one.size),
            "outlines": dict(one.outlines),
        }
        for name, one in tile.views.items()
    }
    return {"nodule_id": tile.nodule_id, "series_uid": tile.series_uid, "views": views}


def _tile(values: Mapping[str, Any]) -> Tile:
    views = {
        name: Drawing(base64.b64decode(one["picture"]), tuple(one["size"]), one["outlines"])
        for name, one in values["views"].items()
    }
    return Tile(values["nodule_id"], views, values["series_uid"])
