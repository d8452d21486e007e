"""Charts of what a model looks at: importance of clusters of features, and error against distance from the training nodules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.learn.folds import CLASSES
from lungpipe.learn.neighbours import FAR
from lungpipe.report.style import FAINT, GRID, INK, MARKERS, PALETTE, house_style, new_figure, svg

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

#: Bins of percentiles over which errors are averaged.
_BINS = 5


def importance_picture(clusters: pd.DataFrame, *, simulated: bool) -> str:
    """Draw the drop in AUC of each cluster as a bar with its 95 % interval, the largest on top.

    Bars whose interval lies above 0 are filled; the others, and those without an interval, are hollow.

    Parameters
    ----------
    clusters : DataFrame
        Columns cluster_centre, size, cluster_importance, cluster_low, cluster_high.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    names = cluster_names(clusters, " +{}")
    clear = (clusters["cluster_low"] > 0).to_numpy()
    drop = clusters["cluster_importance"].to_numpy(dtype=np.float64)
    with house_style():
        figure = new_figure(9.6, 0.31 * len(clusters) + 1.1)
        axes = figure.subplots()
        y = np.arange(len(clusters))[::-1]
        faces = [PALETTE[0] if one else "white" for one in clear]
        axes.barh(y, drop, height=0.62, color=faces, edgecolor=PALETTE[0], linewidth=1.2)
        axes.hlines(y, clusters["cluster_low"], clusters["cluster_high"], color=INK, linewidth=1.5)
        axes.axvline(0, color=FAINT, linewidth=1.0)
        axes.set_yticks(y, names, fontsize=8.5)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.set(ylim=(-0.7, len(clusters) - 0.3))
        axes.set_xlabel("Drop in AUC on test folds when shuffled, 95 % interval (filled: above 0)")
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        _say_simulated(axes, simulated)
        return svg(figure)


def cluster_names(clusters: pd.DataFrame, more: str) -> list[str]:
    """Name clusters after the feature that stands for each; ``more`` says how many further members there are."""
    pairs = zip(clusters["cluster_centre"].tolist(), clusters["size"].tolist(), strict=True)
    return [f"{name}{more.format(size - 1) if size > 1 else ''}" for name, size in pairs]


def outlying_picture(
    percentile: NDArray[np.float64], error: NDArray[np.float64], labels: NDArray[np.int64], *, simulated: bool
) -> str:
    """Draw the error of each nodule against how far it is from the training nodules, and the mean error of each fifth.

    Parameters
    ----------
    percentile : ndarray of float, shape (n,)
        0 to 100.
    error : ndarray of float, shape (n,)
        Distance of prediction and truth, 0 to 1.
    labels : ndarray of int, shape (n,)
        1 malignant, 0 benign.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with house_style():
        figure = new_figure(6.6, 4.2)
        axes = figure.subplots()
        for value, name in CLASSES.items():
            here = labels == value
            axes.plot(
                percentile[here], error[here], linestyle="none", marker=MARKERS[value], markersize=4.5,
                color=PALETTE[value], alpha=0.55, markeredgewidth=0, label=f"{name} ({int(here.sum())})",
            )  # fmt: skip
        edges = np.linspace(0, 100, _BINS + 1)
        inside = np.clip(np.searchsorted(edges, percentile, "right") - 1, 0, _BINS - 1)
        means = [float(error[inside == k].mean()) if (inside == k).any() else np.nan for k in range(_BINS)]
        for k, mean in enumerate(means):
            axes.hlines(
                mean, edges[k], edges[k + 1], color=INK, linewidth=2.2, label="mean of a fifth" if k == 0 else "_"
            )
        axes.axvline(FAR, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.6)))
        axes.set(xlim=(-2, 102), ylim=(-0.02, 1.02))
        axes.set_xlabel("Distance from the training nodules (percentile of their own)")
        axes.set_ylabel("|label - predicted probability|")
        axes.grid(color=GRID, linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=3)
        _say_simulated(axes, simulated)
        return svg(figure)


def _say_simulated(axes: Axes, simulated: bool) -> None:
    if simulated:
        axes.set_title("Simulated intensities", loc="right", fontsize=8, color=FAINT, style="italic")
