"""What the page says the model looks at: importance by cluster of features, contributions, and nodules unlike those it learned from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.learn.cohort import IDENTITY
from lungpipe.learn.neighbours import FAR, ErrorRelation, K, relation_to_error
from lungpipe.learn.subgroups import SMALLEST
from lungpipe.report.explanation_figures import cluster_names, importance_picture, outlying_picture
from lungpipe.report.figures import CONFIGURATION, configuration_name
from lungpipe.report.html import data_uri

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Clusters drawn, features and nodules listed.
TOP_CLUSTERS, TOP_FEATURES, TOP_NODULES = 12, 20, 10
#: What contributions are, by classifier.
CONTRIBUTIONS = {
    "logistic": "coefficient times distance from the training mean: the Shapley value of a linear model whose features count as independent",
    "elastic_net": "coefficient times distance from the training mean: the Shapley value of a linear model whose features count as independent",
    "xgboost": "exact Shapley values of the trees (TreeSHAP), along the paths that training rows took",
}


def explanation_content(
    importance: pd.DataFrame | None,
    neighbours: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    predictions: pd.DataFrame | None,
    *,
    simulated: bool,
) -> dict[str, Any] | None:
    """Collect what the section shows, of the first data set if there are several.

    Parameters
    ----------
    importance, neighbours, scores, predictions : DataFrame or None
        Tables of the workspace.
    simulated : bool
        Says "simulated intensities" in the figures.

    Returns
    -------
    dict or None
        None without a benchmark. ``why`` says why there is nothing else, where there is nothing.
    """
    if scores is None or predictions is None or not len(scores):
        return None
    if importance is None or neighbours is None:
        why = "The choice could not be explained in this run; its log says why. Scores do not depend on it."
        return {"why": why}
    dataset = str(scores["dataset"].iloc[0])
    rows, near = (table[table["dataset"] == dataset] for table in (importance, neighbours))
    if rows.empty:
        return {"why": "No configuration could be chosen inside the training folds, so there is none to explain."}
    first = rows.iloc[0]
    key = {name: first[name] for name in (*CONFIGURATION, "feature_set") if name in rows}
    clusters = _clusters(rows)
    return {
        "why": "",
        "name": configuration_name(key),
        "times": _times(scores[scores["dataset"] == dataset], key),
        "clusters": _drawn(clusters, simulated=simulated),
        "features": _features(rows),
        "n_features": len(rows),
        "n_clusters": len(clusters),
        "contributions": CONTRIBUTIONS.get(str(key["classifier"]), "") if rows["mean_abs_shap"].notna().any() else "",
        "csv": _csv(importance),
        "outlying": _outlying(near, _predicted(predictions, key, dataset), simulated=simulated),
        "neighbours_csv": _csv(neighbours),
    }


def _times(scores: pd.DataFrame, key: dict[str, Any]) -> tuple[int, int]:
    """In how many outer folds the configuration was chosen, and how many there are."""
    told = [str(text) for text in scores.loc[scores["selection"] == "inside", "chosen"] if text]
    keys = json.loads(told[0]) if told else []
    return sum(one is not None and all(one[name] == value for name, value in key.items()) for one in keys), len(keys)


def _clusters(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a cluster, the most important first."""
    members = rows.groupby("cluster")["feature"].agg(list).rename("members")
    once = rows.drop_duplicates("cluster").set_index("cluster").join(members)
    once["size"] = once["members"].map(len)
    return once.sort_values("cluster_importance", ascending=False, kind="stable").reset_index()


def _drawn(clusters: pd.DataFrame, *, simulated: bool) -> dict[str, Any] | None:
    """Picture and rows of the clusters that matter most; None where no fold had a pair to lose."""
    known = clusters[clusters["cluster_importance"].notna()]
    if known.empty:
        return None
    shown = known.iloc[:TOP_CLUSTERS]
    image = importance_picture(shown, simulated=simulated)
    clear = known[known["cluster_low"] > 0]
    top = zip(cluster_names(shown, " and {} more"), shown["cluster_importance"].tolist(), strict=True)
    said = "; ".join(f"{name}: {drop:.3f}" for name, drop in list(top)[:6])
    return {
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"Drop in AUC when a cluster of features is shuffled, with 95 % intervals, largest first: {said}.",
        "rows": [_plain(row) for row in shown.to_dict("records")],
        "n_clear": len(clear),
        "intervals": bool(known["cluster_low"].notna().any()),
    }


