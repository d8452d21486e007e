"""The page's charts of the benchmark, each with its text alternative and its numbers as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.report import summary
from lungpipe.report.figures import auc_against_radius, auc_limits, of_one_set, plain, roc_curves, roc_points
from lungpipe.report.html import csv_uri, data_uri
from lungpipe.report.profile import CLASSES, hu_profile, profiles, ring_means
from lungpipe.store.schemas import REGIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Columns of the CSV of AUC against radius.
_RADIUS = [
    "dataset", "segmenter", "region", "radius_mm", "classifier", "n", "n_patients", "n_malignant",
    "auc", "auc_low", "auc_high", "auc_low_all", "auc_high_all", "inner_auc",
]  # fmt: skip


def radius_pictures(
    runs: Sequence[tuple[str, pd.DataFrame | None, bool]], planted_radius_mm: float | None
) -> list[dict[str, Any]]:
    """Draw AUC against radius for a run and those beside it, one picture a data set, on one scale.

    Parameters
    ----------
    runs : sequence of (str, DataFrame or None, bool)
        Caption, table of scores, and whether intensities are simulated; the run itself comes first.
    planted_radius_mm : float or None
        How far an effect was planted in the run itself.
    """
    drawable = [
        (position, caption, str(dataset), part[~_embedded(part)], simulated)
        for position, (caption, table, simulated) in enumerate(runs)
        if table is not None
        for dataset, part in summary.taught_here(table).groupby("dataset", sort=False)
        if ((part["selection"] == "fixed") & part["auc"].notna() & ~_embedded(part)).any()
    ]
    if not drawable:
        return []
    limits = auc_limits([part[part["selection"] == "fixed"] for *_, part, _ in drawable])
    several = len({(position, dataset) for position, _, dataset, _, _ in drawable}) > len(
        {position for position, *_ in drawable}
    )
    pictures = []
    for position, caption, dataset, part, simulated in drawable:
        planted = planted_radius_mm if position == 0 else None
        image = auc_against_radius(part, planted_radius_mm=planted, simulated=simulated, limits=limits)
        verdict = summary.verdicts(part)[0]
        alt = f"AUC against radius, one line a segmenter. The highest is {verdict['best']['auc']:.2f}: "
        fixed = of_one_set(part[part["selection"] == "fixed"])
        pictures.append(
            {
                "caption": f"{caption}: {dataset}" if several else caption,
                "simulated": simulated,
                "verdict": verdict,
                "src": data_uri("image/svg+xml", image.encode()),
                "alt": alt + verdict["best_name"] + ".",
                "csv": csv_uri(fixed[[name for name in _RADIUS if name in fixed]]),
            }
        )
    return pictures


def profile_pictures(
    features: pd.DataFrame | None, nodules: pd.DataFrame, planted_radius_mm: float | None, *, simulated: bool
) -> list[dict[str, str]]:
    """Draw mean HU against distance for one segmenter, a picture a data set, where its regions allow it.

    Parameters
    ----------
    features : DataFrame or None
        Rows of one segmenter.
    nodules : DataFrame
        Table of nodules.
    planted_radius_mm : float or None
        How far an effect was planted.
    simulated : bool
        Says "simulated intensities" in the figure.
    """
    if features is None or not len(features):
        return []
    parts = features.groupby("dataset", sort=False) if "dataset" in features else [("", features)]
    pictures = []
    for dataset, part in parts:
        profile = profiles(ring_means(part), nodules)
        if not (profile["outer_mm"] > 0).any():
            continue
        image = hu_profile(profile, planted_radius_mm=planted_radius_mm, simulated=simulated)
        nearest = profile[profile["outer_mm"] > 0].sort_values("outer_mm").drop_duplicates("malignant")
        said = ", ".join(
            f"{CLASSES[int(row['malignant'])]} {row['mean_hu']:.0f} HU" for row in nearest.to_dict("records")
        )
        pictures.append(
            {
                "dataset": str(dataset),
                "src": data_uri("image/svg+xml", image.encode()),
                "alt": f"Mean HU against the distance from the nodule's surface; nearest to it: {said}.",
                "segmenter": plain(part["segmenter"].iloc[0]),
                "csv": csv_uri(profile),
            }
        )
    return pictures


def _embedded(scores: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are an embedder's: they have no radius to be drawn against."""
    return (scores["selection"] == "fixed") & ~scores["region"].isin(REGIONS)


def roc_pictures(
    scores: pd.DataFrame | None, predictions: pd.DataFrame | None, *, simulated: bool
) -> list[dict[str, str]]:
    """Draw ROC curves, a picture a data set.

    Parameters
    ----------
    scores, predictions : DataFrame or None
        Tables of the benchmark.
    simulated : bool
        Says "simulated intensities" in the figure.
    """
    if scores is None or predictions is None:
        return []
    pictures = []
    for dataset, part in scores.groupby("dataset", sort=False):
        curves, figures = summary.roc_selection(part, predictions)
        if not curves:
            continue
        image = roc_curves(curves, figures, simulated=simulated)
        areas = "; ".join(f"{name}, AUC {figures[name]['auc']:.2f}" for name in curves)
        pictures.append(
            {
                "dataset": str(dataset),
                "src": data_uri("image/svg+xml", image.encode()),
                "alt": f"ROC curves: {areas}.",
                "csv": csv_uri(roc_points(curves)),
            }
        )
    return pictures
