"""What one configuration or baseline is learned from: a matrix with a row a nodule, and what is fitted to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from lungpipe import plugins
from lungpipe.errors import DatasetError
from lungpipe.learn.baselines import CLINICAL, PLAIN, RATINGS, SIZES, shuffled_labels, size_matrix
from lungpipe.learn.clinical import STRENGTHS, ClinicalLogistic, clinical_rows, encoded, rating_columns, rating_rows
from lungpipe.learn.cohort import Cohort, ConfigurationKey, RegionKey, feature_matrices, known_columns
from lungpipe.learn.feature_sets import BUILT_IN, members
from lungpipe.learn.models import Logistic
from lungpipe.learn.preparation import AS_IS
from lungpipe.learn.stable_step import copies_of, read_copies
from lungpipe.learn.table_cache import features_of, nodules_of
from lungpipe.store.schemas import BASELINE, REGIONS
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.learn.evaluation import Evaluation
    from lungpipe.learn.models import Classifier
    from lungpipe.learn.preparation import Preparation
    from lungpipe.store.place import Place

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is fitted to what.

    Parameters
    ----------
    matrix : ndarray, shape (n, p)
        A row each nodule of the sides, one side after another; NaN where it is missing.
    columns : tuple of str
        Names of the p columns.
    labels : ndarray of int, shape (n,)
    classifier : Classifier
    preparation : Preparation
    batch : ndarray of int, shape (n,), or None
        For a preparation that harmonises.
    """

    matrix: Floats
    columns: tuple[str, ...]
    labels: NDArray[np.int64]
    classifier: Classifier
    preparation: Preparation
    batch: NDArray[Any] | None = None


def asked(sides: Sequence[tuple[Place, Cohort]], key: ConfigurationKey, evaluation: Evaluation) -> Asked:
    """Read what a configuration or baseline is learned from.

    Parameters
    ----------
    sides : sequence of (Place, Cohort)
        The workspace that teaches, with its nodules, and those that only test. Columns are those of the first.
    key : ConfigurationKey
    evaluation : Evaluation

    Raises
    ------
    DatasetError
        If a table is missing, or a side lacks a column.
    """
    labels = np.concatenate([cohort.labels for _, cohort in sides])
    if key.segmenter == BASELINE and key.region in SIZES:
        parts = [size_matrix(_of(nodules_of(place), cohort), cohort, key.region) for place, cohort in sides]
        return Asked(np.vstack(parts), (SIZES[key.region],), labels, PLAIN, AS_IS)
    own = sides[0][1]
    if key.segmenter == BASELINE and key.region in (CLINICAL, RATINGS):
        matrix, columns, classifier = _known(sides, key.region, evaluation.clinical)
        return Asked(matrix, columns, labels, classifier, AS_IS)
    if key.segmenter == BASELINE:
        labels[: len(own.labels)] = shuffled_labels(own, evaluation.seed)
    region: RegionKey | None = None
    names: list[str] = []
    found: list[Floats] = []
    for place, cohort in sides:
        features = _of(features_of(place), cohort)
        region = region or (_first_region(features) if key.segmenter == BASELINE else RegionKey(*key[:3]))
        features = features[
            (features["segmenter"] == region.segmenter)
            & (features["region"] == region.region)
            & (features["radius_mm"] == region.radius_mm)
        ]
        names = names or _names(known_columns(features), key.feature_set, evaluation)
        if missing := [name for name in names if name not in features]:
            raise DatasetError(
                f"{place}: tables/features.parquet lacks {len(missing)} columns that the benchmark learns from: "
                f"{', '.join(missing[:5])}. Extract them there with the same recipe"
            )
        nothing = np.full((len(cohort.labels), len(names)), np.nan)
        found.append(feature_matrices(features, cohort, names).get(region, nothing))
    harmonised = evaluation.preparation.harmonise
    batch = pd.factorize(np.concatenate([_batches(*side, evaluation.harmonise) for side in sides]))[0]
    preparation = evaluation.preparation
    if evaluation.stability:
        # People of other workspaces teach nothing, whatever they are called.
        people = [f"{k} {name}" if k else name for k, (_, c) in enumerate(sides) for name in c.identity["patient_id"]]
        copies = copies_of(read_copies(Path(evaluation.stability)), names, people, evaluation.min_icc)
        preparation = replace(preparation, copies=copies, columns=tuple(names))
    return Asked(
        np.vstack(found),
        tuple(names),
        labels,
        plugins.find("classifiers", key.classifier)(),
        preparation,
        batch if harmonised else None,
    )


