"""The classifier ``xgboost``: gradient boosted trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from lungpipe.learn.models import STEP, standard_pipeline

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class GradientBoosting:
    """Gradient boosted trees (XGBoost, Chen and Guestrin 2016), classes weighted to balance.

    Parameters
    ----------
    trees : int
        Rounds of boosting.
    depths : tuple of int
        Depths of a tree to try.
    """

    name: ClassVar[str] = "xgboost"
    version: ClassVar[str] = "1"
    trees: int = 60
    depths: tuple[int, ...] = (1, 3)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline, on one core: configurations, not trees, are spread over workers."""
        return standard_pipeline(BalancedBoosting(n_estimators=self.trees, random_state=seed))

    def grid(self) -> dict[str, list[Any]]:
        """Return the depths."""
        return {f"{STEP}__max_depth": list(self.depths)}


class BalancedBoosting(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """XGBoost on one core, with the classes weighted to balance."""

    def __init__(
        self,
        n_estimators: int = 60,
        max_depth: int = 3,
        learning_rate: float = 0.1,
        class_weight: str | None = "balanced",
        random_state: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Fit."""
        from xgboost import XGBClassifier  # it takes half a second to load

        labels = np.asarray(y)
        weights = compute_sample_weight(self.class_weight, labels)
        self.model_ = XGBClassifier(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            learning_rate=self.learning_rate,
            subsample=0.8,
            colsample_bytree=0.5,
            tree_method="hist",
            n_jobs=1,
            random_state=self.random_state,
        ).fit(np.asarray(X), labels, sample_weight=weights)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Probabilities of both classes, shape (n, 2)."""
        return self.model_.predict_proba(np.asarray(X)).astype(np.float64)
