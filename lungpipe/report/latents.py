"""What the page says of an autoencoder's latents: groups of nodules, what each latent shows, and whose scans it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from lungpipe.deep.header import seen
from lungpipe.deep.vae.clusters import clusters_of
from lungpipe.deep.vae.header import in_words, read_header
from lungpipe.embedding import PREFIX
from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.learn.cohort import IDENTITY
from lungpipe.learn.proportion import clustered_proportion
from lungpipe.report.html import csv_uri, data_uri
from lungpipe.report.latents_figures import plane_picture, traversal_picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

#: Latents whose traversal is drawn.
TOP_LATENTS = 6


@dataclass(frozen=True, eq=False, slots=True)
class Traversed:
    """What a file of weights shows of its latents.

    Parameters
    ----------
    region : str
        Name of the embedder in the table of features.
    about : mapping
        Header of the file.
    numbers : tuple of int
        Latents that are drawn, from 0, the most telling first.
    images : tuple of ndarray of float32, shape (steps, y, x)
        HU along each; empty where ``why`` says why.
    why : str
        Why there are no images.
    """

    region: str
    about: Mapping[str, Any]
    numbers: tuple[int, ...] = ()
    images: tuple[NDArray[np.float32], ...] = ()
    why: str = ""


def traversed(weights: Mapping[str, str]) -> tuple[Traversed, ...]:
    """Decode along the latents that tell most.

    Parameters
    ----------
    weights : mapping of str to str
        File of weights by the embedder's name in the recipe.

    Raises
    ------
    DatasetError
        If a file is no autoencoder.
    """
    return tuple(_traversed(name, Path(path).expanduser()) for name, path in weights.items())


def _traversed(region: str, path: Path) -> Traversed:
    about = read_header(path)
    order = np.argsort(-np.asarray(about["latents"]["information"]), kind="stable")[:TOP_LATENTS]
    numbers = tuple(int(number) for number in order)
    try:
        from lungpipe.deep.extra import needed
        from lungpipe.segment.outside.identity import weights_digest

        loaded = needed("lungpipe.deep.vae.loaded", "deep").autoencoder(str(path), weights_digest([path]))
    except LungpipeError as error:
        return Traversed(region, about, numbers, (), str(error))
    return Traversed(region, about, numbers, tuple(loaded.traversal(number)[0] for number in numbers))


def latents_content(
    shown: Sequence[Traversed], features: pd.DataFrame | None, nodules: pd.DataFrame, *, simulated: bool
) -> list[dict[str, Any]]:
    """Collect what the section shows, one item an autoencoder.

    Parameters
    ----------
    shown : sequence of Traversed
    features : DataFrame or None
        Rows of one segmenter.
    nodules : DataFrame
        Table of nodules.
    simulated : bool
        Says "simulated intensities" in the figures.
    """
    return [_one(one, features, nodules, simulated=simulated) for one in shown]


def _one(one: Traversed, features: pd.DataFrame | None, nodules: pd.DataFrame, *, simulated: bool) -> dict[str, Any]:
    count, scans = seen(one.about, nodules["voxels_sha256"].dropna().astype(str))
    table, columns = _embedded(one.region, features, nodules)
    return {
        "region": one.region,
        "kind": one.about["parameters"]["kind"],
        "latents": one.about["parameters"]["latent"],
        "sees": _sees(one.about["sight"]),
        "trained_on": in_words(one.about),
        "seen": count,
        "scans": scans,
        "clusters": _clusters(table, columns, simulated=simulated),
        "traversal": _traversal(one, table, columns, simulated=simulated),
        "why": one.why,
    }


def _sees(sight: Mapping[str, Any]) -> str:
    side_mm = sight["voxels"] * sight["spacing_mm"]
    what = "axial slices" if sight["dims"] == 2 else "cubes"
    return f"{what} of {sight['voxels']} voxels and {side_mm:g} mm a side"


def _embedded(
    region: str, features: pd.DataFrame | None, nodules: pd.DataFrame
) -> tuple[pd.DataFrame | None, list[str]]:
    """Latents of the nodules with their labels, and the latents' columns."""
    if features is None or not len(features) or "region" not in features:
        return None, []
    rows = features[features["region"] == region]
    columns = [str(name) for name in rows.columns if str(name).startswith(PREFIX) and rows[name].notna().any()]
    rows = rows.dropna(subset=columns)
    if not columns or rows.empty:
        return None, []
    known = nodules.drop_duplicates(list(IDENTITY)).set_index(list(IDENTITY))["malignant"]
    return rows[[*IDENTITY, *columns]].join(known, on=list(IDENTITY)).reset_index(drop=True), columns


def _clusters(table: pd.DataFrame | None, columns: list[str], *, simulated: bool) -> dict[str, Any] | None:
    if table is None:
        return None
    try:
        found = clusters_of(table[columns].to_numpy(dtype=np.float64))
    except DatasetError as error:
        return {"why": str(error)}
    labels = table["malignant"].to_numpy(dtype=np.float64, na_value=np.nan)
    image = plane_picture(found.plane, found.group, labels, found.explained, simulated=simulated)
    kept = table[list(IDENTITY)].assign(
        malignant=table["malignant"], group=found.group + 1, first=found.plane[:, 0], second=found.plane[:, 1]
    )
    return {
        "why": "",
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"{len(table)} nodules in the plane of the first two principal components, in {found.count} groups.",
        "n": len(table),
        "count": found.count,
        "bic": [f"{k}: {value:.0f}" for k, value in enumerate(found.bic, 1)],
        "rows": [
            _group(number, labels[found.group == number], table["patient_id"][found.group == number])
            for number in range(found.count)
        ],
        "csv": csv_uri(kept),
    }


def _group(number: int, labels: NDArray[np.float64], patients: pd.Series[str]) -> dict[str, Any]:
    known = ~np.isnan(labels)
    share = clustered_proportion(labels[known], patients.to_numpy()[known])
    return {"group": number + 1, "n": len(labels), "labelled": int(known.sum()), "patients": int(patients.nunique())} | {
        "malignant": share.value, "low": share.low, "high": share.high
    }  # fmt: skip


def _traversal(
    one: Traversed, table: pd.DataFrame | None, columns: list[str], *, simulated: bool
) -> dict[str, Any] | None:
    if not one.images:
        return None
    information = one.about["latents"]["information"]
    rows = [
        {"column": f"{PREFIX}{number + 1:04d}", "information": information[number], "auc": _auc(table, columns, number)}
        for number in one.numbers
    ]
    low, high = one.about["sight"]["window_hu"]
    image = traversal_picture(one.images, [row["column"] for row in rows], (low, high), simulated=simulated)
    told = "; ".join(f"{row['column']}, {row['information']:.1f} nats" for row in rows)
    return {
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"Images that the decoder makes along the latents that tell most: {told}.",
        "rows": rows,
    }


def _auc(table: pd.DataFrame | None, columns: list[str], number: int) -> float:
    """AUC of one latent alone for the label, of all nodules; NaN where it cannot be told. Nothing is learned for it."""
    if table is None or number >= len(columns):
        return float("nan")
    labels = table["malignant"].to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(labels)
    positive = labels[known] == 1
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    ranks = rankdata(table[columns[number]].to_numpy(dtype=np.float64)[known])
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
