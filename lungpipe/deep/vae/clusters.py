"""Groups of nodules in a space of latents, found without labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Groups at most, and nodules that each has at least on average.
MOST_GROUPS, LEAST_EACH = 6, 8
#: Principal components that groups are looked for in, at most.
COMPONENTS = 8
#: Least variance of a group along a component, in shares of the mean variance of all: without one, each odd nodule would be a
#: group of its own, as thin as it can be.
LEAST_VARIANCE = 0.05
#: Starts of each mixture, of which the likeliest counts.
STARTS = 5


@dataclass(frozen=True, eq=False, slots=True)
class Clusters:
    """Groups and a plane to look at them in.

    Parameters
    ----------
    plane : ndarray of float, shape (n, 2)
        First two principal components of the latents; the second is 0 where there is but one latent.
    explained : tuple of float
        Share of the variance along each of the two.
    group : ndarray of int, shape (n,)
        From 0, the largest first.
    bic : tuple of float
        Bayesian information criterion of 1, 2, ... groups; the smallest is chosen.
    """

    plane: NDArray[np.float64]
    explained: tuple[float, float]
    group: NDArray[np.int64]
    bic: tuple[float, ...]

    @property
    def count(self) -> int:
        """Groups."""
        return int(self.group.max()) + 1


def clusters_of(latents: NDArray[np.float64], seed: int = 0) -> Clusters:
    """Group nodules by their latents.

    A mixture of Gaussians with diagonal covariances is fitted to the principal components, for every number of groups that
    the nodules allow; the Bayesian information criterion (Schwarz 1978, doi:10.1214/aos/1176344136) chooses among them. One
    group is among the choices: latents then fall into no groups.

    Parameters
    ----------
    latents : ndarray of float, shape (n, latents)
        In their own scale: the prior gives all latents the same, and those that tell little vary little.
    seed : int
        Of the mixtures' starts.

    Raises
    ------
    DatasetError
        If there are fewer than 3 nodules, a value is no number, or no latent varies.
    """
    if len(latents) < 3 or not np.all(np.isfinite(latents)):
        raise DatasetError(
            f"groups of nodules need 3 or more, and latents that are numbers; found {len(latents)} nodules"
        )
    centred = latents - latents.mean(axis=0)
    if np.abs(centred).max() <= 1e-9 * np.abs(latents).max():
        raise DatasetError("no latent varies among the nodules; the autoencoder has not learned to tell them apart")
    count = min(COMPONENTS, latents.shape[1], len(latents) - 1)
    components = PCA(count, svd_solver="full")
    scores = components.fit_transform(centred)
    most = max(1, min(MOST_GROUPS, len(latents) // LEAST_EACH))
    mixtures = [_mixture(scores, k, seed) for k in range(1, most + 1)]
    bic = [float(mixture.bic(scores)) for mixture in mixtures]
    group = mixtures[int(np.argmin(bic))].predict(scores)
    plane, explained = np.zeros((len(latents), 2)), [0.0, 0.0]
    plane[:, : min(2, count)] = scores[:, :2]
    explained[: min(2, count)] = components.explained_variance_ratio_[:2].tolist()
    return Clusters(plane, (explained[0], explained[1]), _largest_first(group), tuple(bic))


def _mixture(scores: NDArray[np.float64], groups: int, seed: int) -> GaussianMixture:
    least = LEAST_VARIANCE * float(scores.var(axis=0).mean())
    mixture = GaussianMixture(groups, covariance_type="diag", n_init=STARTS, reg_covar=least, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the likeliest found counts all the same
        return mixture.fit(scores)


def _largest_first(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups numbered anew from 0 by their size; of equals, the one whose first nodule comes first; empty ones are gone."""
    names, first, counts = np.unique(group, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[np.searchsorted(names, group)]
