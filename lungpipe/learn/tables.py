"""The benchmark's two tables: one row a prediction, and one row a configuration with its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from lungpipe.learn.cohort import Cohort, ConfigurationKey
from lungpipe.learn.delong import compare_with
from lungpipe.learn.evaluate import ConfigurationResult
from lungpipe.learn.intervals import auc_interval, simultaneous_interval
from lungpipe.learn.select import InsideChoice

CHOSEN = "chosen"
Results = Mapping[ConfigurationKey, ConfigurationResult]
#: Columns of the comparison with the choice made inside, and their names in :func:`lungpipe.learn.delong.compare_with`.
DIFFERENCES = {
    "difference": "difference", "difference_low": "low", "difference_high": "high", "p": "p", "p_holm": "p_holm",
}  # fmt: skip
Baselines = Mapping[ConfigurationKey, tuple[Cohort, NDArray[np.float64]]]
INSIDE = ConfigurationKey(CHOSEN, CHOSEN, float("nan"), CHOSEN, CHOSEN)


def predictions_table(
    cohort: Cohort,
    results: Results,
    inside: InsideChoice[ConfigurationKey] | None = None,
    baselines: Baselines = {},  # noqa: B006  never changed
    trained_on: str = "",
) -> pd.DataFrame:
    """Write every prediction as a row.

    Parameters
    ----------
    cohort : Cohort
        The rows of the results.
    results : mapping of ConfigurationKey to ConfigurationResult
        The configurations.
    inside : InsideChoice, optional
        Adds its predictions under segmenter, region, classifier and feature set ``"chosen"``, radius NaN.
    baselines : mapping of ConfigurationKey to (Cohort, array)
        Cohort (whose labels may be others) and predictions of what the choice is held against.
    trained_on : str
        Data set that taught; by default the cohort's own.

    Returns
    -------
    DataFrame
        Columns dataset, the nodule's ids, segmenter, region, radius_mm, classifier, feature_set, trained_on, repeat, fold, y, p; sorted as
        the results are, then by repeat and row. A nodule that a configuration lacks has no row there.
    """
    fold_of = np.full((1 + max(fold.repeat for fold in cohort.folds), len(cohort.labels)), -1)
    for fold in cohort.folds:
        fold_of[fold.repeat, fold.test] = fold.number
    parts = [_prediction_rows(cohort, fold_of, key, result.p) for key, result in results.items()]
    if inside is not None:
        parts.append(_prediction_rows(cohort, fold_of, INSIDE, inside.p))
    parts += [_prediction_rows(own, fold_of, key, p) for key, (own, p) in baselines.items()]
    return _with_teacher(pd.concat(parts, ignore_index=True), trained_on or cohort.dataset)


def score_table(
    cohort: Cohort,
    results: Results,
    inside: InsideChoice[ConfigurationKey] | None = None,
    baselines: Baselines = {},  # noqa: B006  never changed
    *,
    seed: int = 0,
    trained_on: str = "",
) -> pd.DataFrame:
    """Score every configuration, and the choice made inside the training folds.

    ``auc_low`` and ``auc_high`` are the 95 % interval of a configuration fixed beforehand (`auc_interval`);
    ``auc_low_all`` and ``auc_high_all`` hold for all configurations at once, and so also for the best of them
    (`simultaneous_interval`). Both allow for the folds' shared training rows. With repeats, figures are means over them. Balanced accuracy is at p >= 0.5.

    Parameters
    ----------
    cohort : Cohort
        The rows of the results.
    results : mapping of ConfigurationKey to ConfigurationResult
        The configurations.
    inside : InsideChoice, optional
        Adds a row with selection ``"inside"``.
    baselines : mapping of ConfigurationKey to (Cohort, array)
        Add rows with selection ``"baseline"``.
    seed : int
        Seed of the simultaneous intervals.
    trained_on : str
        Data set that taught; by default the cohort's own.

    Returns
    -------
    DataFrame
        Columns dataset, segmenter, region, radius_mm, classifier, feature_set, trained_on, selection (``"fixed"``, ``"inside"`` or ``"baseline"``), chosen (JSON
        list, one configuration an outer fold; empty for fixed ones), n, n_patients, n_malignant, auc, auc_low,
        auc_high, auc_low_all, auc_high_all, average_precision, brier, balanced_accuracy, inner_auc; difference (AUC less
        that of the choice made inside, on the nodules that both have), difference_low, difference_high (95 %, patients as
        the unit), p, p_holm (adjusted for all rows that are compared). Figures are NaN where a configuration has nodules of
        one class only, and for labels dealt anew nothing is compared.
    """
    rows = [_score(cohort, key, "fixed", "", result.p, result.inner_auc) for key, result in results.items()]
    if any(np.isfinite(row["auc"]) for row in rows):
        family = simultaneous_interval(
            cohort.labels,
            [result.p for result in results.values()],
            cohort.groups,
            seed=seed,
            n_models=cohort.n_models,
        )
        for row, interval in zip(rows, family.intervals, strict=True):
            row |= {"auc_low_all": interval.low, "auc_high_all": interval.high}
    if inside is not None:
        chosen = json.dumps([None if key is None else key._asdict() for key in inside.keys])
        rows.append(_score(cohort, INSIDE, "inside", chosen, inside.p, inside.inner_auc))
    nothing = np.array([np.nan])
    rows += [_score(own, key, "baseline", "", p, nothing) for key, (own, p) in baselines.items()]
    table = _with_teacher(pd.DataFrame(rows), trained_on or cohort.dataset).assign(**dict.fromkeys(DIFFERENCES, np.nan))
    if inside is not None and np.isfinite(inside.p).any():
        beside = {position: result.p for position, result in enumerate(results.values())}
        n_before = len(results) + 1
        beside |= {n_before + k: p for k, (own, p) in enumerate(baselines.values()) if own is cohort}
        if beside:
            _compare(table, cohort, inside.p, beside)
    return table


def _with_teacher(table: pd.DataFrame, trained_on: str) -> pd.DataFrame:
    table.insert(list(table.columns).index("feature_set") + 1, "trained_on", trained_on)
    return table


def _compare(
    table: pd.DataFrame, cohort: Cohort, reference: NDArray[np.float64], others: Mapping[int, NDArray[np.float64]]
) -> None:
    """Fill in how far the rows of a table, by position, are from a reference; Holm's family are the rows compared."""
    found = compare_with(cohort.labels, reference, others, cohort.groups, n_models=cohort.n_models)
    found = found.set_index("configuration")
    for name, column in DIFFERENCES.items():
        table.loc[found.index, name] = found[column].to_numpy(dtype=np.float64)


