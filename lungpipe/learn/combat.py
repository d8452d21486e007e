"""ComBat: features of different scanners and kernels brought to one location and scale, learned from training rows alone.

References
----------
.. [1] Johnson, Li and Rabinovic, Adjusting batch effects in microarray expression data using empirical Bayes methods,
   Biostatistics 8(1), 2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from lungpipe.errors import DatasetError
from lungpipe.learn.combat_bayes import posterior
from lungpipe.learn.combat_design import Covariates, batch_codes, means_and_effects

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Unseen = Literal["refuse", "reference", "pooled"]
#: Residuals of a feature below this share of its size are rounding errors: there is no scale to adjust.
FLAT = 1e-12


class Combat(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Location and scale of batches, by parametric empirical Bayes [1]_, as a scikit-learn transformer.

    A feature g of sample j in batch i is modelled as ``alpha_g + x_j beta_g + gamma_ig + delta_ig e_ijg``. Location and scale
    of a batch are drawn towards those that its other features have: normal and inverse gamma priors, one each a batch, whose
    parameters are the moments over features. What the covariates explain stays in the features.

    It never sees the label: ``fit`` refuses one, and a covariate of its name. Nothing that ``transform`` returns for one row
    depends on another.

    Parameters
    ----------
    mean_only : bool
        Adjust the location only; batches are then taken to have one scale.
    reference : str, optional
        Batch that stays as it is, and that the others are brought to. None: the mean of all batches.
    unseen : {"refuse", "reference", "pooled"}
        What ``transform`` does with a batch that ``fit`` did not see: refuse it; leave it as it is, as though it were of the
        reference batch; or adjust it by the mean location and scale of the batches seen, weighted by their samples.
    min_batch : int
        Fewest samples of a batch.
    label : str
        Name of the label, which no covariate may have.

    Attributes
    ----------
    batches_ : tuple of str
    counts_ : NDArray of int, shape (n_batches,)
        Training rows of each.
    gamma_, delta_ : NDArray of float, shape (n_batches, n_features)
        Location and scale (a variance) of the standardised features.
    flat_ : NDArray of bool, shape (n_features,)
        Features without residual variance, which stay as they are.
    """

    def __init__(
        self,
        *,
        mean_only: bool = False,
        reference: str | None = None,
        unseen: Unseen = "refuse",
        min_batch: int = 2,
        label: str = "malignant",
    ) -> None:
        self.mean_only = mean_only
        self.reference = reference
        self.unseen = unseen
        self.min_batch = min_batch
        self.label = label

    def fit(
        self,
        X: ArrayLike | pd.DataFrame,  # noqa: N803  # scikit-learn's name
        y: None = None,
        *,
        batch: ArrayLike,
        covariates: pd.DataFrame | None = None,
    ) -> Self:
        """Learn location and scale of each batch.

        Parameters
        ----------
        X : array_like or DataFrame of float, shape (n, p)
            Training rows. Values that are not finite are left out of every statistic.
        y : None
            Anything else is refused.
        batch : array_like, shape (n,)
            Scanner, kernel or site of each row.
        covariates : DataFrame, n rows, optional
            What explains features and is to stay in them; numbers, or categories of any other type.

        Raises
        ------
        DatasetError
            If the label is given, a batch is too small, covariates and batches cannot be told apart, or anything is missing.
        """
        self._check_settings(y)
        values = _matrix(X)
        codes, levels = batch_codes(batch, len(values), self.label)
        self._check_batches(codes, levels)
        self._encoder = Covariates.learned(covariates, len(values), self.label)
        extra = self._encoder(covariates, len(values))
        self.n_features_in_ = values.shape[1]
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.batches_, self.counts_ = levels, np.bincount(codes, minlength=len(levels))
        self._fit(values, codes, extra, levels.index(self.reference) if self.reference is not None else None)
        return self

    def transform(
        self,
        X: ArrayLike | pd.DataFrame,  # noqa: N803  # scikit-learn's name
        *,
        batch: ArrayLike,
        covariates: pd.DataFrame | None = None,
    ) -> Any:
        """Adjust rows by what ``fit`` learned.

        Parameters
        ----------
        X, batch, covariates
            As in :meth:`fit`; missing values stay missing.

        Returns
        -------
        NDArray or DataFrame of float, shape (n, p)
            A DataFrame for a DataFrame.

        Raises
        ------
        DatasetError
            If a batch or a category was not seen and ``unseen`` does not say what to do, or columns differ.
        """
        check_is_fitted(self, "gamma_")
        values = _matrix(X)
        if values.shape[1] != self.n_features_in_:
            raise DatasetError(f"ComBat was fitted to {self.n_features_in_} features, found {values.shape[1]}")
        gamma, delta, untouched = self._effects(batch, len(values))
        centre = np.broadcast_to(self._grand, values.shape).copy()
        for column, effect in zip(self._encoder(covariates, len(values)).T, self._beta, strict=True):
            centre += column[:, None] * effect  # not a matrix product: its rounding depends on the number of rows
        adjusted = ((values - centre) / self._sigma - gamma) / np.sqrt(delta) * self._sigma + centre
        keep = untouched[:, None] | self.flat_[None, :] | ~np.isfinite(values)
        adjusted = np.where(keep, values, adjusted)
        return pd.DataFrame(adjusted, index=X.index, columns=X.columns) if isinstance(X, pd.DataFrame) else adjusted

    def fit_transform(
        self,
        X: ArrayLike | pd.DataFrame,  # noqa: N803  # scikit-learn's name
        y: None = None,
        *,
        batch: ArrayLike,
        covariates: pd.DataFrame | None = None,
    ) -> Any:
        """Fit, and adjust the training rows; see :meth:`fit`."""
        return self.fit(X, y, batch=batch, covariates=covariates).transform(X, batch=batch, covariates=covariates)

    def _check_settings(self, y: object) -> None:
        if y is not None:
            raise DatasetError(
                "ComBat was given labels (y); harmonisation that sees them makes the classes differ and so measures itself. "
                "Call fit(X, batch=..., covariates=...), with covariates that are known of any new patient"
            )
        if self.unseen not in get_args(Unseen):
            raise DatasetError(f"unseen = {self.unseen!r}: there are {', '.join(get_args(Unseen))}")
        if self.unseen == "reference" and self.reference is None:
            raise DatasetError('unseen = "reference" needs a reference batch: name one, or choose "pooled"')
        if self.min_batch < 2:
            raise DatasetError(f"min_batch must be at least 2, or a batch has no scale; found {self.min_batch}")

    def _check_batches(self, codes: NDArray[np.intp], levels: tuple[str, ...]) -> None:
        counts = np.bincount(codes, minlength=len(levels))
        small = [f"{name} ({count})" for name, count in zip(levels, counts, strict=True) if count < self.min_batch]
        if small:
            raise DatasetError(
                f"ComBat needs at least {self.min_batch} training rows a batch; too few have {', '.join(small)}. Join batches "
                "(by manufacturer, say), or leave these rows out"
            )
        if self.reference is not None and self.reference not in levels:
            raise DatasetError(
                f"no training row is of the reference batch {self.reference!r}; there are {', '.join(levels)}"
            )

    def _fit(self, values: Floats, codes: NDArray[np.intp], extra: Floats, reference: int | None) -> None:
        n_batches = len(self.batches_)
        present = np.isfinite(values)
        means, self._beta = means_and_effects(values, present, codes, n_batches, extra)
        counts = np.stack([present[codes == i].sum(axis=0) for i in range(n_batches)])
        total = counts.sum(axis=0)
        if reference is None:
            self._grand = (counts * np.where(counts > 0, means, 0.0)).sum(axis=0) / np.maximum(total, 1)
        else:
            if lacking := int(((counts[reference] == 0) & (total > 0)).sum()):
                raise DatasetError(
                    f"{lacking} features have no value in the reference batch {self.reference!r}; leave them out before ComBat"
                )
            self._grand = np.where(total > 0, means[reference], 0.0)
        effects = extra @ self._beta
        rows = present & (codes == reference)[:, None] if reference is not None else present
        residual = np.where(rows, values - means[codes] - effects, 0.0)
        size = np.where(rows, values, 0.0)
        n_rows = np.maximum(rows.sum(axis=0), 1)
        variance = (residual**2).sum(axis=0) / n_rows
        self.flat_ = ~(variance > FLAT**2 * (size**2).sum(axis=0) / n_rows)
        self._sigma = np.where(self.flat_, 1.0, np.sqrt(variance))
        standard = np.where(present, (values - self._grand - effects) / self._sigma, np.nan)
        self.gamma_, self.delta_ = np.zeros(means.shape), np.ones(means.shape)
        if n_batches == 1:
            return
        for i in range(n_batches):
            if i != reference:
                mine = standard[codes == i][:, ~self.flat_]
                self.gamma_[i, ~self.flat_], self.delta_[i, ~self.flat_] = posterior(mine, mean_only=self.mean_only)

    def _effects(self, batch: ArrayLike, n: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Location and scale for each row, shape (n, p), and which rows stay as they are."""
        codes, found = batch_codes(batch, n, self.label)
        unseen = [name for name in found if name not in self.batches_]
        if unseen and self.unseen == "refuse":
            raise DatasetError(
                f"ComBat knows {', '.join(self.batches_)}; {', '.join(unseen)} was not among the training rows. Leave these rows "
                'out, or say unseen="reference" (as it is) or unseen="pooled" (by the mean of the batches seen)'
            )
        share = self.counts_ / self.counts_.sum()
        place = {name: i for i, name in enumerate(self.batches_)}
        known = np.array([place.get(name, len(place)) for name in found])[codes]
        gamma = np.vstack([self.gamma_, (share[:, None] * self.gamma_).sum(axis=0)])
        delta = np.vstack([self.delta_, (share[:, None] * self.delta_).sum(axis=0)])
        untouched = np.array([*(name == self.reference for name in self.batches_), self.unseen == "reference"])
        return gamma[known], delta[known], untouched[known]


def _matrix(X: ArrayLike | pd.DataFrame) -> Floats:  # noqa: N803  # scikit-learn's name
    values = np.asarray(X, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise DatasetError(f"ComBat needs a table of rows and features; its shape is {values.shape}")
    return values
