"""One outer fold explained: the model fitted again, its features shuffled, its predictions divided, its test rows placed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from lungpipe.errors import DatasetError
from lungpipe.learn.contributions import contributions
from lungpipe.learn.evaluate import refit
from lungpipe.learn.importance import Clusters, feature_clusters, pairs_lost, permutations
from lungpipe.learn.neighbours import outlyingness
from lungpipe.learn.preparation import Harmonise
from lungpipe.learn.select import choose_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.learn.cohort import ConfigurationKey
    from lungpipe.learn.evaluate import ConfigurationResult, Refitted
    from lungpipe.learn.evaluation import Inputs
    from lungpipe.learn.folds import Fold

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: How far a model that was fitted again may be from the recorded predictions.
_SAME = 1e-6
#: Steps that treat each column by itself, so that shuffling before or after them is one thing.
_BY_COLUMN = (SimpleImputer, StandardScaler, SelectorMixin, Harmonise)


def explained_key(
    results: Mapping[ConfigurationKey, ConfigurationResult], folds: Sequence[Fold]
) -> ConfigurationKey | None:
    """Name the configuration to explain: the one that most outer folds chose.

    Of equals the one with the higher mean inner AUC, then the first. Folds may choose different configurations, whose features
    are of different regions and cannot be averaged; so one is explained, over all folds.

    Parameters
    ----------
    results : mapping of ConfigurationKey to ConfigurationResult
        Those that may be chosen: no baselines and no controls.
    folds : sequence of Fold

    Returns
    -------
    ConfigurationKey or None
        None where no fold could choose.
    """
    times = Counter(key for key in choose_inside(results, folds).keys if key is not None)
    if not times:
        return None
    order = list(results)
    return max(times, key=lambda key: (times[key], np.nanmean(results[key].inner_auc), -order.index(key)))


def explain_fold(inputs: Inputs, result: ConfigurationResult, number: int, seed: int) -> FoldExplanation | None:
    """Explain the model of one outer fold on the rows that tested it.

    Parameters
    ----------
    inputs : Inputs
        What the configuration was evaluated with.
    result : ConfigurationResult
        As recorded.
    number : int
        Position of the fold among the cohort's.
    seed : int
        Of the evaluation.

    Returns
    -------
    FoldExplanation or None
        None where the fold was not trained or has no test row.

    Raises
    ------
    DatasetError
        If the model that was fitted again does not predict what was recorded.
    """
    model = fold_model(inputs, result, number, seed)
    if model is None:
        return None
    fold, clusters = inputs.cohort.folds[number], clusters_of(inputs)
    labels, groups = inputs.cohort.labels[model.test_rows], inputs.cohort.groups
    of_cluster = np.where(model.columns >= 0, clusters.of[model.columns], 0)
    sets = [np.flatnonzero(of_cluster == one) for one in range(1, int(clusters.of.max()) + 1)]
    used = np.isin(np.arange(len(clusters.of)), model.columns)
    by_feature = by_cluster = None
    with threadpool_limits(limits=1):
        orders = permutations(len(labels), (seed, fold.repeat, fold.number))
        found = pairs_lost(model.predict, model.test, labels, sets, orders)
        parts = contributions(model.last, model.train, model.test) if model.by_column else None
        if parts is not None:
            by_feature = np.zeros(len(clusters.of))
            by_feature[model.columns] = np.abs(parts.values).sum(axis=0)
            by_cluster = np.array([np.abs(parts.values[:, one].sum(axis=1)).sum() for one in sets])
        near = None
        if np.isfinite(model.space[0]).all() and model.space[0].shape[1]:
            near = outlyingness(model.space[0], groups[model.train_rows], model.space[1], groups[model.test_rows])
    blank = np.full(len(labels), np.nan)
    return FoldExplanation(
        repeat=fold.repeat,
        rows=model.test_rows,
        test_to_train=len(model.test_rows) / len(model.train_rows),
        pairs=found.pairs,
        lost=found.lost.mean(axis=1),
        used=used,
        by_feature=by_feature,
        by_cluster=by_cluster,
        ood=blank if near is None else near.score,
        percentile=blank if near is None else near.percentile,
        neighbours=None if near is None else model.train_rows[near.positions],
        distances=None if near is None else near.distances,
    )


def lose_features(
    inputs: Inputs, result: ConfigurationResult, number: int, seed: int, features: Sequence[int]
) -> NDArray[np.float64] | None:
    """Count the pairs that one fold's model loses when single features are shuffled, mean over permutations.

    Parameters
    ----------
    inputs, result, number, seed
        As in :func:`explain_fold`.
    features : sequence of int
        Columns of the features' table.

    Returns
    -------
    ndarray, shape (n_features,) or None
        None where the fold was not trained or has no test row.
    """
    model = fold_model(inputs, result, number, seed)
    if model is None:
        return None
    fold = inputs.cohort.folds[number]
    sets = [np.flatnonzero(model.columns == one) for one in features]
    with threadpool_limits(limits=1):
        orders = permutations(len(model.test_rows), (seed, fold.repeat, fold.number))
        labels = inputs.cohort.labels[model.test_rows]
        found = pairs_lost(model.predict, model.test, labels, sets, orders)
    return np.asarray(found.lost.mean(axis=1))


def clusters_of(inputs: Inputs) -> Clusters:
    """Clusters of features over all rows that a configuration has; labels play no part, and no model sees the clusters."""
    present = np.isfinite(inputs.what.matrix).any(axis=1)
    return feature_clusters(inputs.what.matrix[present])


def fold_model(inputs: Inputs, result: ConfigurationResult, number: int, seed: int) -> FoldModel | None:
    """Fit one outer fold's model again; None where it was not trained or has no test row.

    Raises
    ------
    DatasetError
        If it does not predict what was recorded.
    """
    fold = inputs.cohort.folds[number]
    if not result.trained[number]:
        return None
    again = refit(
        inputs.what.matrix,
        inputs.cohort.labels,
        inputs.cohort.groups,
        inputs.what.classifier,
        fold,
        seed,
        result.hyper_parameters[number],
        inputs.what.preparation,
        inputs.what.batch,
    )
    if not len(again.test):
        return None
    with threadpool_limits(limits=1):
        away = np.abs(again.pipeline.predict_proba(again.table[again.test])[:, 1] - result.p[fold.repeat, again.test])
        if not float(away.max()) <= _SAME:
            raise DatasetError(
                f"Fitted again, fold {fold.number} of repeat {fold.repeat} is up to {away.max():.2g} from its recorded "
                "predictions, so what it looks at cannot be told. Evaluate anew: the records come from other packages or inputs."
            )
        return _laid_open(again, n_lead=inputs.what.preparation.n_lead)


def _laid_open(again: Refitted, n_lead: int) -> FoldModel:
    """Divide a pipeline into what prepares columns and what predicts from them, where each column keeps its feature."""
    table, pipeline = again.table, again.pipeline
    steps = [step for _, step in pipeline.steps[:-1]]
    space = tuple(np.asarray(pipeline[:-1].transform(table[rows])) for rows in (again.train, again.test))
    columns = np.arange(table.shape[1] - n_lead)
    by_column = all(isinstance(step, _BY_COLUMN) for step in steps)
    if by_column:
        for step in steps:
            columns = columns[step.get_support()] if isinstance(step, SelectorMixin) else columns
        by_column = len(columns) == space[0].shape[1]
    if by_column:
        train, test, predict = *space, pipeline[-1].predict_proba
    else:
        train, test, predict = table[again.train], table[again.test], pipeline.predict_proba
        columns = np.arange(table.shape[1]) - n_lead
    return FoldModel(predict, pipeline[-1], train, test, columns, again.train, again.test, space, by_column)


class FoldModel(NamedTuple):
    """A fitted model, the rows as it takes them, and the feature of each of their columns (below 0 for patient and batch).

    ``space`` holds training and test rows as the classifier itself takes them; ``by_column`` says that these are ``train`` and
    ``test``, each column made from one feature alone.
    """

    predict: Callable[[Floats], Any]
    last: Any
    train: Floats
    test: Floats
    columns: Ints
    train_rows: Ints
    test_rows: Ints
    space: tuple[Floats, ...]
    by_column: bool


@dataclass(frozen=True, slots=True, eq=False)
class FoldExplanation:
    """What one fold adds to an explanation; sums are over its test rows.

    Parameters
    ----------
    repeat : int
        Of the fold.
    rows : NDArray of int, shape (m,)
        Rows of the cohort that it tests.
    test_to_train : float
        Test rows over training rows.
    pairs : int
        Malignant-benign pairs among them.
    lost : NDArray of float, shape (n_clusters,)
        Pairs lost when a cluster is shuffled, mean over permutations.
    used : NDArray of bool, shape (p,)
        Features that the classifier takes.
    by_feature, by_cluster : NDArray of float, shape (p,) and (n_clusters,), or None
        Sum of absolute contributions to the log odds.
    ood, percentile : NDArray of float, shape (m,)
        Distance from the training rows, and its percentile.
    neighbours, distances : NDArray of int and float, shape (m, k), or None
        Rows of the cohort that are nearest, and how far; infinite where there is none.
    """

    repeat: int
    rows: Ints
    test_to_train: float
    pairs: int
    lost: Floats
    used: NDArray[np.bool_]
    by_feature: Floats | None
    by_cluster: Floats | None
    ood: Floats
    percentile: Floats
    neighbours: Ints | None
    distances: Floats | None
