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
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.power import cohort_power
from lungpipe.learn.subgroups import SMALLEST, subgroup_table
from lungpipe.report.evaluation_figures import calibration_picture, decision_picture, forest_picture
from lungpipe.report.html import csv_uri, data_uri
from lungpipe.store.schemas import BASELINE, CHOSEN

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    "sex": "sex",
    "age": "age (years)",
    "size_class": "size class (Lung-RADS)",
    "nodule_type": "nodule type",
    "manufacturer": "manufacturer",
    "kernel": "kernel",
    "thickness": "slice thickness",
}
_THICKNESS_MM = (0.0, 1.0, 1.5, 2.5, np.inf)
#: Heading of the table's rows that hold this data set against those of external validation.
_DATA_SET = "data set"
_AGE_YEARS = {"below 55": 55, "55 to 64": 65, "65 to 74": 75, "75 and above": np.inf}
#: Clinical columns that say sex, and the type of a nodule, by the names that they may have.
_SEX = ("clinical_sex", "clinical_gender")
_TYPE = ("clinical_nodule_type", "clinical_type", "clinical_solidity", "clinical_texture", "clinical_attenuation")
#: Upper limits of the mean rating of texture, from 1 (ground glass) through 3 (part-solid) to 5 (solid).
_TEXTURE = {"ground glass": 2.0, "part-solid": 4.0, "solid": np.inf}


