"""Charts of one classifier: calibration, net benefit, and AUC by subgroup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.report.style import FAINT, GRID, INK, PALETTE, house_style, new_figure, svg

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def calibration_picture(curve: pd.DataFrame, *, simulated: bool) -> str:
    """Draw the share of malignant nodules against the mean prediction, bin by bin with 95 % intervals.

    Parameters
    ----------
    curve : DataFrame
        Of :func:`lungpipe.learn.calibration.calibration_curve`.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with house_style():
        figure = new_figure(4.6, 4.6)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.vlines(curve["predicted"], curve["low"], curve["high"], color=PALETTE[0], linewidth=1.4, alpha=0.55)
        axes.plot(curve["predicted"], curve["observed"], color=PALETTE[0], marker="o", markersize=5, linewidth=1.6)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("Mean predicted probability")
        axes.set_ylabel("Share of malignant nodules, 95 % interval")
        axes.grid(color=GRID, linewidth=0.7)
        _say_simulated(axes, simulated)
        return svg(figure)


def decision_picture(curve: pd.DataFrame, *, simulated: bool) -> str:
    """Draw the net benefit of the model, of acting on all nodules and of acting on none, against the threshold.

    Parameters
    ----------
    curve : DataFrame
        Of :func:`lungpipe.learn.decision.decision_curve`.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with house_style():
        figure = new_figure(6.0, 4.2)
        axes = figure.subplots()
        x = curve["threshold"]
        axes.fill_between(x, curve["model_low"], curve["model_high"], color=PALETTE[0], alpha=0.14, linewidth=0)
        axes.plot(x, curve["model"], color=PALETTE[0], linewidth=2.2, label="model")
        axes.plot(x, curve["treat_all"], color=PALETTE[1], linewidth=1.5, linestyle=(0, (5, 1.5)), label="act on all")
        axes.plot(x, 0 * x, color=INK, linewidth=1.2, linestyle=(0, (1, 1.2)), label="act on none")
        top = float(max(curve["model"].max(), curve["treat_all"].max(), 0.05))
        axes.set(xlim=(0, 1), ylim=(-0.35 * top, 1.12 * top))
        axes.set_xlabel("Threshold probability")
        axes.set_ylabel("Net benefit")
        axes.grid(color=GRID, linewidth=0.7)
        axes.legend(loc="upper right", handlelength=3.2)
        _say_simulated(axes, simulated)
        return svg(figure)


def forest_picture(table: pd.DataFrame, *, simulated: bool) -> str:
    """Draw the AUC of each subgroup with its 95 % interval, one line each.

    Parameters
    ----------
    table : DataFrame
        Of :func:`lungpipe.learn.subgroups.subgroup_table`, with the heading of each row in ``by``; no row without an AUC.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    names = [f"{row.by}: {row.value} ({row.n})" for row in table.itertuples()]
    with house_style():
        figure = new_figure(7.4, 0.36 * len(table) + 1.1)
        axes = figure.subplots()
        y = np.arange(len(table))[::-1]
        axes.axvline(0.5, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.hlines(y, table["auc_low"], table["auc_high"], color=PALETTE[0], linewidth=1.6, alpha=0.6)
        axes.plot(table["auc"], y, color=PALETTE[0], marker="s", markersize=5.5, linestyle="none")
        axes.set_yticks(y, names)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.7, len(table) - 0.3))
        axes.set_xlabel("AUC, 95 % interval (number of nodules in brackets)")
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        _say_simulated(axes, simulated)
        return svg(figure)


def _say_simulated(axes: Axes, simulated: bool) -> None:
    if simulated:
        axes.set_title("Simulated intensities", loc="right", fontsize=8, color=FAINT, style="italic")
