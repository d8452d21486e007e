"""What changed in the scores: configuration by configuration, tested on the nodules that both runs predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.comparing.datasets import paired_datasets
from lungpipe.learn.cohort import IDENTITY, ConfigurationKey
from lungpipe.learn.delong import compare_aucs, holm
from lungpipe.store.schemas import BASELINE, CHOSEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.comparing.matching import Matching
    from lungpipe.comparing.workspace import Run

_KEYS, _CONFIGURATION = list(IDENTITY), list(ConfigurationKey._fields)
_ROW = ["dataset", *_CONFIGURATION]
#: Columns of :attr:`ScoreChanges.rows`.
COLUMNS = [
    *_ROW, "selection", "n_a", "n_b", "auc_a", "auc_b", "n", "n_patients", "n_labels_differ", "shared_auc_a", "shared_auc_b",
    "difference", "low", "high", "p", "p_holm", "why_no_test",
]  # fmt: skip
#: The choice made inside the training folds comes first, then what it is held against.
_ORDER = {"inside": 0, "baseline": 1, "fixed": 2}


def compare_scores(first: Run, second: Run, matching: Matching) -> ScoreChanges | None:
    """Compare the AUC of every configuration of both runs.

    The difference is B less A on the nodules that both runs predicted with that configuration and gave the same label, with
    interval and p by DeLong's test for paired AUCs with patients as the unit (:func:`lungpipe.learn.delong.compare_aucs`).
    Holm's adjustment is over all configurations tested. Both runs may have learned from other nodules, and so
    the test is of the two sets of predictions, not of what changed in the recipe alone.

    Parameters
    ----------
    first, second : Run
    matching : Matching
        Of their nodules.

    Returns
    -------
    ScoreChanges or None
        None where a run has no table of scores, as without a benchmark.
    """
    if "scores" not in first.tables or "scores" not in second.tables:
        return None
    mine, its = first.tables["scores"], second.tables["scores"]
    names = paired_datasets(mine, its)
    its = its.assign(dataset=its["dataset"].astype(str).map(names).fillna(its["dataset"].astype(str)))
    one, other = _by_key(mine), _by_key(its)
    shared = sorted(
        one.keys() & other.keys(), key=lambda key: (_ORDER[str(one[key]["selection"])], list(one).index(key))
    )
    predicted = _predictions(first, second, matching, names)
    rows = [_row(key, one[key], other[key], predicted) for key in shared]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=np.float64))
    only = [pd.DataFrame([dict(zip(_ROW, key, strict=True)) for key in keys], columns=_ROW)
            for keys in ([key for key in one if key not in other], [key for key in other if key not in one])]  # fmt: skip
    return ScoreChanges(table, *only)


def _by_key(scores: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of a table of scores by data set and configuration; the radius of a choice or baseline is None."""
    found = {}
    for row in scores.to_dict("records"):
        key = tuple(None if pd.isna(row[name]) else row[name] for name in _ROW)
        found[key] = {str(name): value for name, value in row.items()}
    return found


def _predictions(
    first: Run, second: Run, matching: Matching, names: Mapping[str, str]
) -> tuple[dict[Any, pd.DataFrame], dict[Any, pd.DataFrame]] | None:
    """Predictions of both by data set and configuration, under the identifiers of the first run."""
    if "predictions" not in first.tables or "predictions" not in second.tables:
        return None
    mine = matching.paired(first.tables["predictions"])
    its = matching.renamed(second.tables["predictions"])
    its = its.assign(dataset=its["dataset"].astype(str).map(names)).dropna(subset=["dataset"])
    return _grouped(mine), _grouped(its)


