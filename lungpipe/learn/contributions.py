"""What each feature adds to a prediction's log odds: Shapley values of boosted trees and of linear models.

References
----------
.. [1] Lundberg et al., From local explanations to global understanding with explainable AI for trees, Nature Machine Intelligence
   2, 2020: exact Shapley values of trees, here along the paths that training rows took.
.. [2] Strumbelj and Kononenko, Explaining prediction models and individual predictions with feature contributions, Knowl. Inf.
   Syst. 41, 2014: for a linear model with independent features, coefficient times distance from the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from lungpipe.learn.boosting import BalancedBoosting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def contributions(model: Any, train: Floats, rows: Floats) -> Contributions | None:
    """Divide the log odds of every row among the features, exactly: they and the base add up to it.

    Parameters
    ----------
    model : fitted classifier
        The last step of a pipeline.
    train : ndarray of float, shape (n, q)
        Rows that it was fitted to, as it takes them; their means are where a linear model's contributions are counted from.
    rows : ndarray of float, shape (m, q)

    Returns
    -------
    Contributions or None
        None for models other than logistic regression and XGBoost: a forest's would need a package of their own, and
        neighbours and kernels have no exact ones.
    """
    if isinstance(model, LogisticRegression):
        weights, mean = np.asarray(model.coef_[0]), train.mean(axis=0)
        base = float(model.intercept_[0] + weights @ mean)
        return Contributions((rows - mean) * weights, np.full(len(rows), base))
    if isinstance(model, BalancedBoosting):
        from xgboost import DMatrix  # it takes half a second to load

        found = model.model_.get_booster().predict(DMatrix(np.asarray(rows)), pred_contribs=True)
        return Contributions(found[:, :-1].astype(np.float64), found[:, -1].astype(np.float64))
    return None


class Contributions(NamedTuple):
    """In units of log odds: of each feature, shape (m, q), and what a row begins with, shape (m,)."""

    values: NDArray[np.float64]
    base: NDArray[np.float64]
