"""Main features of every nodule, and where they stand among those of the cohort and of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lungpipe.report.profile import CLASSES, MEAN_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.report.nodule_cards import Key


class Feature(NamedTuple):
    """A feature by its column, with its name for people, unit and digits after the point."""

    column: str
    name: str
    unit: str
    digits: int


#: Of the table of nodules.
MEASURED = (
    Feature("volume_mm3", "Volume", "mm\u00b3", 0),
    Feature("axial_long_mm", "Longest axial diameter", "mm", 1),
    Feature("axial_short_mm", "Perpendicular to it", "mm", 1),
    Feature("diameter_3d_mm", "Longest diameter in 3D", "mm", 1),
    Feature("mean_hu", "Mean HU", "HU", 0),
    Feature("calcified_fraction", "Calcified part", "", 2),
    Feature("soft_rim_fraction", "Soft part of the rim", "", 2),
)
#: Of the nodule itself in the table of features.
EXTRACTED = (
    Feature("original_shape_Sphericity", "Sphericity", "", 2),
    Feature("original_shape_SurfaceVolumeRatio", "Surface to volume", "1/mm", 2),
    Feature("original_firstorder_90Percentile", "90th percentile of HU", "HU", 0),
    Feature("original_firstorder_Entropy", "Entropy of HU", "bit", 2),
    Feature("original_glcm_Contrast", "Contrast of neighbouring voxels (GLCM)", "", 1),
)


def named_features(
    nodules: pd.DataFrame, features: pd.DataFrame | None, radius_mm: float
) -> tuple[pd.DataFrame, list[Feature]]:
    """Lay out the main features, a row a nodule.

    Parameters
    ----------
    nodules : DataFrame
        A row a nodule, indexed by series and nodule.
    features : DataFrame or None
        Rows of the same segmenter, all regions.
    radius_mm : float
        Of the surroundings whose mean HU are shown; 0 for none.

    Returns
    -------
    table : DataFrame
        Indexed as ``nodules``, a column a feature; those that are unknown, or the same for all, are left out.
    named : list of Feature
        Of its columns, in their order.
    """
    found: dict[Feature, Any] = {
        one: pd.to_numeric(nodules[one.column], errors="coerce").astype(float)
        for one in MEASURED
        if one.column in nodules
    }
    if features is not None and len(features):
        keyed = features.set_index([features.get("series_uid", pd.Series("", features.index)), features["nodule_id"]])
        found |= {
            one: _of_region(keyed, nodules, keyed["region"] == "nodule", one.column)
            for one in EXTRACTED
            if one.column in keyed
        }
        beside = keyed["region"].isin(["ring", "shell", "grown"]) & (keyed["radius_mm"] == radius_mm)
        if radius_mm > 0 and MEAN_HU in keyed and beside.any():
            kind = str(keyed.loc[beside, "region"].iloc[0])
            name = {"ring": "ring out to", "shell": "shell of", "grown": "grown region of"}[kind]
            around = Feature("surroundings_mean_hu", f"Mean HU, {name} {radius_mm:g} mm", "HU", 0)
            found[around] = _of_region(keyed, nodules, beside & (keyed["region"] == kind), MEAN_HU)
    table = pd.DataFrame({one.column: values for one, values in found.items()}, index=nodules.index)
    known = table.columns[table.nunique() > (len(table) > 1)]
    return table[known], [one for one in found if one.column in known]


def _of_region(keyed: pd.DataFrame, nodules: pd.DataFrame, rows: pd.Series[bool], column: str) -> NDArray[np.float64]:
    values = keyed.loc[rows.to_numpy(), column]
    once = values[~values.index.duplicated()]
    return once.reindex(nodules.index).to_numpy(dtype=np.float64)


def standing(values: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percentile of each value among others: the share that is smaller, and half of those that are equal.

    Parameters
    ----------
    values : NDArray of float, shape (n,)
        NaN where unknown.
    among : NDArray of float
        Unknown ones are left out.

    Returns
    -------
    NDArray of float, shape (n,)
        From 0 to 100; NaN for what is unknown, and where there is nothing to stand among.
    """
    known = np.sort(among[np.isfinite(among)])
    if not len(known):
        return np.full(len(values), np.nan)
    below, upto = (np.searchsorted(known, values, side) for side in ("left", "right"))
    return np.where(np.isfinite(values), 50.0 * (below + upto) / len(known), np.nan)


def feature_rows(
    table: pd.DataFrame, named: list[Feature], labels: NDArray[np.float64]
) -> dict[Key, list[dict[str, Any]]]:
    """Write the features of each nodule with their percentiles among all nodules, the benign and the malignant ones.

    Parameters
    ----------
    table : DataFrame
        As :func:`named_features` gives it.
    named : list of Feature
        Of its columns.
    labels : NDArray of float, shape (n,)
        0, 1 or NaN.

    Returns
    -------
    dict
        For each row of the index a list of mappings: ``name``, ``column``, ``number``, ``value`` (text with its unit), and ``all``, ``benign`` and
        ``malignant`` (percentiles, or None).
    """
    among = {"all": np.ones(len(table), dtype=bool)} | {name: labels == k for k, name in CLASSES.items()}
    columns: dict[Feature, NDArray[np.float64]] = {one: table[one.column].to_numpy(dtype=np.float64) for one in named}
    places = {
        one: {group: standing(values, values[rows]) for group, rows in among.items()} for one, values in columns.items()
    }
    found: dict[Key, list[dict[str, Any]]] = {}
    for i, key in enumerate(table.index):
        found[key] = [
            {
                "name": one.name,
                "column": one.column,
                "number": float(values[i]),
                "value": f"{values[i]:,.{one.digits}f} {one.unit}".strip(),
                **{group: _whole(percentiles[i]) for group, percentiles in places[one].items()},
            }
            for one, values in columns.items()
            if np.isfinite(values[i])
        ]
    return found


def _whole(percentile: float) -> int | None:
    return round(percentile) if np.isfinite(percentile) else None