def _grouped(predictions: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    found: dict[tuple[Any, ...], pd.DataFrame] = {}
    for key, rows in predictions.groupby(_ROW, dropna=False):
        parts: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        found[tuple(None if isinstance(part, float) and np.isnan(part) else part for part in parts)] = rows
    return found


def _row(
    key: tuple[Any, ...],
    mine: Mapping[str, Any],
    its: Mapping[str, Any],
    predicted: tuple[dict[Any, pd.DataFrame], dict[Any, pd.DataFrame]] | None,
) -> dict[str, Any]:
    row = dict(zip(_ROW, key, strict=True)) | dict.fromkeys(COLUMNS[len(_ROW) :], np.nan)
    row |= {
        "selection": mine["selection"],
        "n_a": mine["n"],
        "n_b": its["n"],
        "auc_a": mine["auc"],
        "auc_b": its["auc"],
    }
    row |= {"n": 0, "n_patients": 0, "n_labels_differ": 0, "why_no_test": ""}
    if row["region"] == "shuffled-labels":
        return row | {"why_no_test": "its labels are dealt at random"}
    if predicted is None:
        return row | {"why_no_test": "a run has no table of predictions"}
    if key not in predicted[0] or key not in predicted[1]:
        return row | {"why_no_test": "no nodule of both was predicted"}
    (y_a, p_a), (y_b, p_b) = (_laid_out(side[key]) for side in predicted)
    both = p_a.index.intersection(p_b.index)
    same = (y_a.reindex(both) == y_b.reindex(both)).to_numpy(dtype=bool)
    used = both[same]
    labels = y_a.reindex(used).to_numpy(dtype=np.int64)
    patients = used.get_level_values("patient_id").to_numpy()
    row |= {"n": len(used), "n_patients": len(set(patients)), "n_labels_differ": int((~same).sum())}
    if not len(used):
        return row | {"why_no_test": "no nodule of both was predicted"}
    if labels.min() == labels.max():
        return row | {"why_no_test": "the nodules of both are of one class"}
    n_models = max(int(side[key]["fold"].nunique()) for side in predicted)
    found = compare_aucs(labels, _scores(p_b, used), _scores(p_a, used), patients, n_models=n_models)
    why = "" if np.isfinite(found.p) else "the difference has no variance that could be estimated"
    row |= {"shared_auc_a": found.second, "shared_auc_b": found.first, "difference": found.difference}
    return row | {"low": found.low, "high": found.high, "p": found.p, "why_no_test": why}


def _laid_out(rows: pd.DataFrame) -> tuple[pd.Series[Any], pd.DataFrame]:
    """Labels and predictions, a row a nodule and a column a repeat; nodules that a repeat lacks are left out."""
    rows = rows.astype(dict.fromkeys(_KEYS, "str"))
    return rows.groupby(_KEYS)["y"].first(), rows.pivot_table(index=_KEYS, columns="repeat", values="p").dropna()


def _scores(p: pd.DataFrame, used: pd.Index[Any]) -> NDArray[np.float64]:
    return np.asarray(p.reindex(used).to_numpy(dtype=np.float64).T)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreChanges:
    """Two tables of scores.

    Parameters
    ----------
    rows : DataFrame
        A row a configuration of both, the choice made inside the training folds first, then baselines: ``auc_a`` and
        ``auc_b`` on all nodules of each run; on the ``n`` nodules of both ``shared_auc_a``, ``shared_auc_b``, the
        ``difference`` B less A, its 95 % limits, ``p`` and ``p_holm``; ``why_no_test`` where there is none.
    only_a, only_b : DataFrame
        Configurations of one run.
    """

    rows: pd.DataFrame
    only_a: pd.DataFrame
    only_b: pd.DataFrame

    @property
    def changed(self) -> bool:
        """Whether a figure is another, or a configuration is in one run only."""
        one, other = (self.rows[name].to_numpy(dtype=np.float64) for name in ("auc_a", "auc_b"))
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        moved = self.rows["difference"].fillna(0).ne(0).to_numpy()
        return bool(len(self.only_a) or len(self.only_b) or (~same).any() or moved.any())


def is_chosen(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a choice or a baseline, which have no region of their own."""
    return row["segmenter"] in (CHOSEN, BASELINE)
