"""The explanation of a benchmark, from its recorded results to the tables of importance and neighbours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.learn.baselines import is_baseline
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluation import Evaluation, inputs_of, recorded_result
from lungpipe.learn.explain import FoldExplanation, clusters_of, explain_fold, explained_key, lose_features
from lungpipe.learn.importance import CUT, mean_drop
from lungpipe.learn.neighbours import K
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.tables import make_table, read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.learn.evaluation import Configuration, Inputs
    from lungpipe.learn.importance import Clusters, Drop

    #: Applies a function to each of some items, in any order, and says which it was.
    Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[tuple[int, Any]]]

#: Raise it when the same results give other explanations.
VERSION = "1"
KIND = "explanation"
OUTPUTS = ("tables/importance.parquet", "tables/neighbours.parquet")
#: Features are shuffled one by one within so many clusters at most, and so many of them.
TOP_CLUSTERS, MOST_FEATURES = 10, 100
#: Digits of a neighbour's distance.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class FoldTask:
    """Which fold of which configuration to explain, for a worker that reads the rest itself.

    Parameters
    ----------
    workspace : str
    evaluation : Evaluation
    key : ConfigurationKey
    ref : str
        Reference of the configuration's record.
    fold : int
        Position of the fold among the cohort's.
    features : tuple of int
        Columns to shuffle one by one; without any the clusters are, and all the rest is told too.
    """

    workspace: str
    evaluation: Evaluation
    key: ConfigurationKey
    ref: str
    fold: int
    features: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """Reference of the explanation's record, and whether it stood already."""

    ref: str
    reused: bool


def explain_task(task: FoldTask) -> FoldExplanation | NDArray[np.float64] | None:
    """Explain one fold in a worker; see :func:`lungpipe.learn.explain.explain_fold` and ``lose_features``."""
    place = Place.at(task.workspace)
    inputs, result = inputs_of(place, task.key, task.evaluation), recorded_result(place, task.ref)
    if task.features:
        return lose_features(inputs, result, task.fold, task.evaluation.seed, task.features)
    return explain_fold(inputs, result, task.fold, task.evaluation.seed)


def write_explanation(
    place: Place,
    scores: str,
    runs: Mapping[Evaluation, Mapping[ConfigurationKey, Configuration]],
    mapper: Mapper,
) -> Explained:
    """Write ``importance.parquet`` and ``neighbours.parquet``, unless they stand.

    Parameters
    ----------
    place : Place
    scores : str
        Reference of the scores' record.
    runs : mapping
        Every configuration of each data set, as they were scored.
    mapper : callable
        Takes a function of one item and the items, and yields ``(position, result)``: in this process or on workers.

    Raises
    ------
    LungpipeError
        If a fold cannot be explained; tables of earlier results are gone by then.
    """
    first = next(iter(runs))
    entry = ledger.named(
        ledger.COHORT,
        KIND,
        subject={"dataset": first.dataset},
        made_from=[scores],
        settings={"cut": CUT, "k": K, "top_clusters": TOP_CLUSTERS, "most_features": MOST_FEATURES},
        versions={"explanation": VERSION},
    )
    if ledger.stands(place, entry.ref):
        return Explained(entry.ref, reused=True)
    forget_explanation(place)
    intensities = str(read_table(place, "tables/nodules.parquet")["intensities"].iloc[0])
    parts = [_explained(place, evaluation, found, mapper) for evaluation, found in runs.items()]
    for path, name, rows in zip(OUTPUTS, ("importance", "neighbours"), zip(*parts, strict=True), strict=True):
        table = make_table(name, [{**row, "intensities": intensities} for part in rows for row in part])
        write_table(table, place, path)
    ledger.record(place, entry, OUTPUTS)
    return Explained(entry.ref, reused=False)


def forget_explanation(place: Place) -> None:
    """Remove what was explained before: it is of other results."""
    for ref in ledger.refs(place, ledger.COHORT):
        if ref.startswith(f"{ledger.COHORT}/{KIND}-"):
            ledger.forget(place, ref)
    for path in OUTPUTS:
        place.remove(path)


