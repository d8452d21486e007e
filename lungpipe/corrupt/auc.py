"""How well a classifier that learned from images as they are tells nodules of corrupted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lungpipe.corrupt.ladder import AS_IT_IS
from lungpipe.corrupt.summary import with_start
from lungpipe.learn.evaluate import NO_OPINION, evaluate_configuration
from lungpipe.learn.folds import Fold, grouped_folds
from lungpipe.learn.intervals import auc_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lungpipe.learn.models import Classifier


def predicted(
    table: pd.DataFrame, features: ArrayLike, classifier: Classifier, outer_folds: int, inner_folds: int, seed: int
) -> NDArray[np.float64]:
    """Probability of malignancy of every row, by a model that learned from uncorrupted images of other patients.

    Parameters
    ----------
    table : DataFrame, n rows
        ``malignant``, ``patient_id``, ``corruption`` and the ids of nodules, each with a row of the image as it is.
    features : array_like of float, shape (n, p)
        A row without a mask has none, and gets 0.5.
    classifier : Classifier
    outer_folds, inner_folds, seed : int
        As in ``[benchmark]`` of a recipe.

    Returns
    -------
    ndarray of float64, shape (n,)
        Not a number for unlabelled nodules.

    Raises
    ------
    DatasetError
        If the labelled nodules are too few or of one class.
    """
    labelled = np.flatnonzero(table["malignant"].notna().to_numpy())
    part = table.iloc[labelled].reset_index(drop=True)
    nodule = part.groupby(["patient_id", "series_uid", "nodule_id"], sort=False).ngroup().to_numpy()
    clean = np.flatnonzero((part["corruption"] == AS_IT_IS).to_numpy())
    y, patients = part["malignant"].to_numpy(dtype=np.int64), pd.factorize(part["patient_id"])[0]
    folds = [
        Fold(0, one.number, clean[one.train], np.flatnonzero(np.isin(nodule, nodule[clean[one.test]])))
        for one in grouped_folds(y[clean], patients[clean], outer_folds, seed)
    ]
    matrix = np.asarray(features, dtype=np.float64)[labelled]
    found = evaluate_configuration(matrix, y, patients, classifier, folds, inner_folds, seed)
    p = np.full(len(table), np.nan)
    p[labelled] = np.where(np.isnan(found.p[0]), NO_OPINION, found.p[0])
    return p


def auc_table(table: pd.DataFrame, n_models: int) -> pd.DataFrame:
    """AUC by corruption and severity, with intervals that allow for several nodules in a patient.

    Parameters
    ----------
    table : DataFrame
        With ``p`` of :func:`predicted`.
    n_models : int
        Its outer folds.

    Returns
    -------
    DataFrame
        ``corruption``, ``severity``, ``auc``, ``auc_low``, ``auc_high`` (95 %).
    """
    known = with_start(table[table["p"].notna()])
    rows = []
    for (name, severity), part in known.groupby(["corruption", "severity"], sort=False):
        y = part["malignant"].to_numpy(dtype=np.int64)
        found = auc_interval(y, part["p"].to_numpy(), part["patient_id"].to_numpy(), n_models=n_models)
        rows.append(
            {"corruption": name, "severity": severity, "auc": found.auc, "auc_low": found.low, "auc_high": found.high}
        )
    return pd.DataFrame(rows)
