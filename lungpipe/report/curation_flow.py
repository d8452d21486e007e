"""The cohort's flow diagram as SVG with letters as text, coloured by the page's style sheet."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from lungpipe.report.curation_counts import total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.report.curation_counts import Flow

# In units of the view box.
MAIN_X, MAIN_WIDTH, SIDE_X, SIDE_WIDTH, WIDTH = 2, 380, 448, 550, 1000
PAD, HEAD, LINE, GAP = 14, 22, 19, 26
ONE_COLUMN, MOST_KINDS, LETTERS = 8, 12, (40, 24)  # letters of a name, in one column and in two


def flow_diagram(flow: Flow) -> str:
    """Draw the way from the archive to the cohort, what was left out at each step beside it.

    The form is that of CONSORT and STARD diagrams: the boxes on the left go on, those on the right are left out, and
    the last row is the cohort. Every series is counted once, by its deciding code.

    Parameters
    ----------
    flow : Flow
        The counts.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    steps = _steps(flow)
    parts, y, before = [], 1.0, 0.0
    for number, (kept, aside) in enumerate(steps):
        height = max(kept.height, sum(box.height + GAP / 2 for box in aside) - GAP / 2)
        if number:
            parts.append(_arrow(f"M{MAIN_X + 60} {before}V{y - 1}"))
        parts.append(_box(kept, MAIN_X, y, MAIN_WIDTH))
        at = y
        for box in aside:
            parts.append(_arrow(_branch(y, at, last=number == len(steps) - 1)))
            parts.append(_box(box, SIDE_X, at, SIDE_WIDTH))
            at += box.height + GAP / 2
        before, y = y + kept.height, y + height + GAP
    height = y - GAP + 1
    return (
        f'<svg class="flow" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(describe(flow))}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>{"".join(parts)}</svg>'
    )


def describe(flow: Flow) -> str:
    """Say in words what the flow diagram shows."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return f" ({', '.join(f'{name} {n:,}' for name, n in counts)})" if counts else ""

    return (
        f"Flow diagram. {_found(flow)}. Passed over, not images: {total(flow.others):,}{listed(flow.others)}. "
        f"Files left out: {total(flow.unreadable):,}{listed(flow.unreadable)}. Series: {flow.series:,}. "
        f"Quarantined: {total(flow.quarantined):,}{listed(flow.quarantined)}. "
        f"Accepted with a warning: {total(flow.warned):,}{listed(flow.warned)}. "
        f"Accepted without a warning: {flow.accepted:,}."
    )


def _steps(flow: Flow) -> list[tuple[_Box, list[_Box]]]:
    """Return each row of the diagram: what goes on, and what stands beside it."""
    split = f"{flow.n_uids:,} before mixed series were split" if flow.n_uids != flow.series else ""
    left_out = [
        _Box("aside", f"Passed over, not images: {total(flow.others):,}", flow.others),
        _Box("aside", f"Files left out: {total(flow.unreadable):,}", flow.unreadable),
    ]
    bad = total(flow.quarantined)
    quarantined = _Box("bad", f"Quarantined: {bad:,} series{_of(flow.quarantined_patients, bad)}", flow.quarantined)
    warned = total(flow.warned)
    return [
        (_Box("kept", _found(flow)), left_out),
        (
            _Box(
                "kept",
                f"{flow.series:,} series{_of(flow.patients, flow.series)}",
                notes=tuple(note for note in (f"{flow.n_slices:,} {_noun(flow.n_slices, 'slice')}", split) if note),
            ),
            [quarantined],
        ),
        (
            _Box("good", f"Accepted: {flow.accepted:,} series", notes=_patients(flow.accepted_patients, flow.accepted)),
            [_Box("warned", f"With a warning: {warned:,} series{_of(flow.warned_patients, warned)}", flow.warned)],
        ),
    ]


def _found(flow: Flow) -> str:
    if flow.n_files is not None:
        return f"{flow.n_files:,} {_noun(flow.n_files, 'file')} found"
    return "Archive, files not counted"


def _of(patients: int, series: int) -> str:
    return f" from {patients:,} {_noun(patients, 'patient')}" if series else ""


def _patients(patients: int, series: int) -> tuple[str, ...]:
    return (f"without a warning{_of(patients, series)}",)


def _noun(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


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


def _arrow(path: str) -> str:
    return f'<path class="arrow" marker-end="url(#tip)" d="{path}"/>'


def _box(box: _Box, x: float, y: float, width: float) -> str:
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
class _Box:
    """A box of the flow diagram: a title, notes, and counts by name."""

    kind: str
    title: str
    counts: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        most = MOST_KINDS if self.kind == "aside" else len(self.counts)
        rest = self.counts[most:]
        return (*self.counts[:most], (f"{len(rest):,} other kinds", total(rest))) if rest else self.counts

    @property
    def columns(self) -> int:
        return 1 if self.kind == "aside" or len(self.lines) <= ONE_COLUMN else 2

    @property
    def rows(self) -> int:
        return -(-len(self.lines) // self.columns)

    @property
    def height(self) -> float:
        return 2 * PAD + HEAD + LINE * (len(self.notes) + self.rows) - (0 if self.rows or self.notes else 6)
