"""How far a nodule is from those that a network knows, by the network's own features.

Two distances from the features of known nodules. Mahalanobis': Lee, Lee, Lee and Shin 2018, arXiv:1807.03888, here of one
class, and with the covariance shrunk towards a multiple of the identity (Ledoit and Wolf 2004,
doi:10.1016/S0047-259X(03)00096-4), as there are rarely more nodules than features. And the distance from the nearest of a few
prototypes, which is like MaxQuery (Yuan et al. 2023, arXiv:2304.00212): there the largest response among the queries that a
mask transformer learned, here the nearest of k-means' centres, as these networks have no queries.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

#: Prototypes at most; and nodules for each at least.
PROTOTYPES, NODULES_EACH = 8, 4
#: Nodules that a reference needs.
FEWEST = 4
#: Arrays of a file, by their number of axes.
ARRAYS = {"mean": 1, "scale": 1, "precision": 2, "prototypes": 2}
#: A feature that varies by less than this share of its mean is constant but for rounding.
CONSTANT = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """What is known: features of known nodules, as their mean, spread and prototypes.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (d,)
        Mean and standard deviation of each feature; a constant feature has the scale 0 and does not count.
    precision : ndarray of float64, shape (d, d)
        Inverse of the shrunk covariance of the scaled features.
    prototypes : ndarray of float64, shape (k, d)
        Centres of clusters of the scaled features.
    about : mapping
        JSON values: what the features come from.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    precision: NDArray[np.float64]
    prototypes: NDArray[np.float64]
    about: Mapping[str, Any] = field(default_factory=dict)

    def mahalanobis(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mahalanobis distance of nodules from the known ones, shape (n,); near the root of d for a known one.

        Parameters
        ----------
        features : array_like of float, shape (n, d)

        Raises
        ------
        DatasetError
            If there are other than d features, or one is no finite number.
        """
        scaled = self._scaled(features)
        return np.asarray(np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", scaled, self.precision, scaled), 0.0)))

    def prototype_distance(self, features: ArrayLike) -> NDArray[np.float64]:
        """Distance of nodules from the nearest prototype, standard deviations of the features, shape (n,).

        Parameters
        ----------
        features : array_like of float, shape (n, d)

        Raises
        ------
        DatasetError
            As :meth:`mahalanobis`.
        """
        away = self._scaled(features)[:, None] - self.prototypes
        return np.asarray(np.sqrt(np.sum(away**2, axis=-1)).min(axis=1))

    def _scaled(self, features: ArrayLike) -> NDArray[np.float64]:
        values = _checked(features)
        if values.shape[1] != len(self.mean):
            raise DatasetError(
                f"expected {len(self.mean)} features a nodule, as the reference has, found {values.shape[1]}: they come from "
                "another network or another of its layers"
            )
        return _scaled(values, self.mean, self.scale)


def fit_reference(features: ArrayLike, about: Mapping[str, Any] | None = None, seed: int = 0) -> Reference:
    """Learn what is known.

    Parameters
    ----------
    features : array_like of float, shape (n, d)
        Of known nodules.
    about : mapping, optional
        What the features come from; kept with the reference.
    seed : int
        Of k-means.

    Raises
    ------
    DatasetError
        If there are fewer than :data:`FEWEST` nodules, a value is no finite number, or no feature varies.
    """
    values = _checked(features)
    if len(values) < FEWEST:
        raise DatasetError(f"a reference needs {FEWEST} nodules or more, found {len(values)}")
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale <= CONSTANT * np.abs(mean)] = 0.0
    if not scale.any():
        raise DatasetError(f"none of {len(scale)} features varies between {len(values)} nodules; take another layer")
    scaled = _scaled(values, mean, scale)
    precision = np.linalg.pinv(LedoitWolf(assume_centered=True).fit(scaled).covariance_, hermitian=True)
    count = min(PROTOTYPES, max(1, len(values) // NODULES_EACH), len(np.unique(scaled, axis=0)))
    clusters = KMeans(count, n_init=10, random_state=seed).fit(scaled)
    return Reference(mean, scale, precision, clusters.cluster_centers_.astype(np.float64), dict(about or {}))


def save_reference(path: Path, reference: Reference) -> None:
    """Write a reference (.npz), as a whole or not at all."""
    beside = path.with_name(f".{path.name}.part.npz")
    arrays = {name: getattr(reference, name) for name in ARRAYS}
    np.savez(beside, about=np.asarray(json.dumps(reference.about, sort_keys=True)), **arrays)
    beside.replace(path)


def read_reference(path: Path) -> Reference:
    """Read a reference; nothing in it is executed.

    Raises
    ------
    DatasetError
        If there is no such file, or it is none that :func:`save_reference` wrote.
    """
    if not path.is_file():
        raise DatasetError(f"no reference at {path}")
    advice = f"{path.name} is no reference that lungpipe wrote; make one with lungpipe corruption-ladder"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            arrays = {name: np.asarray(held[name], dtype=np.float64) for name in ARRAYS}
            about = json.loads(str(held["about"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(advice) from error
    d = arrays["mean"].size
    fits = all(arrays[name].ndim == axes and arrays[name].shape[-1] == d for name, axes in ARRAYS.items())
    if not fits or len(arrays["precision"]) != d or not all(np.isfinite(one).all() for one in arrays.values()):
        raise DatasetError(f"{advice}: its arrays do not fit each other, { ({k: v.shape for k, v in arrays.items()}) }")
    return Reference(**arrays, about=about)


def _scaled(values: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardised features; 0 for those that were constant."""
    return np.divide(values - mean, scale, out=np.zeros_like(values), where=scale > 0)


def _checked(features: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise DatasetError(f"expected finite features (nodules, features), found an array of shape {values.shape}")
    return values
