"""Mean HU against the distance from the nodule's surface, benign against malignant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from scipy import stats

from lungpipe.errors import DatasetError
from lungpipe.report.style import FAINT, GRID, INK, house_style, new_figure, styles, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEAN_HU = "original_firstorder_Mean"
_NODULE = ["patient_id", "series_uid", "nodule_id"]
CLASSES = {0: "benign", 1: "malignant"}


def ring_means(features: pd.DataFrame) -> pd.DataFrame:
    """Mean HU of the nodule and of disjoint rings round it, a row a nodule and ring.

    Parameters
    ----------
    features : DataFrame
        Rows of one segmenter of ``features.parquet``. Rings are taken as they are; without any, they are what one shell
        has more than the next smaller one, weighted by volume.

    Returns
    -------
    DataFrame
        ``patient_id``, ``series_uid``, ``nodule_id``, ``inner_mm``, ``outer_mm`` (both 0 for the nodule), ``mean_hu``;
        empty where there are no such regions or no mean HU.
    """
    columns = [*_NODULE, "inner_mm", "outer_mm", "mean_hu"]
    if MEAN_HU not in features or not len(features):
        return pd.DataFrame(columns=columns)
    table = features.rename(columns={"radius_mm": "outer_mm", MEAN_HU: "mean_hu"})
    rings = table[table["region"] == "ring"]
    if rings.empty:
        rings = _from_shells(table[table["region"] == "shell"])
    return pd.concat([table[table["region"] == "nodule"], rings], ignore_index=True)[columns]


def _from_shells(shells: pd.DataFrame) -> pd.DataFrame:
    """Rings between the shells of each nodule; one that adds no volume is left out."""
    shells = shells.sort_values([*_NODULE, "outer_mm"]).assign(total=lambda t: t["mean_hu"] * t["volume_mm3"])
    before = shells.groupby(_NODULE, sort=False)[["outer_mm", "total", "volume_mm3"]].shift(fill_value=0.0)
    volume = shells["volume_mm3"] - before["volume_mm3"]
    mean = (shells["total"] - before["total"]) / volume.where(volume > 0)
    return shells.assign(inner_mm=before["outer_mm"], mean_hu=mean).dropna(subset=["mean_hu"])


def profiles(rings: pd.DataFrame, nodules: pd.DataFrame) -> pd.DataFrame:
    """Mean over patients of each class and ring, with a 95 % interval by Student's t.

    Several nodules of one patient count as their mean.

    Parameters
    ----------
    rings : DataFrame
        As :func:`ring_means` gives them.
    nodules : DataFrame
        With ``malignant`` (0, 1 or missing) for each nodule.

    Returns
    -------
    DataFrame
        ``malignant``, ``inner_mm``, ``outer_mm``, ``mean_hu``, ``low_hu``, ``high_hu`` (missing for a single patient),
        ``n_patients``.
    """
    labels = nodules[[*_NODULE, "malignant"]].drop_duplicates().dropna()
    table = rings.merge(labels, on=_NODULE)
    ring = ["malignant", "inner_mm", "outer_mm"]
    by_patient = table.groupby([*ring, "patient_id"], as_index=False)["mean_hu"].mean()
    rows = []
    for _, part in by_patient.groupby(ring):
        values, first = part["mean_hu"].to_numpy(dtype=float), part.iloc[0]
        count, mean = len(values), float(values.mean())
        half = float(stats.t.ppf(0.975, count - 1) * stats.sem(values)) if count > 1 else float("nan")
        place = (int(first["malignant"]), float(first["inner_mm"]), float(first["outer_mm"]))
        rows.append((*place, mean, mean - half, mean + half, count))
    names = ["malignant", "inner_mm", "outer_mm", "mean_hu", "low_hu", "high_hu", "n_patients"]
    return pd.DataFrame(rows, columns=names)


def hu_profile(profile: pd.DataFrame, *, planted_radius_mm: float | None = None, simulated: bool = False) -> str:
    """Draw the profile of each class: the nodule's own mean as a point at 0, rings as steps with their interval.

    Parameters
    ----------
    profile : DataFrame
        As :func:`profiles` gives it.
    planted_radius_mm : float, optional
        Draws a vertical line there.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    DatasetError
        If no class has a ring.
    """
    if not (profile["outer_mm"] > 0).any():
        raise DatasetError("No shell or ring has a mean HU, so there is no profile to draw.")
    with house_style():
        figure = new_figure(6.4, 4.2)
        axes = figure.subplots()
        for (malignant, style), part in zip(
            styles([str(k) for k in CLASSES]).items(),
            (profile[profile["malignant"] == k] for k in CLASSES),
            strict=True,
        ):
            if len(part):
                _class(axes, part.sort_values("outer_mm"), style.colour, style.marker, CLASSES[int(malignant)])
        if planted_radius_mm is not None:
            label = f"planted effect ends, {planted_radius_mm:g} mm"
            axes.axvline(planted_radius_mm, color=INK, linewidth=1.1, linestyle=(0, (1, 1.6)), label=label)
        axes.set_xlabel("Distance from the nodule's surface (mm)")
        axes.set_ylabel("Mean HU, 95 % interval over patients")
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=2)
        if simulated:
            axes.text(
                0.99,
                0.02,
                "Simulated intensities",
                ha="right",
                fontsize=8,
                color=FAINT,
                style="italic",
                transform=axes.transAxes,
            )
        return svg(figure)


def _class(axes: Axes, part: pd.DataFrame, colour: str, marker: str, name: str) -> None:
    rings, nodule = part[part["outer_mm"] > 0], part[part["outer_mm"] == 0]
    label = f"{name}, {int(part['n_patients'].max())} patients"
    edges = [*rings["inner_mm"], float(rings["outer_mm"].iloc[-1])] if len(rings) else []
    if len(rings):
        middle = (rings["inner_mm"] + rings["outer_mm"]) / 2
        axes.stairs(rings["mean_hu"], edges, baseline=None, color=colour, linewidth=1.7, label=label)
        known = rings["low_hu"].notna()
        axes.vlines(
            middle[known], rings["low_hu"][known], rings["high_hu"][known], color=colour, linewidth=1.4, alpha=0.5
        )
    if len(nodule):
        row = nodule.iloc[0]
        axes.plot(
            [0.0], [row["mean_hu"]], color=colour, marker=marker, linestyle="none", label="" if len(rings) else label
        )
