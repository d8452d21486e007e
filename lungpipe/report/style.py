"""What all figures share: colours that the colour-blind can tell apart, and files that are the same each time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK, FAINT, GRID = "#22282e", "#6b7580", "#e3e7eb"
# Okabe and Ito (2008), "Color Universal Design"; its yellow is left out, too pale for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1)),
    (0, (8, 2)),
    (0, (2, 3)),
)
SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "lungpipe",
}


def styles(names: Sequence[str]) -> dict[str, Style]:
    """Give each name a colour, a marker and a dash pattern, any one of which tells it from the others.

    Parameters
    ----------
    names : sequence of str
        In the order of the legend; from the eighth on, styles come round again.

    Returns
    -------
    dict of str to Style
        In the order given.
    """
    count = len(PALETTE)
    return {
        name: Style(PALETTE[i % count], MARKERS[i % count], DASHES[(i + i // count) % count])
        for i, name in enumerate(names)
    }


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty white figure of that size, inches, laid out by constraints; call within `house_style`."""
    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def house_style() -> Any:
    """Return a context in which figures are drawn with the shared settings."""
    return mpl.rc_context(SETTINGS)


def svg(figure: Figure) -> str:
    """Render as SVG text with letters as outlines, the same bytes for the same figure."""
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure, dpi: int) -> bytes:
    """Render as PNG at that resolution, the same bytes for the same figure."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()


@dataclass(frozen=True, slots=True)
class Style:
    """How one line is drawn.

    Parameters
    ----------
    colour, marker : str
        As matplotlib takes them.
    dash : str or tuple
        Line style.
    """

    colour: str
    marker: str
    dash: Any
