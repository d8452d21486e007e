"""The classifiers that come with the package, each a pipeline and the hyper-parameters to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

STEP = "classifier"  # name of a pipeline's last step
#: Standard deviations from the mean at which a value is held: trees take single precision, which ends at 3e38.
_FAR = 1e30


def standard_pipeline(classifier: Any) -> Pipeline:
    """Put median imputation, a filter of constant columns and standard scaling before a classifier.

    Everything is learned by ``fit``, so from training rows only. A column without any value becomes constant and is
    dropped with the other constant ones.

    Parameters
    ----------
    classifier : sklearn estimator
        With ``predict_proba``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Its last step is called ``"classifier"``.
    """
    return Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("vary", VarianceThreshold()),
            ("scale", BoundedScaler()),
            (STEP, classifier),
        ]
    )


@runtime_checkable
class Classifier(Protocol):
    """What a classifier plug-in offers.

    A plug-in is a frozen dataclass: its fields go into the run record with its name and version.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    def pipeline(self, seed: int) -> Pipeline:
        """Return an unfitted pipeline whose last step is ``"classifier"`` and gives ``predict_proba``."""
        ...

    def grid(self) -> dict[str, list[Any]]:
        """Return the values to try, by ``set_params`` name; of equals the earlier is taken, so the simpler first."""
        ...


@dataclass(frozen=True, slots=True)
class Logistic:
    """Logistic regression with an L2 penalty and classes weighted to balance.

    Parameters
    ----------
    strengths : tuple of float
        Values of C, the inverse of the penalty, to try.
    """

    name: ClassVar[str] = "logistic"
    version: ClassVar[str] = "1"
    strengths: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1, 1.0)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline; the solver draws nothing, so the seed does not matter."""
        return standard_pipeline(LogisticRegression(class_weight="balanced", max_iter=2000, random_state=seed))

    def grid(self) -> dict[str, list[Any]]:
        """Return the values of C."""
        return {f"{STEP}__C": list(self.strengths)}


@dataclass(frozen=True, slots=True)
class ElasticNet:
    """Logistic regression with L1 and L2 penalties (Zou and Hastie 2005), classes weighted to balance.

    Parameters
    ----------
    strengths : tuple of float
        Values of C, the inverse of the penalty, to try.
    shares : tuple of float
        Shares of L1 in the penalty to try.
    """

    name: ClassVar[str] = "elastic_net"
    version: ClassVar[str] = "2"
    strengths: tuple[float, ...] = (0.1, 0.5, 2.0)
    shares: tuple[float, ...] = (0.2, 0.8)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline; the solver visits rows in an order drawn with the seed."""
        model = LogisticRegression(
            solver="saga", l1_ratio=0.5, class_weight="balanced", max_iter=5000, tol=1e-3, random_state=seed
        )
        return standard_pipeline(model)

    def grid(self) -> dict[str, list[Any]]:
        """Return the values of C and the shares of L1."""
        return {f"{STEP}__C": list(self.strengths), f"{STEP}__l1_ratio": list(self.shares)}


@dataclass(frozen=True, slots=True)
class RandomForest:
    """Random forest with classes weighted to balance.

    Parameters
    ----------
    trees : int
        Trees a forest; scikit-learn spends 1.5 to 2 ms on each, however few the nodules.
    leaf_sizes : tuple of int
        Smallest numbers of nodules in a leaf to try.
    """

    name: ClassVar[str] = "random_forest"
    version: ClassVar[str] = "1"
    trees: int = 32
    leaf_sizes: tuple[int, ...] = (4, 1)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline, on one core: configurations, not trees, are spread over workers."""
        forest = RandomForestClassifier(self.trees, class_weight="balanced", n_jobs=1, random_state=seed)
        return standard_pipeline(forest)

    def grid(self) -> dict[str, list[Any]]:
        """Return the leaf sizes."""
        return {f"{STEP}__min_samples_leaf": list(self.leaf_sizes)}


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """Share of malignant nodules among the nearest ones, all weighing the same.

    Parameters
    ----------
    neighbours : tuple of int
        Numbers of neighbours to try; more than the training rows means all of them.
    """

    name: ClassVar[str] = "knn"
    version: ClassVar[str] = "1"
    neighbours: tuple[int, ...] = (15, 9, 5, 3)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline; nothing is drawn, so the seed does not matter."""
        del seed
        return standard_pipeline(CappedNeighbours())

    def grid(self) -> dict[str, list[Any]]:
        """Return the numbers of neighbours."""
        return {f"{STEP}__n_neighbors": list(self.neighbours)}


class BoundedScaler(StandardScaler):  # type: ignore[misc]  # scikit-learn is untyped
    """Standard scaling that stays finite in single precision, however far a tested value is from all that were learned."""

    def transform(self, X: Any, copy: bool | None = None) -> Any:  # noqa: N803  # scikit-learn's names
        """Scale, and hold what is beyond 1e30 standard deviations there."""
        return np.clip(super().transform(X, copy=copy), -_FAR, _FAR)


class CappedNeighbours(KNeighborsClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Nearest neighbours that ask for no more of them than there are training rows."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Fit; the cap is set on this object, which the evaluation clones before each fit."""
        self.n_neighbors: int = min(self.get_params()["n_neighbors"], len(X))
        super().fit(X, y)
        return self
