"""The curation page's histograms as SVG with letters as text, coloured by the page's style sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In units of the view box.
PLOT_WIDTH, PLOT_HEIGHT, LEFT, TOP, BOTTOM, OVERFLOW, RIGHT = 300, 130, 52, 8, 22, 46, 14
MOST_BINS, LEAST_BINS, SPAN, TOLERANCE = 24, 8, 4.0, 1e-3
LEAST_BAR = 2.0


def histogram(accepted: NDArray[np.float64], quarantined: NDArray[np.float64], *, name: str, whole: bool) -> str:
    """Draw how many series have a value, the quarantined ones stacked on the accepted ones.

    A bar counts values from its left edge to below its right edge. Values above four times the 90th percentile share
    a last bar of their own, so that one odd series does not flatten the rest.

    Parameters
    ----------
    accepted, quarantined : NDArray of float
        Finite values, one a series; at least one in both together.
    name : str
        Quantity and unit, for those who cannot see the figure.
    whole : bool
        Whether values are whole numbers.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    bins = bin_values(accepted, quarantined, whole=whole)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    right = LEFT + PLOT_WIDTH - (OVERFLOW if any(bins.above) else 0)
    base, step_px = TOP + PLOT_HEIGHT, (right - LEFT) / (len(bins.edges) - 1)
    tallest = max(int((bins.accepted + bins.quarantined).max()), sum(bins.above))
    ticks_y = _ticks(0, tallest, 3, whole=True)
    scale = PLOT_HEIGHT / tallest
    parts = []
    for tick in ticks_y:
        y = base - tick * scale
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{LEFT + PLOT_WIDTH}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.0f}</text>')
    for i, (good, bad) in enumerate(zip(bins.accepted, bins.quarantined, strict=True)):
        span = f"{bins.edges[i]:,.4g} to {bins.edges[i + 1]:,.4g}"
        parts.append(_column(LEFT + i * step_px, step_px, int(good), int(bad), scale, span))
    clear = LEFT + PLOT_WIDTH + RIGHT
    if any(bins.above):
        label, x = f"\u2265 {high:,.4g}", right + 18.0
        parts.append(_column(x, OVERFLOW - 22, *bins.above, scale, label))
        parts.append(f'<text x="{LEFT + PLOT_WIDTH + RIGHT}" y="{base + 17}" text-anchor="end">{label}</text>')
        clear -= 8 * len(label)
    for tick in _ticks(low, high, 5, whole=whole):
        x, label = LEFT + (tick - low) / (high - low) * (right - LEFT), f"{tick:,.4g}"
        parts.append(f'<path class="axis" d="M{x:.1f} {base}v4"/>')
        if x + 4 * len(label) < clear:
            parts.append(f'<text x="{x:.1f}" y="{base + 17}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {base}H{right}"/>')
    both = np.concatenate([accepted, quarantined])
    words = (
        f"Histogram of {name}: {len(accepted):,} accepted and {len(quarantined):,} quarantined series, "
        f"{both.min():.4g} to {both.max():.4g}, median {np.median(both):.4g}."
    )
    return (
        f'<svg class="hist" viewBox="0 0 {LEFT + PLOT_WIDTH + RIGHT} {base + BOTTOM}" role="img" '
        f'aria-label="{escape(words)}">{"".join(parts)}</svg>'
    )


def bin_values(accepted: NDArray[np.float64], quarantined: NDArray[np.float64], *, whole: bool) -> Bins:
    """Count values in bins of a round width that start at a multiple of it.

    Parameters
    ----------
    accepted, quarantined : NDArray of float
        Finite values, at least one in both together.
    whole : bool
        Whether values are whole numbers; bins are then whole numbers wide.

    Returns
    -------
    Bins
        Every value is counted once, in a bin or above the last edge.
    """
    both = np.concatenate([accepted, quarantined])
    usual = float(np.percentile(both, 90))
    shown = both[both <= SPAN * usual] if usual > 0 else both
    low, high = float(shown.min()), float(shown.max())
    if 0 <= low < 0.4 * high:
        low = 0.0
    width = _round_step(max(high - low, 0.5 * abs(high), 1e-6) / MOST_BINS, whole=whole)

    def place(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.floor(values / width + TOLERANCE)  # 1.2499999 belongs to the bin that starts at 1.25

    first, last = (float(place(np.array([value]))[0]) for value in (low, high))
    if last - first < LEAST_BINS:
        first, last = max(first - LEAST_BINS // 2, min(first, 0.0)), last + LEAST_BINS // 2
    edges = np.arange(first, last + 2) * width
    inside, above = [], []
    for values in (accepted, quarantined):
        index = place(values) - first
        beyond = index >= len(edges) - 1
        inside.append(np.bincount(index[~beyond].astype(np.int64), minlength=len(edges) - 1))
        above.append(int(beyond.sum()))
    return Bins(edges, inside[0], inside[1], (above[0], above[1]))


def _column(x: float, step_px: float, good: int, bad: int, scale: float, span: str) -> str:
    """Return one stacked bar; a part that is not empty stays visible."""
    if not good + bad:
        return ""
    heights = [max(count * scale, LEAST_BAR) if count else 0.0 for count in (good, bad)]
    y = float(TOP + PLOT_HEIGHT)
    bar = f"<g><title>{escape(span)}: {good:,} accepted, {bad:,} quarantined</title>"
    for kind, height in zip(("good", "bad"), heights, strict=True):
        y -= height
        if height:
            bar += (
                f'<rect class="{kind}" x="{x + 0.5:.2f}" y="{y:.2f}" width="{step_px - 1:.2f}" height="{height:.2f}"/>'
            )
    return bar + "</g>"


def _ticks(low: float, high: float, about: int, *, whole: bool) -> list[float]:
    step = _round_step((high - low) / about, whole=whole)
    return [i * step for i in range(math.ceil(low / step - TOLERANCE), math.floor(high / step + TOLERANCE) + 1)]


def _round_step(least: float, *, whole: bool) -> float:
    """Return the smallest of 1, 2, 2.5, 5, 10 ... times a power of ten that is not below ``least``."""
    least = max(least, 1.0) if whole else least
    power = 10.0 ** math.floor(math.log10(least) + 1e-9)
    steps = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    return next(step * power for step in steps if step * power >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Values counted in bins.

    Parameters
    ----------
    edges : NDArray of float, shape (bins + 1,)
        In the unit of the values.
    accepted, quarantined : NDArray of int, shape (bins,)
        Series a bin.
    above : (int, int)
        Accepted and quarantined series at or above the last edge.
    """

    edges: NDArray[np.float64]
    accepted: NDArray[np.int64]
    quarantined: NDArray[np.int64]
    above: tuple[int, int]
