"""The benchmark's two charts: AUC against radius, and ROC curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lungpipe.errors import DatasetError
from lungpipe.report.style import FAINT, GRID, INK, Style, house_style, new_figure, styles, svg

NAMES = {
    "otsu": "Otsu",
    "kmeans": "k-means",
    "gmm": "Gaussian mixture",
    "fcm": "fuzzy c-means",
    "annotated": "annotated",
    "logistic": "logistic regression",
    "random_forest": "random forest",
    "knn": "k nearest neighbours",
    "mlp": "multilayer perceptron",
    "vae": "autoencoder latents",
    "grown": "grown region",
    "shell": "shell",
    "nodule": "nodule",
}
CONFIGURATION = ["segmenter", "region", "radius_mm", "classifier"]
#: Sets of features for people.
SETS = {
    "all": "all features",
    "shape": "shape",
    "first_order": "first-order features",
    "texture": "texture",
    "filtered": "features of filtered images",
}
ROC_STEPS = 101
DODGE_MM = 0.22


def auc_against_radius(
    scores: pd.DataFrame,
    *,
    planted_radius_mm: float | None = None,
    simulated: bool = False,
    limits: tuple[float, float] | None = None,
    max_columns: int = 3,
) -> str:
    """Draw the AUC with its 95 % interval against the region's radius, a line a segmenter, a panel a classifier.

    A row of panels is drawn for each kind of region; radius 0, the nodule alone, starts the lines of each.

    Parameters
    ----------
    scores : DataFrame
        Table of scores; rows with selection other than ``"fixed"`` are left out.
    planted_radius_mm : float, optional
        Draws a vertical line there: how far a simulated effect reaches, mm from the nodule's edge.
    simulated : bool
        Says "simulated intensities" in the figure.
    limits : (float, float), optional
        Limits of the AUC axis, to compare figures; by default those of the data.
    max_columns : int
        Panels side by side.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    DatasetError
        If no configuration has an AUC.
    """
    fixed = of_one_set(scores[(scores["selection"] == "fixed") & scores["auc"].notna()])
    if fixed.empty:
        raise DatasetError("No configuration has an AUC, so there is nothing to draw against the radius.")
    kinds = [kind for kind in _unique(fixed, "region") if kind != "nodule"] or ["nodule"]
    classifiers, segmenters = _unique(fixed, "classifier"), _unique(fixed, "segmenter")
    panels = [(kind, classifier) for kind in kinds for classifier in classifiers]
    columns = min(max_columns, len(classifiers))
    rows = -(-len(panels) // columns)
    look = styles(segmenters)
    with house_style():
        figure = new_figure(3.75 * columns + 0.4, 3.1 * rows + 0.75)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (kind, classifier) in zip(grid.flat, panels, strict=False):
            part = fixed[(fixed["classifier"] == classifier) & fixed["region"].isin({kind, "nodule"})]
            _radius_panel(axes, part, look, planted_radius_mm)
            axes.set_title(_panel_title(kind, classifier, several=len(kinds) > 1))
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("AUC, 95 % interval")
        for axes in grid[-1]:
            axes.set_xlabel("Radius from the nodule's edge (mm)")
        grid[0, 0].set_ylim(limits or auc_limits([fixed]))
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if planted_radius_mm is not None:
            labels = [*labels[:-1], f"planted effect ends, {planted_radius_mm:g} mm"]
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 5), handlelength=3.2)
        if simulated:
            figure.supxlabel("Simulated intensities", x=0.995, ha="right", fontsize=8, color=FAINT, style="italic")
        return svg(figure)


def auc_limits(tables: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """Return limits that hold the intervals of all tables and 0.5, so that their figures compare by eye.

    Parameters
    ----------
    tables : sequence of DataFrame
        Tables of scores.

    Returns
    -------
    (float, float)
        Within [0, 1], on tenths.
    """
    lows = [table["auc_low"].min() for table in tables] + [0.45]
    highs = [table["auc_high"].max() for table in tables] + [0.55]
    low, high = np.floor(10 * np.nanmin(lows)) / 10, np.ceil(10 * np.nanmax(highs)) / 10
    return max(0.0, float(low)) - 0.01, min(1.0, float(high)) + 0.01


def roc_curves(curves: Mapping[str, pd.DataFrame], scores: Mapping[str, Mapping[str, Any]], *, simulated: bool) -> str:
    """Draw ROC curves with AUC and 95 % interval in the legend.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        Name in the legend to its rows of the table of predictions (``repeat``, ``y``, ``p``). With repeats, the curves
        are averaged vertically.
    scores : mapping of str to mapping
        For each name ``auc``, ``auc_low`` and ``auc_high``.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    DatasetError
        If there is no curve, or one has a single class.
    """
    if not curves:
        raise DatasetError("No ROC curve was asked for.")
    with house_style():
        figure = new_figure(6.4, 5.2 + 0.24 * len(curves))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        for position, (name, style) in enumerate(styles(list(curves)).items()):
            x, y = _mean_curve(curves[name], name)
            score = scores[name]
            label = f"{name}: {score['auc']:.2f} ({score['auc_low']:.2f} to {score['auc_high']:.2f})"
            width = 2.6 if position == 0 else 1.5
            axes.plot(x, y, color=style.colour, linestyle=style.dash, linewidth=width, label=label, zorder=9 - position)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_xlabel("False-positive rate (1 - specificity)")
        axes.set_ylabel("True-positive rate (sensitivity)")
        axes.grid(color=GRID, linewidth=0.7)
        figure.legend(loc="outside lower center", fontsize=9, handlelength=3.2, title="AUC (95 % interval)")
        if simulated:
            axes.text(0.98, 0.03, "Simulated intensities", ha="right", fontsize=8, color=FAINT, style="italic")
        return svg(figure)


def roc_points(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate ROC curves as they are drawn.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        As :func:`roc_curves` takes them.

    Returns
    -------
    DataFrame
        ``curve``, ``false_positive_rate`` and ``true_positive_rate``, in the order of the line.
    """
    parts = []
    for name, rows in curves.items():
        x, y = _mean_curve(rows, name)
        parts.append(pd.DataFrame({"curve": name, "false_positive_rate": x, "true_positive_rate": y}))
    return pd.concat(parts, ignore_index=True)


