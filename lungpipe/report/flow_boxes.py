"""A flow diagram as SVG with letters as text, coloured by the page's style sheet: boxes that go on, and what left beside them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# In units of the view box.
MAIN_X, MAIN_WIDTH, SIDE_X, SIDE_WIDTH, WIDTH = 2, 380, 448, 550, 1000
PAD, HEAD, LINE, GAP = 14, 22, 19, 26
ONE_COLUMN, MOST_KINDS, LETTERS = 8, 12, (40, 24)  # letters of a name, in one column and in two


def draw_flow(
    steps: Sequence[tuple[Box, Sequence[Box]]], said: str, *, last_goes_on: bool = False, number: int = 0
) -> str:
    """Draw boxes from top to bottom, each with what stands beside it.

    The form is that of CONSORT and STARD diagrams: the boxes on the left go on, those on the right are left out.

    Parameters
    ----------
    steps : sequence of (Box, sequence of Box)
        A row each: what goes on, and what leaves there.
    said : str
        The diagram in words.
    last_goes_on : bool
        The boxes beside the last row are part of the cohort too: an arrow from above leads to them.
    number : int
        Of the diagram on its page.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    parts, y, before, tip = [], 1.0, 0.0, f"tip{number or ''}"
    for row, (kept, aside) in enumerate(steps):
        height = max(kept.height, sum(box.height + GAP / 2 for box in aside) - GAP / 2)
        if row:
            parts.append(_arrow(f"M{MAIN_X + 60} {before}V{y - 1}", tip))
        parts.append(_draw(kept, MAIN_X, y, MAIN_WIDTH))
        at = y
        for box in aside:
            parts.append(_arrow(_branch(y, at, last=last_goes_on and row == len(steps) - 1), tip))
            parts.append(_draw(box, SIDE_X, at, SIDE_WIDTH))
            at += box.height + GAP / 2
        before, y = y + kept.height, y + height + GAP
    height = y - GAP + 1
    return (
        f'<svg class="flow" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(said)}">'
        f'<defs><marker id="{tip}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>{"".join(parts)}</svg>'
    )


def total(counts: Sequence[tuple[str, int]]) -> int:
    """Sum counts by name."""
    return sum(n for _, n in counts)


def noun(count: int, name: str) -> str:
    """Put a noun in the plural where there is not one of it; series stay series."""
    return name if count == 1 or name == "series" else f"{name}s"


def _branch(y: float, at: float, *, last: bool) -> str:
    """Return the path to a box on the right: from the box on its left, or from the line that leads to both."""
    middle = at + PAD + HEAD / 2
    if last:
        turn = y - GAP / 2
        return f"M{MAIN_X + 60} {turn}H{SIDE_X + 60}V{at - 1}"
    if at == y:
        return f"M{MAIN_X + MAIN_WIDTH} {middle}H{SIDE_X - 1}"
    start = MAIN_X + MAIN_WIDTH + (SIDE_X - MAIN_X - MAIN_WIDTH) / 2
    return f"M{start} {y + PAD + HEAD / 2}V{middle}H{SIDE_X - 1}"


def _arrow(path: str, tip: str) -> str:
    return f'<path class="arrow" marker-end="url(#{tip})" d="{path}"/>'


def _draw(box: Box, x: float, y: float, width: float) -> str:
    parts = [
        f'<rect class="{box.kind}" x="{x}" y="{y}" width="{width}" height="{box.height}" rx="6"/>',
        f'<rect class="edge {box.kind}" x="{x}" y="{y}" width="5" height="{box.height}" rx="2"/>',
        f'<text class="head" x="{x + PAD + 4}" y="{y + PAD + 14}">{escape(box.title)}</text>',
    ]
    for i, note in enumerate(box.notes):
        parts.append(f'<text x="{x + PAD + 4}" y="{y + PAD + HEAD + 14 + i * LINE}">{escape(note)}</text>')
    digits_px = 9 * max((len(f"{count:,}") for _, count in box.lines), default=0)
    for i, (name, count) in enumerate(box.lines):
        right = x + PAD + 4 + digits_px + (i // box.rows) * (width - PAD) / box.columns
        line_y = y + PAD + HEAD + 14 + (len(box.notes) + i % box.rows) * LINE
        parts.append(f'<text x="{right:g}" y="{line_y}" text-anchor="end" class="count">{count:,}</text>')
        parts.append(f'<text x="{right + 10:g}" y="{line_y}">{escape(_short(name, LETTERS[box.columns - 1]))}</text>')
    return "".join(parts)


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}\u2026"


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a flow diagram.

    Parameters
    ----------
    kind : {"kept", "good", "aside", "bad", "warned"}
        Colour of its edge; of ``"aside"`` no more than a dozen names are shown.
    title : str
    counts : tuple of (str, int)
        Counts by name, a line each.
    notes : tuple of str
        Lines above the counts.
    """

    kind: str
    title: str
    counts: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """Counts that are shown; the rest is one line."""
        most = MOST_KINDS if self.kind == "aside" else len(self.counts)
        rest = self.counts[most:]
        return (*self.counts[:most], (f"{len(rest):,} other kinds", total(rest))) if rest else self.counts

    @property
    def columns(self) -> int:
        """Columns of counts."""
        return 1 if self.kind == "aside" or len(self.lines) <= ONE_COLUMN else 2

    @property
    def rows(self) -> int:
        """Rows of counts."""
        return -(-len(self.lines) // self.columns)

    @property
    def height(self) -> float:
        """Height in units of the view box."""
        return 2 * PAD + HEAD + LINE * (len(self.notes) + self.rows) - (0 if self.rows or self.notes else 6)
