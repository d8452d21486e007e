"""The page of a corruption ladder: Dice, AUC, uncertainty and distance against severity, a panel a corruption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from lungpipe.corrupt import CORRUPTIONS, SEVERITIES
from lungpipe.corrupt.summary import WHOLE, with_start
from lungpipe.errors import DatasetError
from lungpipe.report.html import csv_uri, environment
from lungpipe.report.style import FAINT, GRID, house_style, new_figure, styles, svg

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pandas as pd
    from matplotlib.axes import Axes

    from lungpipe.report.style import Style

#: Curves that a page shows, where the table has them: column, name for people.
CURVES = {
    "dice": "Dice",
    "auc": "AUC",
    "unsure_mm3": "Unsure volume (mm3: entropy in bits, summed)",
    "entropy_bits": "Entropy (bits a voxel of the nodule)",
    "mutual_information_bits": "Mutual information (bits a voxel of the nodule)",
    "mahalanobis": "Mahalanobis distance",
    "prototype_distance": "Distance from the nearest prototype (SD)",
}
#: Figures whose axis is 0 to 1.
SHARES = ("dice", "auc")
#: Nodules of a band's quartiles.
QUARTILES = (0.25, 0.75)


def ladder_curves(table: pd.DataFrame, measure: str, *, simulated: bool, auc: pd.DataFrame | None = None) -> str:
    """Draw a figure against severity, a panel a corruption, with the values of the severities below.

    Parameters
    ----------
    table : DataFrame
        Rows of the ladder (:mod:`lungpipe.corrupt.summary`).
    measure : str
        One of :data:`CURVES`. The line is the mean over nodules, the band holds the middle half of them; of ``auc`` it is the
        AUC and its 95 % interval.
    simulated : bool
        Says "simulated intensities" in the figure.
    auc : DataFrame, optional
        Of :func:`lungpipe.corrupt.auc.auc_table`; needed for ``auc``.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    DatasetError
        If no row has a value.
    """
    lines = _auc_lines(auc) if measure == "auc" else _lines(table, measure)
    if not lines:
        raise DatasetError(f"no row of the ladder has a value of {measure}, so there is nothing to draw")
    look = styles(list(CORRUPTIONS))
    columns = min(4, len(lines))
    rows = -(-len(lines) // columns)
    with house_style():
        figure = new_figure(2.6 * columns + 0.5, 2.5 * rows + 0.3)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (name, line) in zip(grid.flat, lines.items(), strict=False):
            _panel(axes, line, look[name])
            axes.set_title(CORRUPTIONS[name].title.capitalize())
            axes.set_xticks([0, *SEVERITIES], ["0", *(f"{value:g}" for value in CORRUPTIONS[name].values)])
            unit = CORRUPTIONS[name].unit
            axes.set_xlabel(f"Severity ({unit})" if unit != "1" else "Severity")
            if name == "dose":
                axes.set_xticklabels(["1", *(f"{value:g}" for value in CORRUPTIONS[name].values)])
        for axes in grid.flat[len(lines) :]:
            axes.set_axis_off()
        figure.supylabel(CURVES[measure], fontsize=10)
        if measure in SHARES:
            grid[0, 0].set_ylim(-0.02, 1.02)
        if simulated:
            figure.supxlabel("Simulated intensities", x=0.995, ha="right", fontsize=8, color=FAINT, style="italic")
        return svg(figure)


def ladder_html(
    table: pd.DataFrame,
    means: pd.DataFrame,
    trends: pd.DataFrame,
    *,
    title: str,
    about: dict[str, str],
    simulated: bool,
    auc: pd.DataFrame | None = None,
) -> str:
    """Make the page of a ladder.

    Parameters
    ----------
    table : DataFrame
        Rows of the ladder.
    means, trends : DataFrame
        Of :mod:`lungpipe.corrupt.summary`.
    title : str
    about : dict of str to str
        What was done, a line each.
    simulated : bool
        Says "simulated intensities" in the figures.
    auc : DataFrame, optional
        Of :func:`lungpipe.corrupt.auc.auc_table`.

    Returns
    -------
    str
        HTML without references to anything outside it.
    """
    shown = [name for name in CURVES if (auc is not None if name == "auc" else _has(table, name))]
    content: dict[str, Any] = {
        "title": title,
        "about": about,
        "figures": [(CURVES[name], Markup(ladder_curves(table, name, simulated=simulated, auc=auc))) for name in shown],
        "trend_names": [CORRUPTIONS[name].title if name in CORRUPTIONS else name for name in _corruptions(trends)],
        "trends": _trend_rows(trends),
        "trends_csv": csv_uri(trends),
        "means_csv": csv_uri(means if auc is None else means.merge(auc, on=["corruption", "severity"], how="left")),
    }
    pages = environment()
    pages.filters["number"] = _number
    return pages.get_template("ladder.html.j2").render(content)


def _corruptions(trends: pd.DataFrame) -> list[str]:
    return [name for name in (*CORRUPTIONS, WHOLE) if name in set(trends["corruption"])]


def _trend_rows(trends: pd.DataFrame) -> list[tuple[str, list[dict[Hashable, Any]]]]:
    """A row a figure, a cell a corruption; an empty cell where there is no correlation."""
    cells = {(row["measure"], row["corruption"]): row for row in trends.to_dict("records")}
    measures = dict.fromkeys(trends["measure"])
    return [(CURVES.get(m, m), [cells.get((m, name), {}) for name in _corruptions(trends)]) for m in measures]


def _has(table: pd.DataFrame, name: str) -> bool:
    return name in table and bool(table[name].notna().any())


def _lines(table: pd.DataFrame, measure: str) -> dict[str, pd.DataFrame]:
    if not _has(table, measure):
        return {}
    by = with_start(table).groupby(["corruption", "severity"], sort=False)[measure]
    found = by.agg(middle="mean", low=lambda v: v.quantile(QUARTILES[0]), high=lambda v: v.quantile(QUARTILES[1]))
    return _by_corruption(found.reset_index())


def _auc_lines(auc: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    if auc is None:
        return {}
    return _by_corruption(auc.rename(columns={"auc": "middle", "auc_low": "low", "auc_high": "high"}))


def _by_corruption(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    parts = {str(name): part.sort_values("severity") for name, part in found.groupby("corruption", sort=False)}
    return {name: parts[name] for name in CORRUPTIONS if name in parts}


def _panel(axes: Axes, line: pd.DataFrame, look: Style) -> None:
    x = line["severity"].to_numpy()
    axes.fill_between(x, line["low"].to_numpy(), line["high"].to_numpy(), color=look.colour, alpha=0.16, linewidth=0)
    axes.plot(x, line["middle"].to_numpy(), color=look.colour, marker=look.marker, markersize=4.5, linewidth=1.8)
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(axis="x", labelsize=8)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"
