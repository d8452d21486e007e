"""From the archive to the report in one picture: how many artefacts each stage made, found standing, or could not make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import pandas as pd

# In units of the view box.
WIDTH, THIRD, GAP, HEIGHT, BELOW, BETWEEN = 1000, 300, 50, 68, 36, 12
LEFT, BOX, MIDDLE, RIGHT, LUNG, EDGE = 30, 410, 505, 560, 340, 988
#: Title of each kind, and what its made, reused and failed ones are called.
KINDS: Mapping[str, tuple[str, str, str, str]] = {
    "archive": ("Archive", "files", "", "left out"),
    "series": ("Series", "accepted", "", "quarantined"),
    "volume": ("Volumes", "made", "reused", "failed"),
    "annotations": ("Annotations", "made", "reused", "failed"),
    "lung": ("Lungs", "made", "reused", "failed"),
    "masks": ("Masks", "made", "reused", "failed"),
    "features": ("Features", "made", "reused", "failed"),
    "configuration": ("Configurations", "made", "reused", "failed"),
    "scores": ("Scores", "made", "reused", "failed"),
    "report": ("Report", "made", "reused", "failed"),
}
_STYLE = """
svg.lineage { display: block; width: 100%; height: auto; font-family: inherit; }
svg.lineage text { fill: var(--ink); font-size: 14px; font-variant-numeric: tabular-nums; }
svg.lineage .head { font-weight: 600; font-size: 15.5px; }
svg.lineage .bad { font-weight: 600; }
svg.lineage .box { fill: var(--card); stroke: var(--line); stroke-width: 1.2; }
svg.lineage .line { fill: none; stroke: var(--soft); stroke-width: 1.4; }
svg.lineage .tip { fill: var(--soft); }
svg.lineage .rest { fill: var(--line); }
svg.lineage .made, .lineage-key .made { fill: var(--accent); background: var(--accent); }
svg.lineage .reused, .lineage-key .reused { fill: var(--range); background: var(--range); }
svg.lineage .failed, .lineage-key .failed { fill: var(--warn-line); background: var(--warn-line); }
.lineage-key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 5px 0 10px; vertical-align: -1px; }
.lineage-key i:first-child { margin-left: 0; }
@media (max-width: 760px) { .wide svg.lineage { min-width: 720px; } }
@media print {
  svg.lineage rect, .lineage-key i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


@dataclass(frozen=True, slots=True)
class StageCount:
    """What one stage of a run came to.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    made : int
        Artefacts made in this run; of the archive its files, of the series those accepted.
    reused : int
        Artefacts found standing.
    failed : int
        What could not be made, or was left out.
    versions : mapping
        Version of each stage and plug-in behind it.
    segmenter : str
        Whose masks or features they are.
    """

    kind: str
    made: int
    reused: int = 0
    failed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    segmenter: str = ""

    @property
    def title(self) -> str:
        """Title of its box."""
        return f"{KINDS[self.kind][0]} by {self.segmenter}" if self.segmenter else KINDS[self.kind][0]

    @property
    def parts(self) -> tuple[tuple[str, int, str], ...]:
        """Class, number and name of its made, reused and failed ones; those that the kind does not have are missing."""
        numbers = zip(
            ("made", "reused", "failed"), (self.made, self.reused, self.failed), KINDS[self.kind][1:], strict=True
        )
        return tuple((style, number, name) for style, number, name in numbers if name)

    @property
    def said(self) -> str:
        """The counts in words, with the versions."""
        counts = ", ".join(f"{number:,} {name}" for _, number, name in self.parts)
        versions = ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))
        return f"{self.title}: {counts}" + (f". Versions: {versions}" if versions else "")


def lineage_section(counts: Sequence[StageCount]) -> str:
    """Draw the way of the data through a run, with a table of the same counts beneath.

    Parameters
    ----------
    counts : sequence of StageCount
        Stages that did not take place are missing. One for each segmenter of masks and of features.

    Returns
    -------
    str
        HTML for a page that has the common style sheet; it loads nothing.
    """
    key = "".join(f'<i class="{style}"></i>{text}' for style, text in _KEY)
    return (
        f'<figure class="wide">{lineage_graph(counts)}'
        f'<figcaption class="lineage-key">{key}. An arrow leads from what was read to what was made of it; arrows that '
        "others already imply, such as from the volumes to the masks, are left out. Versions show when the pointer rests on "
        f"a box.</figcaption></figure>{lineage_table(counts)}"
    )


_KEY = (("made", "made in this run"), ("reused", "found standing"), ("failed", "failed or left out"))


