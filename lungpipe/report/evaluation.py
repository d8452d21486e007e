"""What the page says of the choice made inside the training folds: figures, calibration, gain, subgroups and power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lungpipe.learn.baselines import MEANING
from lungpipe.learn.calibration import calibration_curve, expected_calibration_error, recalibrate
from lungpipe.learn.cohort import IDENTITY, feature_columns
from lungpipe.learn.decision import decision_curve
from lungpipe.learn.figures import figure_table
from lungpipe.learn.power import cohort_power
from lungpipe.learn.subgroups import SMALLEST, subgroup_table
from lungpipe.report.evaluation_figures import calibration_picture, decision_picture, forest_picture
from lungpipe.report.html import csv_uri, data_uri
from lungpipe.store.schemas import BASELINE, CHOSEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Draws of the intervals over patients.
DRAWS = 1000
#: Names of figures for people.
FIGURES = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "sensitivity_at_90_specificity": "Sensitivity at 90 % specificity",
    "sensitivity_at_95_specificity": "Sensitivity at 95 % specificity",
    "specificity_at_90_sensitivity": "Specificity at 90 % sensitivity",
    "specificity_at_95_sensitivity": "Specificity at 95 % sensitivity",
    "balanced_accuracy": "Balanced accuracy at p >= 0.5",
}
#: What nodules are divided by: a column of nodules or series, and its heading.
SUBGROUPS = {
    "size_class": "size class (Lung-RADS)",
    "manufacturer": "manufacturer",
    "kernel": "kernel",
    "thickness": "slice thickness",
}
_THICKNESS_MM = (0.0, 1.0, 1.5, 2.5, np.inf)


class Chosen(NamedTuple):
    """Predictions of the choice made inside the training folds, a column a nodule.

    ``p`` has shape (n_repeats, n).
    """

    rows: pd.DataFrame
    labels: NDArray[np.int64]
    patients: NDArray[Any]
    p: NDArray[np.float64]


def evaluation_content(
    scores: pd.DataFrame | None,
    predictions: pd.DataFrame | None,
    nodules: pd.DataFrame,
    series: pd.DataFrame,
    features: pd.DataFrame | None,
    *,
    simulated: bool,
    dataset: str | None = None,
) -> dict[str, Any] | None:
    """Collect what the section on the evaluation shows of one data set.

    Parameters
    ----------
    scores, predictions, nodules, series, features : DataFrame or None
        Tables of the workspace.
    simulated : bool
        Says "simulated intensities" in the figures.
    dataset : str, optional
        By default the first.

    Returns
    -------
    dict or None
        None where no choice could be made or its nodules are of one class.
    """
    if scores is None or predictions is None or not len(predictions):
        return None
    dataset = dataset or str(scores["dataset"].iloc[0])
    chosen = chosen_of(predictions, dataset)
    if chosen is None:
        return None
    y, p, patients = chosen.labels, chosen.p, chosen.patients
    n_features = len(feature_columns(features)) if features is not None and len(features) else 1
    figures = _figures(chosen)
    return {
        "dataset": dataset,
        "figures": figures,
        "figures_csv": csv_uri(pd.DataFrame(figures, columns=["figure", "value", "low", "high"])),
        "calibration": _calibration(chosen, simulated=simulated),
        "decision": _decision(chosen, simulated=simulated),
        "subgroups": _subgroups(chosen, nodules, series, simulated=simulated),
        "smallest": SMALLEST,
        "power": cohort_power(y, patients, n_features=n_features),
        "n_features": n_features,
        "n": p.shape[1],
    }


def chosen_of(predictions: pd.DataFrame, dataset: str) -> Chosen | None:
    """Lay out the predictions of the choice made inside; None where there are none, or of one class only."""
    own = predictions[(predictions["segmenter"] == CHOSEN) & (predictions["dataset"] == dataset)]
    if own["y"].nunique() < 2:
        return None
    identity = [name for name in IDENTITY if name in own]
    table = own.pivot_table(index=identity, columns="repeat", values="p").dropna()
    labels = own.groupby(identity)["y"].first().reindex(table.index).to_numpy(dtype=np.int64)
    rows = table.index.to_frame(index=False)
    return Chosen(rows, labels, rows["patient_id"].to_numpy(), table.to_numpy(dtype=np.float64).T)


def baselines(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of one data set that the choice is held against, with what each leaves, the highest AUC first.

    Parameters
    ----------
    scores : DataFrame
        Table of scores of one data set.
    """
    rows = scores[(scores["selection"] == BASELINE) & scores["auc"].notna()]
    return [
        {str(key): value for key, value in row.items()} | {"meaning": MEANING[row["region"]]}
        for row in rows.sort_values("auc", ascending=False, kind="stable").to_dict("records")
    ]