def configuration_name(row: Mapping[str, Any]) -> str:
    """Name a configuration in words: segmenter, region and classifier.

    Parameters
    ----------
    row : mapping
        With segmenter, region, radius_mm and classifier.

    Returns
    -------
    str
        "Otsu, shell 8 mm, random forest"
    """
    region = str(row["region"])
    where = "nodule alone" if region == "nodule" else NAMES.get(region, region)
    where += f" {float(row['radius_mm']):g} mm" if float(row["radius_mm"]) else ""
    chosen = str(row.get("feature_set", "all"))
    features = "" if chosen == "all" else f", {SETS.get(chosen, chosen)}"
    return f"{plain(row['segmenter'])}, {where}, {plain(row['classifier'])}{features}"


def of_one_set(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of one set of features, all of them where there is such a set, else the first.

    Parameters
    ----------
    scores : DataFrame
        Table of scores, fixed rows.
    """
    if "feature_set" not in scores or not len(scores):
        return scores
    sets = scores["feature_set"]
    return scores[sets == ("all" if (sets == "all").any() else sets.iloc[0])]


def plain(name: object) -> str:
    """Return the field's name for a plug-in or region, or the name itself.

    Parameters
    ----------
    name : object
        As in the tables.

    Returns
    -------
    str
        "Gaussian mixture" for ``"gmm"``.
    """
    return NAMES.get(str(name), str(name))


def _unique(table: pd.DataFrame, column: str) -> list[str]:
    return [str(value) for value in table[column].unique()]


def _panel_title(kind: str, classifier: str, *, several: bool) -> str:
    name = plain(classifier)
    name = name if name.startswith("k ") else name[:1].upper() + name[1:]
    return f"{name}, {plain(kind)}" if several else name


def _radius_panel(axes: Axes, part: pd.DataFrame, look: Mapping[str, Style], planted_radius_mm: float | None) -> None:
    axes.axhline(0.5, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for position, (segmenter, style) in enumerate(look.items()):
        line = part[part["segmenter"] == segmenter].sort_values("radius_mm")
        radius_mm = line["radius_mm"].to_numpy(dtype=float) + DODGE_MM * (position - (len(look) - 1) / 2)
        auc = line["auc"].to_numpy(dtype=float)
        axes.vlines(radius_mm, line["auc_low"], line["auc_high"], color=style.colour, linewidth=1.3, alpha=0.45)
        axes.plot(
            radius_mm,
            auc,
            color=style.colour,
            marker=style.marker,
            markersize=5,
            linestyle=style.dash,
            linewidth=1.7,
            label=plain(segmenter),
            zorder=3,
        )
    if planted_radius_mm is not None:
        axes.axvline(planted_radius_mm, color=INK, linewidth=1.1, linestyle=(0, (1, 1.6)), label="planted", zorder=2)
    axes.set_xticks(sorted(part["radius_mm"].unique()))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.tick_params(labelbottom=True)


def _mean_curve(rows: pd.DataFrame, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ROC curve, or with repeats the mean true-positive rate at even steps."""
    parts = [_curve(part, name) for _, part in rows.groupby("repeat")]
    if len(parts) == 1:
        return parts[0]
    steps = np.linspace(0, 1, ROC_STEPS)
    mean = np.mean([np.interp(steps, x, y) for x, y in parts], axis=0)
    return np.concatenate([[0.0], steps]), np.concatenate([[0.0], mean])


def _curve(rows: pd.DataFrame, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false- and true-positive rates at every distinct threshold, from (0, 0) to (1, 1)."""
    y, p = rows["y"].to_numpy(dtype=int), rows["p"].to_numpy(dtype=float)
    if len(np.unique(y)) < 2:
        raise DatasetError(f"{name} has nodules of one class only, so it has no ROC curve.")
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)
    right, wrong = np.cumsum(y[order])[last], np.cumsum(1 - y[order])[last]
    return np.append(0.0, wrong / wrong[-1]), np.append(0.0, right / right[-1])
