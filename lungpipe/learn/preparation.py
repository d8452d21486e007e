"""What stands between the table of features and a classifier, all of it learned by ``fit`` from training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from lungpipe.errors import DatasetError
from lungpipe.learn.combat import Combat
from lungpipe.learn.models import STEP
from lungpipe.learn.oversample import INNER, Oversampled
from lungpipe.learn.reduce import CorrelationFilter, Select
from lungpipe.learn.stable_step import Copies, KeepStable

if TYPE_CHECKING:
    from lungpipe.learn.models import Classifier

Selection = Literal["none", "mrmr", "lasso", "boruta"]
Balance = Literal["weights", "oversample", "none"]
#: Batches of fewer training rows have no scale of their own.
MIN_BATCH = 5


@dataclass(frozen=True, slots=True)
class Preparation:
    """How features are made ready.

    Parameters
    ----------
    max_correlation : float
        Of features that go together more than this, the first is kept; 1 keeps all.
    selection : {"none", "mrmr", "lasso", "boruta"}
        How features are chosen.
    n_features : tuple of int
        Numbers of features to choose, tried by the inner folds.
    balance : {"weights", "oversample", "none"}
        Whether classes weigh the same, where a classifier has weights, or training rows of the rarer one are drawn again.
    harmonise : bool
        Whether ComBat brings batches together; the table's first column then is the batch.
    copies : Copies, optional
        By which features are kept that are stable; the table's first column then is the patient, before the batch.
    columns : tuple of str
        Names of the features, needed with copies.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    max_correlation: float = 1.0
    selection: Selection = "none"
    n_features: tuple[int, ...] = (10, 20)
    balance: Balance = "weights"
    harmonise: bool = False
    copies: Copies | None = None
    columns: tuple[str, ...] = ()

    @property
    def n_lead(self) -> int:
        """Columns before the features."""
        return int(self.harmonise) + int(self.copies is not None)

    def __post_init__(self) -> None:
        if not 0 < self.max_correlation <= 1:
            raise DatasetError(f"benchmark.max_correlation must be above 0 and at most 1, found {self.max_correlation}")
        if self.selection not in get_args(Selection):
            raise DatasetError(f"benchmark.selection: {self.selection!r} is none of {', '.join(get_args(Selection))}")
        if not self.n_features or min(self.n_features) < 1 or len(set(self.n_features)) < len(self.n_features):
            raise DatasetError(f"benchmark.n_features must be different numbers from 1, found {list(self.n_features)}")

    def pipeline(self, classifier: Classifier, seed: int) -> Pipeline:
        """Make a classifier's pipeline with these steps in their places.

        Parameters
        ----------
        classifier : Classifier
        seed : int
            Of the classifier and of a selection that draws.
        """
        steps = list(classifier.pipeline(seed).steps)
        last = steps[-1][1]
        if self.balance != "weights" and "class_weight" in last.get_params():
            last.set_params(class_weight=None)
        if self.balance == "oversample":
            last = Oversampled(last, seed)
        chosen: list[tuple[str, Any]] = []
        if self.max_correlation < 1:
            chosen.append(("decorrelate", CorrelationFilter(self.max_correlation)))
        if self.selection != "none":
            chosen.append(("select", Select(self.selection, max(self.n_features), seed)))
        first: list[tuple[str, Any]] = [("harmonise", Harmonise())] if self.harmonise else []
        if self.copies is not None:
            first.insert(0, ("stable", KeepStable(self.copies, self.columns, int(self.harmonise))))
        return Pipeline([*first, *steps[:-1], *chosen, (STEP, last)])

    def grid(self, classifier: Classifier) -> dict[str, list[Any]]:
        """Values to try, by ``set_params`` name: the classifier's, and numbers of features, fewest first.

        Boruta finds its own number, of which the greatest asked for is the limit.
        """
        numbers = sorted(self.n_features)[-1:] if self.selection == "boruta" else sorted(self.n_features)
        own = classifier.grid()
        if self.balance == "oversample":
            own = {key.replace(f"{STEP}__", f"{STEP}__{INNER}__", 1): values for key, values in own.items()}
        return own | ({} if self.selection == "none" else {"select__n_features": numbers})


#: All features, unharmonised.
AS_IS = Preparation()


class Harmonise(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """ComBat on a table whose first column is the batch, which it takes away.

    Batches with fewer than :data:`MIN_BATCH` training rows are left as they are, like those that training rows do not have:
    they have no location or scale to learn.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  # scikit-learn's names
        """Learn location and scale of each batch of the training rows; the label plays no part."""
        del y
        table = np.asarray(X, dtype=np.float64)
        names, counts = np.unique(table[:, 0], return_counts=True)
        self.batches_ = names[counts >= MIN_BATCH]
        held = np.isin(table[:, 0], self.batches_)
        self.combat_ = None
        if len(self.batches_) > 1:
            self.combat_ = Combat().fit(table[held, 1:], batch=table[held, 0].astype(np.int64).astype(str))
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        """Adjust rows of batches that were learned."""
        table = np.asarray(X, dtype=np.float64)
        found = table[:, 1:].copy()
        held = np.isin(table[:, 0], self.batches_)
        if self.combat_ is not None and held.any():
            found[held] = self.combat_.transform(table[held, 1:], batch=table[held, 0].astype(np.int64).astype(str))
        return found
