"""Slices of a nodule as they stand on a page: a compressed picture, and outlines as vectors over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from lungpipe.report.html import data_uri

SCALE_BAR_MM = 10.0
#: On grey-level images the darker colours of the charts vanish: these are the lighter of the same palette.
OUTLINES = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73")
#: Units of a drawing a millimetre; its numbers are whole.
UNITS_PER_MM = 10


@dataclass(frozen=True, slots=True)
class Drawing:
    """A slice with its outlines, drawn.

    Parameters
    ----------
    picture : bytes
        A WebP file.
    size : (int, int)
        Width and height, tenths of a millimetre.
    outlines : mapping of str to str
        Paths of an SVG in the same unit, by the name in the legend; an empty mask has an empty one.
    """

    picture: bytes
    size: tuple[int, int]
    outlines: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tile:
    """The pictures of one nodule.

    Parameters
    ----------
    nodule_id : str
        Pseudonym.
    views : mapping of str to Drawing
        By name: ``"axial"``, which the contact sheet shows, ``"coronal"`` and ``"sagittal"``.
    series_uid : str
        Pseudonym; a nodule may be on several series.
    """

    nodule_id: str
    views: Mapping[str, Drawing] = field(default_factory=dict)
    series_uid: str = ""


def drawing_svg(drawing: Drawing, said: str, name: str = "") -> str:
    """Put a drawing, with a bar of 10 mm, on a page.

    Parameters
    ----------
    drawing : Drawing
    said : str
        In words.
    name : str
        Of the drawing, by which it can be shown again (``<use href="#name">``); none by default.

    Returns
    -------
    str
        An ``<svg>`` element, a millimetre as long on both axes. Outlines have the classes ``o0``, ``o1`` ... in the order given.
    """
    width, height = drawing.size
    lines = [f'<path class="o{i}" d="{path}"/>' for i, path in enumerate(drawing.outlines.values()) if path]
    bar = f'<path class="bar" d="M{width // 20} {height - height // 16}h{SCALE_BAR_MM * UNITS_PER_MM:g}"/>'
    picture = data_uri("image/webp", drawing.picture)
    identity = f' id="{name}"' if name else ""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}"><g{identity}>'
        f'<image href="{picture}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f"{''.join(reversed(lines))}{bar}</g></svg>"
    )
