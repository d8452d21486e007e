"""The labelled nodules of one data set, their folds, and their features laid out beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungpipe.errors import DatasetError
from lungpipe.learn.design import Design, check_apart, split_fold
from lungpipe.learn.feature_sets import ALL
from lungpipe.learn.folds import Fold, check_cohort, check_labels, grouped_folds

IDENTITY = ("patient_id", "series_uid", "nodule_id")
#: What orders the rows where the table has it: the scan's content and the nodule's place, but no pseudonym, so that the
#: same data give the same folds under every key.
ORDER = ("source_sha256", "z_mm", "y_mm", "x_mm")
#: The data set's own split of its nodules, and the fingerprint of a scan's HU.
SPLIT, VOXELS = "split", "voxels_sha256"
KEYS = ("dataset", *IDENTITY, "segmenter", "region", "radius_mm")
MEASURES = (
    "inner_mm",
    "n_voxels",
    "volume_mm3",
    "clipped_fraction",
    "clipped_edge",
    "clipped_neighbour",
    "clipped_vessel",
    "clipped_wall",
    "volume_error",
)


def labelled_cohort(
    nodules: pd.DataFrame,
    *,
    dataset: str,
    label: str = "malignant",
    group: str = "patient_id",
    outer_folds: int = 5,
    inner_folds: int = 3,
    repeats: int = 1,
    seed: int = 7,
    design: Design = "cross-validation",
) -> Cohort:
    """Take the labelled nodules from a table, check that they can be cross-validated, and deal the folds once.

    A nodule may stand in several rows, one a segmenter. Nodules without a label are set aside.

    Parameters
    ----------
    nodules : DataFrame
        With ``patient_id``, ``nodule_id``, the label and the group column; ``series_uid`` if there is one, and
        ``dataset``, by which it is then narrowed.
    dataset : str
        Name of the data set.
    label : str
        Column of 0 (benign) and 1 (malignant).
    group : str
        Column that no fold may split.
    outer_folds, inner_folds, repeats, seed : int
        As in ``[benchmark]`` of a recipe.
    design : {"cross-validation", "split"}
        Folds dealt anew, or the one that the data set's own column ``split`` gives.

    Returns
    -------
    Cohort
        One row a nodule, in the order of its scan's content and its place (:data:`ORDER`), else of its ids.

    Raises
    ------
    DatasetError
        If a column is missing, a nodule has two labels, the cohort cannot be cross-validated, or a patient or an image is
        on both sides of a fold.
    """
    table, identity = _labelled(nodules, dataset, label, group)
    if design == "split":
        check_labels(table[label], table[group])
    else:
        check_cohort(table[label], table[group], outer_folds, inner_folds)
    labels, groups = _sides(table, label, group)
    if design == "split":
        folds = [split_fold(table.get(SPLIT), labels)]
    else:
        folds = grouped_folds(labels, groups, outer_folds, seed, repeats)
    check_apart(folds, table["patient_id"], table.get(VOXELS))
    return Cohort(dataset, table[identity], labels, groups, tuple(folds))


def outside_cohort(
    nodules: pd.DataFrame, *, dataset: str, label: str = "malignant", group: str = "patient_id"
) -> Cohort:
    """Take the labelled nodules from a table, all of them in the test part of one fold that trains on nothing.

    Parameters
    ----------
    nodules : DataFrame
        As for :func:`labelled_cohort`.
    dataset, label, group : str

    Raises
    ------
    DatasetError
        If a column is missing, a nodule has two labels, or one class is missing.
    """
    table, identity = _labelled(nodules, dataset, label, group)
    check_labels(table[label], table[group])
    labels, groups = _sides(table, label, group)
    rows = np.arange(len(labels))
    return Cohort(dataset, table[identity], labels, groups, (Fold(0, 0, rows[:0], rows),))


def _labelled(nodules: pd.DataFrame, dataset: str, label: str, group: str) -> tuple[pd.DataFrame, list[str]]:
    """One row a labelled nodule, in order, and the columns that tell it from others."""
    required = {"patient_id", "nodule_id", label, group}
    if missing := sorted(required - set(nodules.columns)):
        raise DatasetError(
            f"The table of nodules has no column {', '.join(missing)}; it has {', '.join(map(str, nodules.columns))}."
        )
    table = nodules[nodules["dataset"] == dataset] if "dataset" in nodules else nodules
    identity = [name for name in IDENTITY if name in table]
    held = [*(name for name in ORDER if name in table), *(name for name in (SPLIT, VOXELS) if name in table)]
    places = table.groupby(identity)[held].min()
    table = table[list(dict.fromkeys([*identity, label, group]))].dropna(subset=[label]).drop_duplicates()
    if twice := int(table.duplicated(identity).sum()):
        raise DatasetError(f"{twice} nodules have more than one {label} or {group}; a nodule needs one of each.")
    order = [name for name in ORDER if name in places]
    return table.join(places, on=identity).sort_values([*order, *identity]).reset_index(drop=True), identity


def _sides(table: pd.DataFrame, label: str, group: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Labels, and a number for each patient in the order of the rows."""
    labels = table[label].to_numpy(dtype=np.int64)
    return labels, np.char.zfill(pd.factorize(table[group])[0].astype(str), 9)


