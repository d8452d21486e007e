"""The contact sheet and the page of each nodule, with as many pictures as a page of a few megabytes can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from lungpipe.report import MOST_NODULES
from lungpipe.report.drawing import OUTLINES, drawing_svg
from lungpipe.report.html import csv_uri
from lungpipe.report.nodule_cards import LABELS, NO_LABEL, card_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.report.drawing import Tile
    from lungpipe.report.nodule_cards import Key

#: Pictures share this; 1,000 nodules need about half of it.
PICTURE_BYTES = 8_000_000
VIEWS = ("axial", "coronal", "sagittal")


def nodules_section(
    cards: Sequence[dict[str, Any]],
    tiles: Sequence[Tile],
    lineage: Mapping[Key, Sequence[tuple[str, str]]],
    *,
    picture_bytes: int = PICTURE_BYTES,
) -> dict[str, Any] | None:
    """Put pictures, lineage and what is searched to the cards.

    Parameters
    ----------
    cards : sequence of dict
        As :func:`lungpipe.report.nodule_cards.nodule_cards` gives them.
    tiles : sequence of Tile
        Pictures, of some nodules or of all.
    lineage : mapping
        Names and references of what each nodule's rows were made from.
    picture_bytes : int
        The pictures are together no larger.

    Returns
    -------
    dict or None
        None without a nodule.
    """
    if not cards:
        return None
    shown = cards[:MOST_NODULES]
    pictures, spent = {(tile.series_uid, tile.nodule_id): tile for tile in tiles}, 0
    entries, names = [], {card["key"]: card["name"] for card in shown}
    by_nodule = {card["nodule_id"]: card["name"] for card in reversed(shown)}
    for number, card in enumerate(shown):
        tile = pictures.get(card["key"])
        views = _views(tile, card["name"]) if tile is not None else {}
        size = sum(map(len, views.values()))
        views = views if spent + size <= picture_bytes else {}
        spent += size if views else 0
        near = [
            {**entry, "nodules": [{**one, "name": by_nodule.get(one["nodule_id"], "")} for one in entry["nodules"]]}
            for entry in card["near"]
        ]
        entries.append(
            {
                **card,
                "views": views,
                "size": tile.views["axial"].size if views and tile is not None else None,
                "near": near,
                "lineage": lineage.get(card["key"], ()),
                "found_by": _found_by(card),
                "before": shown[number - 1]["name"],
                "after": shown[(number + 1) % len(shown)]["name"],
            }
        )
    outlines = list(dict.fromkeys(name for tile in tiles for view in tile.views.values() for name in view.outlines))
    return {
        "nodules": entries,
        "shown": len(entries),
        "of": len(cards),
        "pictured": sum(bool(entry["views"]) for entry in entries),
        "legend": [(f"o{i}", name) for i, name in enumerate(outlines)],
        "colours": OUTLINES,
        "csv": csv_uri(card_table(cards)),
        "classes": [
            name for name in (*LABELS.values(), NO_LABEL, "left out") if any(c["label"] == name for c in shown)
        ],
        "predicted": any(card["p"] is not None for card in shown),
        "compared": len(names),
    }


def _views(tile: Tile, name: str) -> dict[str, Markup]:
    said = {view: f"{view.capitalize()} slice of nodule {tile.nodule_id}" for view in VIEWS}
    return {
        view: Markup(drawing_svg(tile.views[view], said[view], f"axial-{name}" if view == "axial" else ""))
        for view in VIEWS
        if view in tile.views
    }


def _found_by(card: dict[str, Any]) -> str:
    """Words that the search finds and the tile does not show."""
    words = [card["patient_id"], card["series_uid"], card["size_class"], card["verdict"], *card["datasets"]]
    return " ".join(word for word in words if word)
