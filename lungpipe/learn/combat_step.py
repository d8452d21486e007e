"""ComBat as a step of a scikit-learn pipeline that ends in a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from lungpipe.learn.combat import Combat

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


class CombatStep(Combat):
    """:class:`lungpipe.learn.combat.Combat` where labels cannot be kept away: a pipeline hands them to each of its steps.

    They are dropped unread, so the fit is that without them. Batches and covariates arrive by scikit-learn's metadata routing
    (``enable_metadata_routing``)::

        step = CombatStep().set_fit_request(batch=True, covariates=True).set_transform_request(batch=True, covariates=True)
        model = Pipeline([("combat", step), ("classifier", LogisticRegression())])
        model.fit(X, y, batch=kernels, covariates=ages).predict_proba(X_test, batch=kernels_test, covariates=ages_test)
    """

    def fit(
        self,
        X: ArrayLike | pd.DataFrame,  # noqa: N803  # scikit-learn's name
        y: Any = None,
        *,
        batch: ArrayLike,
        covariates: pd.DataFrame | None = None,
    ) -> Self:
        """Learn location and scale of each batch; see :meth:`lungpipe.learn.combat.Combat.fit`."""
        del y
        return super().fit(X, batch=batch, covariates=covariates)

    def fit_transform(
        self,
        X: ArrayLike | pd.DataFrame,  # noqa: N803  # scikit-learn's name
        y: Any = None,
        *,
        batch: ArrayLike,
        covariates: pd.DataFrame | None = None,
    ) -> Any:
        """Fit, and adjust the training rows."""
        del y
        return super().fit_transform(X, batch=batch, covariates=covariates)