class Chosen(NamedTuple):
    """Predictions of the choice made inside the training folds, a column a nodule.

    ``p`` has shape (n_repeats, n), and ``n_models`` is the number of folds in a repeat.
    """

    dataset: str
    rows: pd.DataFrame
    labels: NDArray[np.int64]
    patients: NDArray[Any]
    p: NDArray[np.float64]
    n_models: int


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
    abroad = _abroad(scores, predictions) if dataset == str(scores["dataset"].iloc[0]) else {}
    n_features = len(feature_columns(features)) if features is not None and len(features) else 1
    figures = _figures(chosen)
    return {
        "dataset": dataset,
        "figures": figures,
        "figures_csv": csv_uri(pd.DataFrame(figures, columns=["figure", "value", "low", "high"])),
        "calibration": _calibration(chosen, simulated=simulated),
        "decision": _decision(chosen, simulated=simulated),
        "subgroups": _subgroups(chosen, nodules, series, abroad, simulated=simulated),
        "smallest": SMALLEST,
        "power": cohort_power(y, patients, n_features=n_features, n_models=chosen.n_models),
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
    n_models = own["fold"].nunique() if "fold" in own else 1
    p = table.to_numpy(dtype=np.float64).T
    return Chosen(dataset, rows, labels, rows["patient_id"].to_numpy(), p, n_models)


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
    y, p, patients = chosen.labels, chosen.p, chosen.patients
    table = figure_table(y, p, patients, draws=DRAWS, n_models=chosen.n_models).set_index("figure")
    found = table[["value", "low", "high"]].astype(float).T.to_dict("list")
    headline = auc_interval(y, p, patients, n_models=chosen.n_models)
    found["auc"] = [headline.auc, headline.low, headline.high]  # one AUC has one interval on the whole page
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


def _abroad(scores: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, Chosen]:
    """Predictions of the same choice on each data set that it was tested on besides."""
    if "trained_on" not in scores:
        return {}
    outside = scores.loc[scores["trained_on"] != scores["dataset"], "dataset"].drop_duplicates()
    found = {str(name): chosen_of(predictions, str(name)) for name in outside}
    return {name: chosen for name, chosen in found.items() if chosen is not None}


def _by_data_set(home: Chosen, name: str, abroad: Mapping[str, Chosen]) -> pd.DataFrame:
    """Figures of the data set that taught, by cross-validation, and of those it was tested on."""
    sides = {name: home, **abroad}
    repeats = len(home.p)
    p = np.hstack([one.p if one is home else np.repeat(one.p[:1], repeats, axis=0) for one in sides.values()])
    patients = np.concatenate([[f"{k} {patient}" for patient in one.patients] for k, one in enumerate(sides.values())])
    names = np.repeat(list(sides), [len(one.labels) for one in sides.values()])
    values = pd.Series(pd.Categorical(names, categories=list(sides), ordered=True))
    labels = np.concatenate([one.labels for one in sides.values()])
    table = subgroup_table(labels, p, patients, values, hide_counts=True, n_models=home.n_models)
    # One model gave the figures of another data set; a gap between it and the rest has folds on one of its sides.
    single = subgroup_table(labels, p, patients, values, hide_counts=True)
    elsewhere = (table["value"] != name).to_numpy()
    for column in ("auc_low", "auc_high"):
        table[column] = np.where(elsewhere, single[column], table[column])
    return table


def _subgroups(
    chosen: Chosen,
    nodules: pd.DataFrame,
    series: pd.DataFrame,
    abroad: Mapping[str, Chosen],
    *,
    simulated: bool,
) -> dict[str, Any] | None:
    """Figures by subgroup, small ones masked; None where no column divides the nodules."""
    values = subgroup_values(chosen.rows, nodules, series)
    tables = []
    if abroad:
        tables.append(_by_data_set(chosen, chosen.dataset, abroad).assign(by=_DATA_SET))
    for column, heading in SUBGROUPS.items():
        if column in values and values[column].nunique() > 1:
            table = subgroup_table(
                chosen.labels, chosen.p, chosen.patients, values[column], hide_counts=True, n_models=chosen.n_models
            )
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


def subgroup_values(rows: pd.DataFrame, nodules: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """What divides the nodules, a row each; empty text counts as missing.

    Parameters
    ----------
    rows : DataFrame
        Identifiers of the nodules.
    nodules, series : DataFrame
        Tables of the workspace.
    """
    identity = [name for name in IDENTITY if name in rows and name in nodules]
    once = nodules.drop_duplicates(identity).set_index(identity)
    keys = pd.MultiIndex.from_frame(rows[identity])
    if "series_uid" not in rows:
        rows = rows.assign(series_uid="")
    scans = series.drop_duplicates("series_uid").set_index("series_uid").reindex(rows["series_uid"])
    found: dict[str, Any] = {}
    once = once.reindex(keys)
    if "size_class" in once:
        found["size_class"] = once["size_class"].to_numpy()
    found |= _clinical(once.reset_index(drop=True))
    for column in ("manufacturer", "kernel"):
        if column in scans:
            found[column] = scans[column].astype(object).replace("", None).to_numpy()
    thickness = "slice_thickness_mm" if "slice_thickness_mm" in scans else "spacing_z_mm"
    if thickness in scans:
        values = pd.to_numeric(scans[thickness]).to_numpy(dtype=np.float64)
        labels = ["up to 1 mm", "1 to 1.5 mm", "1.5 to 2.5 mm", "above 2.5 mm"]
        found["thickness"] = pd.cut(values, _THICKNESS_MM, labels=labels)
    return pd.DataFrame(found)


def _clinical(rows: pd.DataFrame) -> dict[str, Any]:
    """Sex, age and type of nodule, where the table says."""
    found: dict[str, Any] = {}
    for name, columns in (("sex", _SEX), ("nodule_type", _TYPE)):
        for column in columns:
            if column in rows and name not in found:
                values = rows[column].astype(object)
                found[name] = values.where(values.notna() & (values != ""), None).to_numpy()
    if "clinical_age" in rows and pd.api.types.is_numeric_dtype(rows["clinical_age"]):
        limits = [-np.inf, *_AGE_YEARS.values()]
        found["age"] = pd.cut(rows["clinical_age"], limits, labels=list(_AGE_YEARS), right=False)
    if "nodule_type" not in found and "rating_texture" in rows:
        limits = [-np.inf, *_TEXTURE.values()]
        found["nodule_type"] = pd.cut(rows["rating_texture"], limits, labels=list(_TEXTURE), right=False)
    return found
