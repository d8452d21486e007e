"""What a nodule's surroundings say of its malignancy, one structure at a time: means, odds ratios, tests and AUC.

Tests and odds ratios count every nodule once, as the studies do that such tables are compared with; several nodules of one
patient make them too sure. The intervals of the AUC allow for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from lungpipe.errors import DatasetError
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.odds import (
    OddsRatio,
    compare_two_by_two,
    odds_ratio_per_deviation,
    table_odds_ratio,
    two_by_two,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PREFIX = "surroundings_"
#: Structure, measure and column: in the order of the table. Nearer is more likely malignant, so distances count down.
MEASURES: tuple[tuple[str, Literal["distance", "count", "fraction"], str], ...] = (
    ("pleura", "distance", "surroundings_DistancePleura_mm"),
    ("airway", "distance", "surroundings_DistanceAirway_mm"),
    ("airway", "count", "surroundings_CountAirways"),
    ("airway", "fraction", "surroundings_FractionAirways"),
    ("vessel", "distance", "surroundings_DistanceVessel_mm"),
    ("vessel", "count", "surroundings_CountVessels"),
    ("vessel", "fraction", "surroundings_FractionVessels"),
    ("fissure", "distance", "surroundings_DistanceFissure_mm"),
    ("hilum", "distance", "surroundings_DistanceHilum_mm"),
)
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class StructureRow:
    """One measure of one structure under one segmenter.

    Parameters
    ----------
    segmenter, structure, measure : str
    n_benign, n_malignant, n_patients : int
        Nodules with a value, and their patients.
    n_missing : int
        Labelled nodules without a value.
    mean_benign, mean_malignant : float
        In the measure's own unit: mm, count, or share of the lung in the ball.
    p_means : float
        Mann-Whitney U test, two-sided.
    odds_ratio, odds_low, odds_high : float
        Of malignancy: for counts, one or more against none; else for one standard deviation more.
    corrected : bool
        Whether one half was added to the cells of the 2 x 2 table.
    present_malignant, absent_malignant, present_benign, absent_benign : int
        The 2 x 2 table of a count; -1 for other measures.
    test : str
        ``"chi-square"`` or ``"Fisher"`` for counts, else empty.
    chi2, p_counts : float
        Of that test; NaN for other measures, and chi2 for Fisher's.
    auc, auc_low, auc_high : float
        Of the measure alone, with limits that allow for several nodules in a patient; above 0.5 where malignant nodules
        are nearer, or have more.
    """

    segmenter: str
    structure: str
    measure: str
    n_benign: int
    n_malignant: int
    n_patients: int
    n_missing: int
    mean_benign: float
    mean_malignant: float
    p_means: float
    odds_ratio: float
    odds_low: float
    odds_high: float
    corrected: bool
    present_malignant: int
    absent_malignant: int
    present_benign: int
    absent_benign: int
    test: str
    chi2: float
    p_counts: float
    auc: float
    auc_low: float
    auc_high: float


@dataclass(frozen=True, slots=True)
class StructureTable:
    """The rows, and how many nodules have no label (by segmenter)."""

    rows: tuple[StructureRow, ...]
    unlabelled: dict[str, int]


def structure_table(features: pd.DataFrame, nodules: pd.DataFrame, segmenter: str | None = None) -> StructureTable:
    """Hold the surroundings of labelled nodules against their labels.

    Parameters
    ----------
    features : DataFrame
        With the keys of ``features.parquet`` and the columns of the extractor ``surroundings``.
    nodules : DataFrame
        With the keys of ``nodules.parquet`` and ``malignant``.
    segmenter : str, optional
        Only this one; default: each.

    Raises
    ------
    DatasetError
        If there are no such features, no such segmenter, or no labelled nodules of both classes.
    """
    measures = [item for item in MEASURES if item[2] in features]
    if not measures:
        raise DatasetError(
            "the workspace has no features of surroundings; run its recipe with --set 'features.extractor=\"surroundings\"' "
            "--set 'regions.radii_mm=[0]', into a workspace of its own"
        )
    keys = ["dataset", "patient_id", "series_uid", "nodule_id", "segmenter"]
    table = features[features["region"] == "nodule"].merge(nodules[[*keys, "malignant"]], on=keys, how="left")
    names = sorted(table["segmenter"].astype(str).unique())
    if segmenter is not None and segmenter not in names:
        raise DatasetError(f"no nodule of the segmenter {segmenter!r} has features; there are {', '.join(names)}")
    rows: list[StructureRow] = []
    unlabelled: dict[str, int] = {}
    for name in names if segmenter is None else [segmenter]:
        mine = table[table["segmenter"] == name]
        labelled = mine[mine["malignant"].notna()]
        unlabelled[name] = len(mine) - len(labelled)
        labels = labelled["malignant"].to_numpy(dtype=np.int64)
        if len(np.unique(labels)) < 2:
            raise DatasetError(
                f"{name}: malignant and benign nodules are needed, found {int((labels == 1).sum())} and "
                f"{int((labels == 0).sum())} ({unlabelled[name]} without label); add labels to the annotations"
            )
        patients = labelled["patient_id"].astype(str).to_numpy()
        rows += [
            _row(name, structure, measure, labels, labelled[column].to_numpy(dtype=np.float64), patients)
            for structure, measure, column in measures
        ]
    return StructureTable(tuple(rows), unlabelled)


def _row(
    segmenter: str,
    structure: str,
    measure: Literal["distance", "count", "fraction"],
    labels: NDArray[np.int64],
    values: NDArray[np.float64],
    patients: NDArray[np.object_],
) -> StructureRow:
    known = np.isfinite(values)
    y, x, who = labels[known], values[known], patients[known]
    malignant, benign = x[y == 1], x[y == 0]
    both = bool(len(malignant) and len(benign))
    cells = np.array([[-1, -1], [-1, -1]])
    test, chi2, p_counts = "", _NAN, _NAN
    odds = OddsRatio(_NAN, _NAN, _NAN)
    if measure == "count":
        cells = two_by_two(y, x > 0)
        if both:
            odds = table_odds_ratio(cells)
            test, chi2, p_counts = compare_two_by_two(cells)
    elif both:
        odds = odds_ratio_per_deviation(y, x)
    area = auc_interval(y, -x if measure == "distance" else x, who) if both else None
    return StructureRow(
        segmenter=segmenter,
        structure=structure,
        measure=measure,
        n_benign=len(benign),
        n_malignant=len(malignant),
        n_patients=len(np.unique(who)),
        n_missing=int((~known).sum()),
        mean_benign=float(benign.mean()) if len(benign) else _NAN,
        mean_malignant=float(malignant.mean()) if len(malignant) else _NAN,
        p_means=float(stats.mannwhitneyu(malignant, benign).pvalue) if both else _NAN,
        odds_ratio=odds.value,
        odds_low=odds.low,
        odds_high=odds.high,
        corrected=odds.corrected,
        present_malignant=int(cells[0, 0]),
        absent_malignant=int(cells[0, 1]),
        present_benign=int(cells[1, 0]),
        absent_benign=int(cells[1, 1]),
        test=test,
        chi2=chi2,
        p_counts=p_counts,
        auc=area.auc if area else _NAN,
        auc_low=area.low if area else _NAN,
        auc_high=area.high if area else _NAN,
    )
