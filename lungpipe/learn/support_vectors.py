"""The classifier ``svm``: support vectors whose distances are made probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.svm import SVC

from lungpipe.learn.models import STEP, standard_pipeline

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class SupportVectors:
    """Support vector machine with radial kernel, its distances made probabilities by a logistic curve (Platt 1999).

    Parameters
    ----------
    strengths : tuple of float
        Values of C to try.
    """

    name: ClassVar[str] = "svm"
    version: ClassVar[str] = "2"
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline; nothing is drawn, so the seed does not matter."""
        del seed
        return standard_pipeline(PlattSVC(class_weight="balanced"))

    def grid(self) -> dict[str, list[Any]]:
        """Return the values of C."""
        return {f"{STEP}__C": list(self.strengths)}


class PlattSVC(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Support vectors and a logistic curve over their distances, learned on three folds of the training rows."""

    def __init__(self, C: float = 1.0, class_weight: str | None = None) -> None:  # noqa: N803  # scikit-learn's name
        self.C = C
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Fit; with fewer than three rows of a class the curve is learned on the rows themselves."""
        machine = SVC(C=self.C, class_weight=self.class_weight)
        least = int(np.bincount(np.asarray(y)).min())
        if least >= 3:
            model = CalibratedClassifierCV(machine, method="sigmoid", cv=3, ensemble=False)
        else:
            rows = np.arange(len(X))  # split once, into all and all: the default split wants five rows of a class
            model = CalibratedClassifierCV(
                FrozenEstimator(machine.fit(X, y)), method="sigmoid", cv=[(rows, rows)], ensemble=False
            )
        self.model_ = model.fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Probabilities of both classes, shape (n, 2)."""
        return self.model_.predict_proba(X)
