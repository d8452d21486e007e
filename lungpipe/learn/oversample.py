"""Classes brought to one size by drawing rows of the rarer one again, for classifiers that have no weights too."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone

#: Name of the classifier inside, in the names of its hyper-parameters.
INNER = "model"


class Oversampled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A classifier fitted to its rows and to further ones, drawn with replacement from the rarer class until both are as many.

    Only rows that ``fit`` gets are drawn, so within a fold only training rows. Nothing is drawn for predictions.

    Parameters
    ----------
    model : scikit-learn estimator
        With ``predict_proba``.
    seed : int
        Of the draws.

    Attributes
    ----------
    model_ : scikit-learn estimator
        As fitted.
    """

    def __init__(self, model: Any, seed: int = 0) -> None:
        self.model = model
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Draw and fit."""
        table, labels = np.asarray(X), np.asarray(y)
        rows = drawn(labels, self.seed)
        self.model_ = clone(self.model).fit(table[rows], labels[rows])
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Probabilities of both classes, shape (n, 2)."""
        return self.model_.predict_proba(np.asarray(X))


def drawn(labels: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Positions of all rows, then of those that are drawn again; every class is then as frequent as the commonest.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    seed : int
    """
    rng = np.random.default_rng(seed)
    values, counts = np.unique(labels, return_counts=True)
    again = [
        rng.choice(np.flatnonzero(labels == value), counts.max() - count)
        for value, count in zip(values, counts, strict=True)
        if count < counts.max()
    ]
    return np.concatenate([np.arange(len(labels)), *again])
