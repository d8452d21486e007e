"""The contact sheet: one slice a nodule at lung window, with the outlines of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.report.style import FAINT, Style, house_style, new_figure, png, styles

WINDOW_CENTRE_HU, WINDOW_WIDTH_HU = -600.0, 1500.0
SCALE_BAR_MM = 10.0
MAX_TILES = 48
FEW = 4
SIDE_IN, SIDE_OF_FEW_IN = 1.5, 2.4
TITLE_POINTS, TITLE_LETTERS = 7.4, 27  # size of a tile's title, and how many letters fit at it
# On grey-level images the darker colours of the charts vanish: these are the lighter of the same palette.
OUTLINES = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73")


def contact_sheet(tiles: Sequence[Tile], *, simulated: bool = False, columns: int = 8, dpi: int = 120) -> bytes:
    """Draw nodules at lung window (centre -600, width 1500 HU) with outlines, scale bars and titles.

    Every tile keeps the aspect of its spacing, and shows the full width of its array.

    Parameters
    ----------
    tiles : sequence of Tile
        At most 48 are drawn, the first ones.
    simulated : bool
        Says "simulated intensities" on the sheet.
    columns : int
        Tiles in a row.
    dpi : int
        Resolution; a tile is 1.5 inches wide, 2.4 where there are four or fewer.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    DatasetError
        If there are no tiles.
    GeometryError
        If an outline's grid is not its image's, an image is not 2D, or a spacing is not positive.
    """
    if not tiles:
        raise DatasetError("A contact sheet needs at least one nodule.")
    shown = list(tiles[:MAX_TILES])
    for tile in shown:
        _check(tile)
    columns = min(columns, len(shown))
    side_in = SIDE_IN if len(shown) > FEW else SIDE_OF_FEW_IN
    rows = -(-len(shown) // columns)
    names = list(dict.fromkeys(name for tile in shown for name in tile.outlines))
    look = {
        name: Style(OUTLINES[i % len(OUTLINES)], style.marker, "-" if i == 0 else (0, (3, 1.4)))
        for i, (name, style) in enumerate(styles(names).items())
    }
    lines = 1 + max(tile.title.count("\n") + bool(tile.note) for tile in shown)
    with house_style():
        legend_rows = -(-(len(names) + 2) // columns)
        figure = new_figure(side_in * columns, (side_in + 0.14 * lines) * rows + 0.2 + 0.18 * legend_rows)
        for position, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            axes.set_axis_off()
            if position < len(shown):
                _draw(axes, shown[position], look)
        handles = [Line2D([], [], color=style.colour, linestyle=style.dash, label=name) for name, style in look.items()]
        handles.append(Line2D([], [], color=FAINT, linewidth=3, label=f"{SCALE_BAR_MM:g} mm"))
        title = "Simulated intensities" if simulated else None
        handles = handles if title is None else [*handles, Line2D([], [], linestyle="none", label=title)]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(columns, len(handles)), fontsize=8)
        return png(figure, dpi)


def lung_window(hu: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map HU to grey levels from 0 (at -1350 HU and below) to 1 (at 150 HU and above).

    Parameters
    ----------
    hu : NDArray of float
        CT numbers.

    Returns
    -------
    NDArray of float
        Of the same shape.
    """
    lowest = WINDOW_CENTRE_HU - WINDOW_WIDTH_HU / 2
    return np.clip((np.asarray(hu, dtype=np.float64) - lowest) / WINDOW_WIDTH_HU, 0, 1)


def _check(tile: Tile) -> None:
    if tile.hu.ndim != 2:
        raise GeometryError(f"A tile shows a 2D slice; {tile.title} has shape {tile.hu.shape}.")
    if min(tile.spacing_mm) <= 0:
        raise GeometryError(f"Spacing must be positive; {tile.title} has {tile.spacing_mm} mm.")
    for name, mask in tile.outlines.items():
        if mask.shape != tile.hu.shape:
            raise GeometryError(f"Outline {name} of {tile.title} has shape {mask.shape}, its image {tile.hu.shape}.")


def _draw(axes: Axes, tile: Tile, look: Mapping[str, Style]) -> None:
    height, width = tile.hu.shape
    dy, dx = tile.spacing_mm
    extent = (0.0, width * dx, height * dy, 0.0)
    axes.imshow(lung_window(tile.hu), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    # A border of zeros closes the outline of a mask that runs to the edge of the tile.
    x, y = (np.arange(-1, width + 1) + 0.5) * dx, (np.arange(-1, height + 1) + 0.5) * dy
    for name, mask in tile.outlines.items():
        if mask.any():
            style, padded = look[name], np.pad(mask.astype(float), 1)
            axes.contour(x, y, padded, levels=[0.5], colors=[style.colour], linewidths=1.0, linestyles=[style.dash])
    axes.set(xlim=extent[:2], ylim=extent[2:])
    left, base = 0.05 * width * dx, 0.94 * height * dy
    axes.plot([left, left + SCALE_BAR_MM], [base, base], color="white", linewidth=2.2, solid_capstyle="butt")
    title = tile.title + (f"\n{tile.note}" if tile.note else "")
    points = TITLE_POINTS * min(1.0, TITLE_LETTERS / max(len(line) for line in title.split("\n")))
    axes.set_title(title, fontsize=points, pad=2.5, linespacing=1.15)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One nodule on the contact sheet.

    Parameters
    ----------
    title : str
        Pseudonym, label and prediction; may have lines.
    hu : NDArray of float, shape (y, x)
        A slice in HU.
    spacing_mm : (float, float)
        Along y and x.
    outlines : mapping of str to NDArray of bool, shape (y, x)
        What to outline, by the name in the legend.
    note : str
        A further line under the title.
    """

    title: str
    hu: NDArray[np.floating]
    spacing_mm: tuple[float, float]
    outlines: Mapping[str, NDArray[np.bool_]]
    note: str = ""