def _features(rows: pd.DataFrame) -> list[dict[str, Any]]:
    known = rows[rows["importance"].notna() & (rows["used"] > 0)]
    shown = known.sort_values("importance", ascending=False, kind="stable").iloc[:TOP_FEATURES]
    return [_plain(row) for row in shown.to_dict("records")]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _predicted(predictions: pd.DataFrame, key: dict[str, Any], dataset: str) -> pd.DataFrame:
    here = predictions["dataset"] == dataset
    for name in key:
        here &= predictions[name] == key[name]
    return predictions[here]


def _outlying(near: pd.DataFrame, predicted: pd.DataFrame, *, simulated: bool) -> dict[str, Any] | None:
    """Distance against error, in a picture, in words and by nodule; None where there is no distance or one class only."""
    identity = [name for name in IDENTITY if name in predicted and name in near]
    p = predicted.pivot_table(index=identity, columns="repeat", values="p").dropna()
    y = predicted.groupby(identity)["y"].first().reindex(p.index)
    table = near.set_index(identity).reindex(p.index)
    known = table["ood_percentile"].notna().to_numpy()
    p, y, table = p[known], y[known], table[known]
    if y.nunique() < 2:
        return None
    labels, values = y.to_numpy(dtype=np.int64), p.to_numpy(dtype=np.float64).T
    percentile = table["ood_percentile"].to_numpy(dtype=np.float64)
    patients = p.index.get_level_values("patient_id").to_numpy()
    relation = relation_to_error(percentile, labels, values, patients)
    error = np.abs(values - labels).mean(axis=0)
    image = outlying_picture(percentile, error, labels, simulated=simulated)
    return {
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": (
            "Error of the prediction against the percentile of a nodule's distance from the training nodules, a point a nodule. "
            f"{relation_words(relation)}"
        ),
        "words": relation_words(relation),
        "relation": relation,
        "far_from": FAR,
        "k": K,
        "smallest": SMALLEST,
        "csv": _csv(_by_nodule(table, values, labels)),
        "rows": _most_outlying(table, values, labels),
    }


def relation_words(relation: ErrorRelation) -> str:
    """Say what distance from the training nodules has to do with error.

    Parameters
    ----------
    relation : ErrorRelation
        Of :func:`lungpipe.learn.neighbours.relation_to_error`.
    """
    if not np.isfinite(relation.rho) or not np.isfinite(relation.low):
        return "Whether distance and error go together cannot be told: one of them does not vary."
    figures = f"Spearman's rho {relation.rho:.2f}, 95 % interval {relation.low:.2f} to {relation.high:.2f}"
    if relation.low > 0:
        return f"Nodules further from the training nodules are predicted worse: {figures}."
    if relation.high < 0:
        return f"Nodules further from the training nodules are predicted better: {figures}."
    return f"That nodules further from the training nodules are predicted worse is not shown: {figures}."


def _by_nodule(table: pd.DataFrame, p: NDArray[np.float64], labels: NDArray[np.int64]) -> pd.DataFrame:
    found = table[["ood", "ood_percentile"]].reset_index()
    return found.assign(malignant=labels, p=p.mean(axis=0), absolute_error=np.abs(p - labels).mean(axis=0))


def _most_outlying(table: pd.DataFrame, p: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    rows = _by_nodule(table, p, labels).assign(neighbours=table["neighbours"].map(json.loads).to_numpy())
    order = rows.sort_values(["ood_percentile", "ood"], ascending=False, kind="stable").iloc[:TOP_NODULES]
    return [
        _plain(row) | {"malignant_neighbours": sum(one["malignant"] for one in row["neighbours"])}
        for row in order.to_dict("records")
    ]


def _csv(table: pd.DataFrame) -> str:
    return data_uri("text/csv;charset=utf-8", table.to_csv(index=False).encode())
