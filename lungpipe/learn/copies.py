"""Copies of a nodule that a workspace holds already: other outlines of it, and other series of its study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.errors import DatasetError
from lungpipe.learn.stability import DICE, PERTURBATION

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray


def of_outlines(features: pd.DataFrame, segmenters: Sequence[str], region: str, radius_mm: float) -> pd.DataFrame:
    """Take the masks of several segmenters, or of several radiologists (``rater-1`` ...), as copies of a nodule.

    Parameters
    ----------
    features : DataFrame
        The table ``features`` of a workspace.
    segmenters : sequence of str
        Those that count, two or more.
    region : str
    radius_mm : float

    Returns
    -------
    DataFrame
        A stability source, whose ``perturbation`` is the segmenter.

    Raises
    ------
    DatasetError
        If there are fewer than two segmenters, or no rows of the region.
    """
    if len(set(segmenters)) < 2:
        raise DatasetError(
            f"outlines are compared between two segmenters or more, found {', '.join(segmenters) or 'none'}"
        )
    wanted = _of_region(features, region, radius_mm)
    found = wanted[wanted["segmenter"].isin(list(segmenters))]
    if not len(found):
        raise DatasetError(f"no features of {', '.join(segmenters)} for the region {region} {radius_mm:g} mm")
    return found.assign(**{PERTURBATION: found["segmenter"].astype(str)}).drop(columns="segmenter")


def of_series(
    features: pd.DataFrame, nodules: pd.DataFrame, series: pd.DataFrame, segmenter: str, region: str, radius_mm: float
) -> pd.DataFrame:
    """Take the series of one study, such as two reconstruction kernels, as copies of a nodule.

    Nodules of two series are the same if their centres (LPS) lie closer than the smaller one's radius, and each is the other's
    nearest.

    Parameters
    ----------
    features, nodules, series : DataFrame
        Tables of a workspace.
    segmenter, region : str
    radius_mm : float

    Returns
    -------
    DataFrame
        A stability source with two rows a nodule; ``perturbation`` is ``"first"`` or ``"second"`` in the order of the series'
        kernel and then of its pseudonym, and the series' and nodule's identifiers are those of the first.

    Raises
    ------
    DatasetError
        If no nodule was found in two series of a study.
    """
    studies = series.set_index("series_uid")["study_uid"].astype(str)
    kernels = series.set_index("series_uid")["kernel"].astype(str) if "kernel" in series else studies
    own = nodules[nodules["segmenter"] == segmenter].copy()
    own["study"] = own["series_uid"].map(studies)
    own["kernel"] = own["series_uid"].map(kernels)
    pairs = [
        pair for _, group in own[own["study"].notna() & (own["study"] != "")].groupby("study") for pair in _pairs(group)
    ]
    if not pairs:
        raise DatasetError("no nodule was found in two series of one study; kernels are compared within a study")
    wanted = _of_region(features, region, radius_mm)
    own_rows = wanted[wanted["segmenter"] == segmenter].to_dict("records")
    by_nodule = {(str(row["series_uid"]), str(row["nodule_id"])): row for row in own_rows}
    rows = []
    for first, second in pairs:
        if first in by_nodule and second in by_nodule:
            for name, key in (("first", first), ("second", second)):
                whose: dict[Hashable, Any] = {"series_uid": first[0], "nodule_id": first[1], PERTURBATION: name}
                rows.append(by_nodule[key] | whose)
    if not rows:
        raise DatasetError(f"no pair of nodules has features of the region {region} {radius_mm:g} mm in both series")
    return pd.DataFrame(rows)


def _of_region(features: pd.DataFrame, region: str, radius_mm: float) -> pd.DataFrame:
    kept = features[(features["region"] == region) & np.isclose(features["radius_mm"], radius_mm)]
    return kept.drop(columns=[name for name in ("codes", DICE) if name in kept])


def _pairs(group: pd.DataFrame) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Nodules (series, nodule) of a study's first series, each with the same nodule in its second."""
    order = group.sort_values(["kernel", "series_uid"])["series_uid"].drop_duplicates().tolist()
    if len(order) < 2:
        return []
    one, two = (group[group["series_uid"] == name] for name in order[:2])
    apart_mm = np.linalg.norm(_centres(one)[:, None] - _centres(two)[None], axis=2)
    radii_mm = [np.cbrt(3 * table["volume_mm3"].to_numpy(dtype=np.float64) / (4 * np.pi)) for table in (one, two)]
    close = apart_mm < np.minimum(radii_mm[0][:, None], radii_mm[1][None])
    found = []
    for i, j in zip(*np.nonzero(close), strict=True):
        if apart_mm[i].argmin() == j and apart_mm[:, j].argmin() == i:
            keys = [(str(row["series_uid"]), str(row["nodule_id"])) for row in (one.iloc[int(i)], two.iloc[int(j)])]
            found.append((keys[0], keys[1]))
    return found


def _centres(table: pd.DataFrame) -> NDArray[np.float64]:
    return np.asarray(table[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype=np.float64))
