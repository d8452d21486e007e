"""The classifier ``mlp``: a small multilayer perceptron."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from lungpipe.learn.models import STEP, standard_pipeline

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Multilayer perceptron with one hidden layer and a penalty on its weights, classes weighted to balance.

    Keel et al. 2023 (arXiv:2311.15719) read the latents of an autoencoder by a perceptron of three or four hidden layers, on
    thousands of slices; with tens to hundreds of nodules one small layer is as much as can be learned.

    Parameters
    ----------
    hidden : int
        Units of the hidden layer.
    penalties : tuple of float
        Penalties on squared weights to try, the strongest first.
    """

    name: ClassVar[str] = "mlp"
    version: ClassVar[str] = "1"
    hidden: int = 16
    penalties: tuple[float, ...] = (10.0, 3.0, 0.3)

    def pipeline(self, seed: int) -> Pipeline:
        """Return the unfitted pipeline; the seed draws the weights that learning starts from."""
        return standard_pipeline(BalancedPerceptron(hidden=self.hidden, random_state=seed))

    def grid(self) -> dict[str, list[Any]]:
        """Return the penalties."""
        return {f"{STEP}__alpha": list(self.penalties)}


class BalancedPerceptron(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """scikit-learn's perceptron, learned by L-BFGS on all rows at once, with the classes weighted to balance."""

    def __init__(
        self,
        hidden: int = 16,
        alpha: float = 3.0,
        class_weight: str | None = "balanced",
        max_iter: int = 200,
        random_state: int = 0,
    ) -> None:
        self.hidden = hidden
        self.alpha = alpha
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Fit; weights at which the iterations end early are taken as they are, as a further restraint."""
        labels = np.asarray(y)
        network = MLPClassifier(
            (self.hidden,), solver="lbfgs", alpha=self.alpha, max_iter=self.max_iter, random_state=self.random_state
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model_ = network.fit(np.asarray(X), labels, compute_sample_weight(self.class_weight, labels))
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Probabilities of both classes, shape (n, 2)."""
        return self.model_.predict_proba(np.asarray(X))