def lineage_table(counts: Sequence[StageCount]) -> str:
    """Tabulate the counts; parameters as :func:`lineage_section`."""
    head = ("Stage", "Made", "Reused", "Failed", "Versions")
    cells = "".join(f"<th{_right(i)}>{name}</th>" for i, name in enumerate(head))
    rows = []
    for one in counts:
        numbers = [f"{one.made:,}", f"{one.reused:,}" if KINDS[one.kind][2] else "", f"{one.failed:,}"]
        versions = ", ".join(f"{name} {version}" for name, version in sorted(one.versions.items()))
        row = (one.title, *numbers, versions)
        rows.append("<tr>" + "".join(f"<td{_right(i)}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>")
    return f'<div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def stage_table(counts: Sequence[StageCount]) -> pd.DataFrame:
    """Lay out the same counts as a table to download; parameters as :func:`lineage_section`."""
    rows = [(one.kind, one.segmenter, one.made, one.reused, one.failed) for one in counts]
    return pd.DataFrame(rows, columns=["stage", "segmenter", "made", "reused", "failed"])


def _right(column: int) -> str:
    return ' class="n"' if 1 <= column <= 3 else ""


def lineage_graph(counts: Sequence[StageCount]) -> str:
    """Draw the boxes and arrows as one ``<svg>`` element; parameters as :func:`lineage_section`."""
    of = {kind: [one for one in counts if one.kind == kind] for kind in KINDS}
    first = [one for kind in ("archive", "series", "volume") for one in of[kind]]
    last = [one for kind in ("configuration", "scores", "report") for one in of[kind]]
    parts: list[str] = []
    y = _row(parts, 1.0, first)
    down = (len(first) - 1) * (THIRD + GAP) + THIRD / 2  # where the line from the first row goes down
    if of["annotations"] or of["lung"] or of["masks"]:
        y = _scans(parts, y, down, of, onward=bool(last))
    elif first and last:
        parts.append(_arrow(f"M{down:g} {y - BELOW:g}v{BELOW / 2:g}H{THIRD / 2:g}V{y - 1:g}"))
    if last:
        y = _row(parts, y, last)
    said = escape(". ".join(one.said for one in counts))
    return (
        f'<svg class="lineage" viewBox="-1 0 {WIDTH + 2} {y - BELOW + 1:g}" role="img" '
        'aria-labelledby="lineage-title lineage-desc">'
        f'<title id="lineage-title">Lineage of this run</title><desc id="lineage-desc">{said}.</desc>'
        f"<style>{_STYLE}</style>"
        '<defs><marker id="lineage-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>{"".join(parts)}</svg>'
    )


def _row(parts: list[str], y: float, boxes: Sequence[StageCount]) -> float:
    """Boxes from left to right, each made from the one before; returns where the next row begins."""
    for i, one in enumerate(boxes):
        x = i * (THIRD + GAP)
        parts.append(_box(one, x, y, THIRD))
        if i:
            parts.append(_arrow(f"M{x - GAP} {y + HEIGHT / 2:g}H{x - 1}"))
    return y + HEIGHT + BELOW


def _scans(parts: list[str], y: float, down: float, of: Mapping[str, list[StageCount]], *, onward: bool) -> float:
    """What is made of each scan: annotations and lungs, then masks beside features, a line for each segmenter."""
    tops = [("annotations", LEFT, BOX), ("lung", MIDDLE - 25, LUNG)]
    shown = [(one, x, width) for kind, x, width in tops for one in of[kind]]
    for one, x, width in shown:
        parts.append(_box(one, x, y, width))
        parts.append(_arrow(f"M{down:g} {y - BELOW:g}v{BELOW / 2:g}H{x + width / 2:g}V{y - 1:g}"))
    bottom = y + HEIGHT if shown else y - BELOW
    middles = [bottom + BELOW + HEIGHT / 2 + i * (HEIGHT + BETWEEN) for i in range(len(of["masks"]))]
    if not middles:
        return bottom + BELOW
    features = {one.segmenter: one for one in of["features"]}
    lungs = [middle for one, middle in zip(of["masks"], middles, strict=True) if one.segmenter in features]
    if of["annotations"]:
        parts.append(_line(f"M{LEFT} {y + HEIGHT / 2:g}H12V{middles[-1]:g}"))
    if of["lung"] and lungs:
        parts.append(_line(f"M{MIDDLE} {bottom:g}V{lungs[-1]:g}"))
    for mask, middle in zip(of["masks"], middles, strict=True):
        parts.append(_box(mask, LEFT, middle - HEIGHT / 2, BOX))
        if of["annotations"]:
            parts.append(_arrow(f"M12 {middle:g}H{LEFT - 1}"))
        right = LEFT + BOX
        if mask.segmenter in features:
            parts.append(_arrow(f"M{right} {middle:g}H{RIGHT - 1}"))
            parts.append(_box(features[mask.segmenter], RIGHT, middle - HEIGHT / 2, BOX))
            right = RIGHT + BOX
        if onward:
            parts.append(_line(f"M{right} {middle:g}H{EDGE}"))
    end = middles[-1] + HEIGHT / 2 + BELOW
    if onward:
        parts.append(_arrow(f"M{EDGE} {middles[0]:g}V{end - BELOW / 2:g}H{THIRD / 2:g}V{end - 1:g}"))
    return end


def _line(path: str) -> str:
    return f'<path class="line" d="{path}"/>'


def _arrow(path: str) -> str:
    return f'<path class="line" marker-end="url(#lineage-tip)" d="{path}"/>'


def _box(one: StageCount, x: float, y: float, width: float) -> str:
    spans = []
    for i, (style, number, name) in enumerate(one.parts):
        bold = ' class="bad"' if style == "failed" and number else ""
        spans.append(f"{', ' if i else ''}<tspan{bold}>{number:,} {escape(name)}</tspan>")
    return (
        f'<g><title>{escape(one.said)}</title><rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="6"/>'
        f'<text class="head" x="{x + 16:g}" y="{y + 25:g}">{escape(one.title)}</text>'
        f'<text x="{x + 16:g}" y="{y + 45:g}">{"".join(spans)}</text>{_bar(one, x + 16, y + 54, width - 32)}</g>'
    )


def _bar(one: StageCount, x: float, y: float, width: float) -> str:
    """The counts as parts of a thin bar."""
    total = one.made + one.reused + one.failed
    bars = [f'<rect class="rest" x="{x:g}" y="{y:g}" width="{width:g}" height="5" rx="2"/>']
    for style, number in (("made", one.made), ("reused", one.reused), ("failed", one.failed)):
        if number:
            long = width * number / total
            bars.append(f'<rect class="{style}" x="{x:.1f}" y="{y:g}" width="{long:.1f}" height="5"/>')
            x += long
    return "".join(bars)