def _known(
    sides: Sequence[tuple[Place, Cohort]], name: str, clinical: Sequence[str]
) -> tuple[Floats, tuple[str, ...], Classifier]:
    """Matrix, columns and classifier of what is known without features."""
    tables = [(_of(nodules_of(place), cohort), cohort) for place, cohort in sides]
    if name == CLINICAL:
        frames = [clinical_rows(nodules, cohort, clinical) for nodules, cohort in tables]
        matrix, categories = encoded(frames)
        return matrix, tuple(map(str, frames[0].columns)), ClinicalLogistic(categories)
    columns = rating_columns(tables[0][0])
    matrix = np.vstack([rating_rows(nodules, cohort, columns) for nodules, cohort in tables])
    return matrix, tuple(columns), Logistic(STRENGTHS)


def _names(columns: list[str], feature_set: str, evaluation: Evaluation) -> list[str]:
    """Columns of a set of features."""
    patterns = dict(evaluation.feature_sets).get(feature_set, BUILT_IN.get(feature_set, ()))
    found = members(patterns, columns)
    if not found:
        raise DatasetError(
            f"benchmark.feature_sets: no feature is in the set {feature_set!r} ({', '.join(patterns) or 'no pattern'}); the "
            f"features begin with {', '.join(columns[:3])}"
        )
    return found


def sets_of_regions(features: pd.DataFrame, evaluation: Evaluation) -> dict[RegionKey, list[str]]:
    """Names of the sets of features that each region has a feature of; embeddings and radiomics share none but ``all``.

    A set that no region has is each region's, so that evaluating it says what is wrong with it.

    Parameters
    ----------
    features : DataFrame
        Table of features.
    evaluation : Evaluation
    """
    columns = {}
    for found, rows in features.groupby([*RegionKey._fields], sort=True):
        segmenter, region, radius_mm = cast("tuple[str, str, float]", found)
        columns[RegionKey(str(segmenter), str(region), float(radius_mm))] = known_columns(rows)
    held = {
        name: {key for key, own in columns.items() if members(patterns, own)}
        for name, patterns in evaluation.feature_sets
    }
    return {key: [name for name, regions in held.items() if key in regions or not regions] for key in columns}


def _of(table: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    return table[table["dataset"] == cohort.dataset] if "dataset" in table else table


def _first_region(features: pd.DataFrame) -> RegionKey:
    """The region that labels dealt anew are learned from: the smallest radius of the first segmenter."""
    rows = features[["segmenter", "region", "radius_mm"]].drop_duplicates()
    rows = rows[rows["region"].isin(REGIONS)].sort_values(["radius_mm", "segmenter", "region"])
    return RegionKey(str(rows["segmenter"].iloc[0]), str(rows["region"].iloc[0]), float(rows["radius_mm"].iloc[0]))


def _batches(place: Place, cohort: Cohort, column: str) -> NDArray[Any]:
    """Batch of each row by name; empty where nothing is harmonised or the series has none."""
    if not column:
        return np.full(len(cohort.labels), "", dtype=object)
    series = read_table(place, "tables/series.parquet").set_index("series_uid")[column].astype(str)
    names = series.groupby(level=0).first().reindex(cohort.identity["series_uid"])
    return np.asarray(names.fillna("").to_numpy(dtype=object))