def _explained(
    place: Place, evaluation: Evaluation, found: Mapping[ConfigurationKey, Configuration], mapper: Mapper
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables for one data set; none where no configuration could be chosen."""
    cohort = evaluation.cohort(read_table(place, "tables/nodules.parquet"))
    results = {key: one.result for key, one in found.items() if not is_baseline(key)}
    key = explained_key(results, cohort.folds)
    if key is None:
        return [], []
    asked = [FoldTask(str(place), evaluation, key, found[key].ref, fold) for fold in range(len(cohort.folds))]
    folds: list[FoldExplanation] = [one for one in _in_order(mapper, asked) if one is not None]
    if not folds:
        return [], []
    inputs = inputs_of(place, key, evaluation)
    clusters = clusters_of(inputs)
    by_cluster = _drops(folds, [one.lost for one in folds])
    single = _single_features(clusters, by_cluster, np.any([one.used for one in folds], axis=0))
    by_feature = {int(k): by_cluster[clusters.of[k] - 1] for k in np.flatnonzero(_alone(clusters))}
    if single:
        again = [FoldTask(one.workspace, evaluation, key, one.ref, one.fold, single) for one in asked]
        lost = [one for one in _in_order(mapper, again) if one is not None]
        by_feature |= dict(zip(single, _drops(folds, lost), strict=True))
    about = {"dataset": evaluation.dataset, **key._asdict()}
    return (
        [about | row for row in _importance_rows(inputs, clusters, folds, by_cluster, by_feature)],
        [about | row for row in _neighbour_rows(inputs, folds)],
    )


def _in_order(mapper: Mapper, tasks: Sequence[FoldTask]) -> list[Any]:
    results = dict(mapper(explain_task, tasks))
    return [results[position] for position in range(len(tasks))]


def _drops(folds: Sequence[FoldExplanation], lost: Sequence[NDArray[np.float64]]) -> list[Drop]:
    """Drop in AUC of each set, from the pairs that each fold loses."""
    ratio = float(np.mean([one.test_to_train for one in folds]))
    pairs = [one.pairs for one in folds]
    return [mean_drop(of_set, pairs, ratio) for of_set in np.transpose(lost)]


def _alone(clusters: Clusters) -> NDArray[np.bool_]:
    """Features that are a cluster of their own, of which cluster and feature are one thing."""
    return np.asarray(np.bincount(clusters.of)[clusters.of] == 1)


def _single_features(clusters: Clusters, drops: Sequence[Drop], used: NDArray[np.bool_]) -> tuple[int, ...]:
    """Features to shuffle one by one: those used, within the clusters that matter most."""
    means = np.nan_to_num([drop.mean for drop in drops], nan=-np.inf)
    chosen: list[int] = []
    for one in np.argsort(-means, kind="stable")[:TOP_CLUSTERS] + 1:
        members = np.flatnonzero((clusters.of == one) & used)
        if (clusters.of == one).sum() > 1 and len(chosen) + len(members) <= MOST_FEATURES:
            chosen += members.tolist()
    return tuple(sorted(chosen))


def _importance_rows(
    inputs: Inputs,
    clusters: Clusters,
    folds: Sequence[FoldExplanation],
    by_cluster: Sequence[Drop],
    by_feature: Mapping[int, Drop],
) -> list[dict[str, Any]]:
    n_rows = sum(len(one.rows) for one in folds)
    used = np.mean([one.used for one in folds], axis=0)
    shap = shap_of_cluster = None
    parts = [
        (one.by_feature, one.by_cluster) for one in folds if one.by_feature is not None and one.by_cluster is not None
    ]
    if len(parts) == len(folds):
        shap = np.sum([one[0] for one in parts], axis=0) / n_rows
        shap_of_cluster = np.sum([one[1] for one in parts], axis=0) / n_rows
    rows = []
    for k, name in enumerate(inputs.what.columns):
        cluster = int(clusters.of[k])
        drop, whole = by_feature.get(k), by_cluster[cluster - 1]
        rows.append(
            {
                "feature": name,
                "cluster": cluster,
                "cluster_centre": inputs.what.columns[clusters.centre[k]],
                "used": float(used[k]),
                **dict(zip(("importance", "low", "high"), drop or (np.nan,) * 3, strict=True)),
                **dict(zip(("cluster_importance", "cluster_low", "cluster_high"), whole, strict=True)),
                "mean_abs_shap": np.nan if shap is None else float(shap[k]),
                "cluster_mean_abs_shap": np.nan if shap_of_cluster is None else float(shap_of_cluster[cluster - 1]),
            }
        )
    return rows


def _neighbour_rows(inputs: Inputs, folds: Sequence[FoldExplanation]) -> list[dict[str, Any]]:
    """One row a nodule: means over repeats, and the neighbours of the first of them."""
    cohort = inputs.cohort
    total = pd.DataFrame(
        {
            "row": np.concatenate([one.rows for one in folds]),
            "ood": np.concatenate([one.ood for one in folds]),
            "ood_percentile": np.concatenate([one.percentile for one in folds]),
        }
    )
    means = total.groupby("row").mean()
    near: dict[int, str] = {}
    for one in folds:
        for position, row in enumerate(one.rows.tolist()):
            near.setdefault(row, _neighbours(inputs, one, position))
    rows = means.index.to_numpy()
    table = cohort.identity.iloc[rows].reset_index(drop=True).join(means.reset_index(drop=True))
    table["neighbours"] = [near[int(row)] for row in rows]
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _neighbours(inputs: Inputs, fold: FoldExplanation, position: int) -> str:
    """Neighbours of one row as JSON text, the nearest first."""
    if fold.neighbours is None or fold.distances is None:
        return "[]"
    cohort = inputs.cohort
    nodule_id = cohort.identity["nodule_id"].to_numpy()
    return json.dumps(
        [
            {"nodule_id": str(nodule_id[row]), "malignant": int(cohort.labels[row]), "distance": round(away, _DIGITS)}
            for row, away in zip(fold.neighbours[position].tolist(), fold.distances[position].tolist(), strict=True)
            if np.isfinite(away)
        ]
    )