def _figures(chosen: Chosen) -> list[tuple[str, float, float, float]]:
    table = figure_table(chosen.labels, chosen.p, chosen.patients, draws=DRAWS).set_index("figure")
    found = table[["value", "low", "high"]].astype(float).T.to_dict("list")
    return [(name, *found[key]) for key, name in FIGURES.items() if key in found]


def _calibration(chosen: Chosen, *, simulated: bool) -> dict[str, Any]:
    bins = max(2, min(10, len(chosen.labels) // 20))
    curve = calibration_curve(chosen.labels, chosen.p, chosen.patients, bins=bins)
    image = calibration_picture(curve, simulated=simulated)
    fit = recalibrate(chosen.labels, chosen.p, chosen.patients)
    said = "; ".join(f"predicted {row.predicted:.2f}, observed {row.observed:.2f}" for row in curve.itertuples())
    return {
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"Share of malignant nodules against the mean prediction, by bins of about equal size: {said}.",
        "csv": csv_uri(curve),
        "fit": fit,
        "ece": expected_calibration_error(chosen.labels, chosen.p),
    }


def _decision(chosen: Chosen, *, simulated: bool) -> dict[str, str]:
    curve = decision_curve(chosen.labels, chosen.p, chosen.patients)
    image = decision_picture(curve, simulated=simulated)
    where = better_at(curve)
    return {
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"Net benefit against the threshold; the model does better than acting on all or none at {where}.",
        "csv": csv_uri(curve),
        "where": where,
    }


def better_at(curve: pd.DataFrame) -> str:
    """Say at which thresholds a model does better than acting on all nodules and than acting on none.

    Parameters
    ----------
    curve : DataFrame
        Of :func:`lungpipe.learn.decision.decision_curve`.
    """
    better = (curve["model"] > np.maximum(curve["treat_all"], 0)).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], better, [False]])))
    threshold = curve["threshold"].to_numpy()
    runs = [(threshold[start], threshold[stop - 1]) for start, stop in edges.reshape(-1, 2)]
    said = [f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}" for low, high in runs]
    return f"thresholds of {', '.join(said)}" if said else "no threshold"


def _subgroups(
    chosen: Chosen, nodules: pd.DataFrame, series: pd.DataFrame, *, simulated: bool
) -> dict[str, Any] | None:
    """Figures by subgroup, small ones masked; None where no column divides the nodules."""
    values = _values(chosen.rows, nodules, series)
    tables = []
    for column, heading in SUBGROUPS.items():
        if column in values and values[column].nunique() > 1:
            table = subgroup_table(chosen.labels, chosen.p, chosen.patients, values[column], hide_counts=True)
            tables.append(table.assign(by=heading))
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    drawn = table[table["auc"].notna()]
    if drawn.empty:
        return {"rows": table.to_dict("records"), "src": "", "alt": "", "csv": csv_uri(table)}
    image = forest_picture(drawn, simulated=simulated)
    said = "; ".join(f"{row.by} {row.value}: {row.auc:.2f}" for row in drawn.itertuples())
    return {
        "rows": table.to_dict("records"),
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"AUC by subgroup with 95 % intervals: {said}.",
        "csv": csv_uri(table),
    }


def _values(rows: pd.DataFrame, nodules: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """What divides the nodules, a row each; empty text counts as missing."""
    identity = [name for name in IDENTITY if name in rows and name in nodules]
    once = nodules.drop_duplicates(identity).set_index(identity)
    keys = pd.MultiIndex.from_frame(rows[identity])
    if "series_uid" not in rows:
        rows = rows.assign(series_uid="")
    scans = series.drop_duplicates("series_uid").set_index("series_uid").reindex(rows["series_uid"])
    found: dict[str, Any] = {}
    if "size_class" in once:
        found["size_class"] = once["size_class"].reindex(keys).to_numpy()
    for column in ("manufacturer", "kernel"):
        if column in scans:
            found[column] = scans[column].astype(object).replace("", None).to_numpy()
    thickness = "slice_thickness_mm" if "slice_thickness_mm" in scans else "spacing_z_mm"
    if thickness in scans:
        values = pd.to_numeric(scans[thickness]).to_numpy(dtype=np.float64)
        labels = ["up to 1 mm", "1 to 1.5 mm", "1.5 to 2.5 mm", "above 2.5 mm"]
        found["thickness"] = pd.cut(values, _THICKNESS_MM, labels=labels)
    return pd.DataFrame(found)