def _prediction_rows(
    cohort: Cohort, fold_of: NDArray[np.int64], key: ConfigurationKey, p: NDArray[np.float64]
) -> pd.DataFrame:
    repeat, row = np.nonzero(np.isfinite(p))
    columns: dict[str, Any] = {"dataset": cohort.dataset}
    columns |= {str(name): cohort.identity[name].to_numpy()[row] for name in cohort.identity}
    columns |= key._asdict()
    columns |= {"repeat": repeat, "fold": fold_of[repeat, row], "y": cohort.labels[row], "p": p[repeat, row]}
    return pd.DataFrame(columns)


def _score(
    cohort: Cohort,
    key: ConfigurationKey,
    selection: str,
    chosen: str,
    p: NDArray[np.float64],
    inner_auc: NDArray[np.float64],
) -> dict[str, Any]:
    here = np.isfinite(p).all(axis=0)
    y, patients, p = cohort.labels[here], cohort.groups[here], p[:, here]
    row: dict[str, Any] = {"dataset": cohort.dataset, **key._asdict(), "selection": selection, "chosen": chosen}
    row |= {"n": len(y), "n_patients": len(np.unique(patients)), "n_malignant": int(y.sum())}
    figures = ["auc", "auc_low", "auc_high", "auc_low_all", "auc_high_all"]
    figures += ["average_precision", "brier", "balanced_accuracy"]
    row |= dict.fromkeys(figures, float("nan"))
    row["inner_auc"] = float(np.nanmean(inner_auc)) if np.isfinite(inner_auc).any() else float("nan")
    if len(np.unique(y)) < 2:
        return row
    interval = auc_interval(y, p, patients, n_models=cohort.n_models)
    row |= {"auc": interval.auc, "auc_low": interval.low, "auc_high": interval.high}
    row["average_precision"] = float(np.mean([average_precision_score(y, one) for one in p]))
    row["brier"] = float(((p - y) ** 2).mean())
    called = p >= 0.5
    row["balanced_accuracy"] = float((called[:, y == 1].mean() + (~called[:, y == 0]).mean()) / 2)
    return row