def feature_matrices(
    features: pd.DataFrame, cohort: Cohort, columns: Sequence[str] | None = None
) -> dict[RegionKey, NDArray[np.float64]]:
    """Lay out the feature table as one matrix a segmenter and region, its rows those of the cohort.

    Parameters
    ----------
    features : DataFrame
        With the key columns of ``features.parquet``.
    cohort : Cohort
        The rows wanted.
    columns : sequence of str, optional
        Feature columns; by default every numeric column that is neither a key nor a measure of the region.

    Returns
    -------
    dict of RegionKey to NDArray of float, shape (n, p)
        Sorted by key. A nodule that the region lacks is a row of NaN.

    Raises
    ------
    DatasetError
        If there are no feature columns, or a nodule has two rows for one region.
    """
    table = features[features["dataset"] == cohort.dataset] if "dataset" in features else features
    names = list(columns) if columns is not None else feature_columns(table)
    if not names:
        raise DatasetError("The feature table has no numeric feature columns.")
    identity = [name for name in cohort.identity.columns if name in table]
    wanted = pd.MultiIndex.from_frame(cohort.identity[identity])
    matrices = {}
    for found, rows in table.groupby(list(RegionKey._fields), sort=True):
        segmenter, region, radius_mm = cast("tuple[str, str, float]", found)
        key = RegionKey(str(segmenter), str(region), float(radius_mm))
        indexed = rows.set_index(identity)[names]
        if indexed.index.has_duplicates:
            raise DatasetError(
                f"{int(indexed.index.duplicated().sum())} nodules have more than one row for {key.segmenter}, "
                f"{key.region} {key.radius_mm:g} mm in the feature table; keep one each."
            )
        matrices[key] = indexed.reindex(wanted).to_numpy(dtype=np.float64, na_value=np.nan)
    return matrices


def feature_columns(features: pd.DataFrame) -> list[str]:
    """Return the numeric columns that are neither keys nor measures of the region.

    Parameters
    ----------
    features : DataFrame
        With the columns of ``features.parquet``.

    Returns
    -------
    list of str
        In the order of the table.
    """
    return [str(name) for name in features.select_dtypes("number").columns if name not in {*KEYS, *MEASURES}]


def known_columns(features: pd.DataFrame) -> list[str]:
    """Feature columns that have a value in some row: what an embedder's rows lack is no feature of theirs, nor theirs of others.

    Parameters
    ----------
    features : DataFrame
        Rows of one region.
    """
    return [name for name in feature_columns(features) if features[name].notna().any()]


class RegionKey(NamedTuple):
    """A segmenter and a region round its nodules."""

    segmenter: str
    region: str
    radius_mm: float


class ConfigurationKey(NamedTuple):
    """A segmenter, a region, a classifier and a set of features: one configuration of the benchmark."""

    segmenter: str
    region: str
    radius_mm: float
    classifier: str
    feature_set: str = ALL


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The rows that every configuration shares.

    Parameters
    ----------
    dataset : str
        Name of the data set.
    identity : DataFrame, n rows
        ``patient_id``, ``nodule_id`` and, if known, ``series_uid``.
    labels : NDArray of int, shape (n,)
        1 malignant, 0 benign.
    groups : NDArray of str, shape (n,)
        What no fold splits: a number for each patient, in the order of the rows.
    folds : tuple of Fold
        Outer folds over the rows.
    """

    dataset: str
    identity: pd.DataFrame
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    folds: tuple[Fold, ...]

    @property
    def n_models(self) -> int:
        """Models that share out the rows in one repeat: the folds of it."""
        return len({fold.number for fold in self.folds})
