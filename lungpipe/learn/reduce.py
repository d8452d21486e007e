"""Steps of a pipeline that leave features out: of those that go together, all but one; of the rest, those that tell most.

References
----------
.. [1] Zhao, Anand and Wang, Maximum relevance and minimum redundancy feature selection methods for a marketing machine learning
   platform, IEEE DSAA 2019: the quotient of F statistic and mean correlation.
.. [2] Tibshirani, Regression shrinkage and selection via the lasso, J. R. Statist. Soc. B 58(1), 1996.
.. [3] Kursa and Rudnicki, Feature selection with the Boruta package, J. Statist. Softw. 36(11), 2010.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from scipy.stats import binom
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectorMixin, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted, validate_data

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Method = Literal["mrmr", "lasso", "boruta"]
#: Penalties along which the lasso lets features in, weakest last.
_PENALTIES = np.logspace(-2.5, 0.5, 13)
#: Forests that Boruta's shadows are drawn for, their trees, and the level at which a feature beats them, before Bonferroni.
_ROUNDS, _TREES, _LEVEL = 20, 16, 0.05
#: Stands for the infinite relevance of a feature that parts the classes without any spread; it may be multiplied.
_PERFECT = 1e300


class CorrelationFilter(SelectorMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Leave out each feature that goes with an earlier one that is kept.

    Parameters
    ----------
    most : float
        Greatest absolute correlation (Pearson's, over training rows) that two features may have.
    """

    def __init__(self, most: float = 0.95) -> None:
        self.most = most

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  # scikit-learn's names
        """Choose features; the label plays no part."""
        del y
        values = validate_data(self, X, dtype=np.float64)
        together = _correlations(values) > self.most
        kept = np.zeros(values.shape[1], dtype=np.bool_)
        gone = np.zeros(values.shape[1], dtype=np.bool_)
        for k in range(values.shape[1]):
            if not gone[k]:
                kept[k] = True
                gone |= together[k]
        self.kept_ = kept
        return self

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self)
        return self.kept_


class Select(SelectorMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Keep the features that tell most about the label, chosen on the rows of ``fit``.

    Parameters
    ----------
    method : {"mrmr", "lasso", "boruta"}
        Features one by one, each the most relevant for its redundancy with those before [1]_; those that a logistic
        regression with an L1 penalty lets in first [2]_; those that a forest finds more useful than shuffled copies of any
        feature [3]_, then the most useful of them.
    n_features : int
        How many at most.
    seed : int
        Of Boruta's forests.
    """

    def __init__(self, method: Method = "mrmr", n_features: int = 20, seed: int = 0) -> None:
        self.method = method
        self.n_features = n_features
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Choose features.

        Parameters
        ----------
        X : array_like of float, shape (n, p)
            Scaled and complete.
        y : array_like of int, shape (n,)

        Raises
        ------
        DatasetError
            If the method is unknown or no feature may be kept.
        """
        if self.method not in get_args(Method) or self.n_features < 1:
            raise DatasetError(
                f"selection {self.method!r} of {self.n_features} features: expected one of {', '.join(get_args(Method))} "
                "and at least one feature"
            )
        values = validate_data(self, X, dtype=np.float64)
        labels = np.asarray(y)
        if self.method == "mrmr":
            order = _by_relevance(values, labels, self.n_features)
        elif self.method == "lasso":
            order = _by_lasso(values, labels, self.n_features)
        else:
            order = _by_boruta(values, labels, self.seed)
        self.order_ = np.asarray(order[: self.n_features], dtype=np.intp)
        self.kept_ = np.isin(np.arange(values.shape[1]), self.order_)
        return self

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self)
        return self.kept_


def _correlations(values: Floats) -> Floats:
    """Absolute correlations of columns, shape (p, p); 0 with a constant one."""
    away = values - values.mean(axis=0)
    size = np.linalg.norm(away, axis=0)
    away = away / np.where(size > 0, size, 1)
    return np.asarray(np.abs(away.T @ away))


def _relevance(values: Floats, labels: NDArray[Any]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = f_classif(values, labels)[0]
    return np.minimum(np.nan_to_num(np.asarray(found, dtype=np.float64), nan=0.0, posinf=_PERFECT), _PERFECT)


def _by_relevance(values: Floats, labels: NDArray[Any], most: int) -> list[int]:
    relevance = _relevance(values, labels)
    together = _correlations(values)
    order: list[int] = []
    redundancy = np.zeros(len(relevance))
    left = np.ones(len(relevance), dtype=np.bool_)
    for n in range(min(most, len(relevance))):
        score = relevance / np.maximum(redundancy / n, 1e-3) if n else relevance
        best = int(np.argmax(np.where(left, score, -1.0)))
        order.append(best)
        left[best] = False
        redundancy += together[best]
    return order


def _by_lasso(values: Floats, labels: NDArray[Any], most: int) -> list[int]:
    """Features by the penalty that lets them in; the most relevant one if none ever does."""
    order: list[int] = []
    model = LogisticRegression(
        l1_ratio=1.0, solver="liblinear", class_weight="balanced", max_iter=200, tol=1e-3, random_state=0
    )
    for strength in _PENALTIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            size = np.abs(model.set_params(C=float(strength)).fit(values, labels).coef_[0])
        fresh = [k for k in np.argsort(-size, kind="stable").tolist() if size[k] > 0 and k not in order]
        order += fresh
        if len(order) >= most:
            break
    return order or [int(np.argmax(_relevance(values, labels)))]


def _by_boruta(values: Floats, labels: NDArray[Any], seed: int) -> list[int]:
    """Features that beat the best shuffled copy more often than chance, the most useful first; else the most useful one."""
    rng = np.random.default_rng(seed)
    n = values.shape[1]
    hits, useful = np.zeros(n, dtype=np.int64), np.zeros(n)
    for _ in range(_ROUNDS):
        shadows = rng.permuted(values, axis=0)
        forest = RandomForestClassifier(
            _TREES, max_depth=5, class_weight="balanced", n_jobs=1, random_state=int(rng.integers(2**31))
        )
        weight = forest.fit(np.hstack([values, shadows]), labels).feature_importances_
        hits += weight[:n] > weight[n:].max()
        useful += weight[:n]
    order = np.argsort(-useful, kind="stable")
    beaten = binom.sf(hits - 1, _ROUNDS, 0.5) * n <= _LEVEL
    return [int(k) for k in order if beaten[k]] or [int(order[0])]
