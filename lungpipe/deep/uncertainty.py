"""How unsure several probability maps of one nodule are, voxel by voxel and of its volume.

The maps may be those of an ensemble, draws of a probabilistic network, or one network on reflections of the image: anything
that gives several answers to one question. Nothing here knows a network; arrays come in and arrays go out.

References
----------
.. [1] Houlsby et al., Bayesian active learning for classification and preference learning, 2011, arXiv:1112.5745: the mutual
   information of an answer and the model that gives it.
.. [2] Roy et al., Bayesian QuickNAT: model uncertainty in deep whole-brain segmentation for structure-wise quality control,
   NeuroImage 195, 2019, arXiv:1811.09800: variation of the volume and Dice between draws as quality of a structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from lungpipe.errors import DatasetError
from lungpipe.segment.curvas import volume_crps_mm3

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

#: Part of the volumes that the interval holds.
LEVEL = 0.95


@dataclass(frozen=True, eq=False, slots=True)
class VoxelUncertainty:
    """How unsure maps are at each voxel; arrays of shape (z, y, x).

    Parameters
    ----------
    probability : ndarray of float64
        Mean of the maps.
    entropy_bits : ndarray of float64
        Predictive entropy, that of the mean: 0 where all are sure of one answer, 1 where the mean is one half.
    mutual_information_bits : ndarray of float64
        What of the entropy is disagreement between the maps [1]_: the entropy less the mean of theirs. What is left is doubt
        that every map has.
    variance : ndarray of float64
        Of the probabilities, divisor n.
    """

    probability: NDArray[np.float64]
    entropy_bits: NDArray[np.float64]
    mutual_information_bits: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VolumeUncertainty:
    """What maps say of the nodule's volume. The volume of a map is the sum of its probabilities times that of a voxel.

    Parameters
    ----------
    mean_mm3, sd_mm3 : float
        Over the maps, divisor n - 1; the deviation of one map is not a number.
    low_mm3, high_mm3 : float
        Interval that holds the middle :data:`LEVEL` of the volumes, between ranks linearly.
    variation : float
        Standard deviation over mean [2]_; not a number where all maps are empty.
    unsure_mm3 : float
        Predictive entropy, bits, summed over the voxels times the volume of one: that of as many voxels of one half. It is not
        divided by the nodule's size, which changes too as an image gets worse.
    crps_mm3 : float
        Continuous ranked probability score of the maps' Gaussian against a reference volume; not a number without one.
    """

    mean_mm3: float
    sd_mm3: float
    low_mm3: float
    high_mm3: float
    variation: float
    unsure_mm3: float
    crps_mm3: float


@dataclass(frozen=True, slots=True)
class NoduleUncertainty:
    """Figures of a nodule as a whole, to compare nodules or images by.

    Parameters
    ----------
    entropy_bits, mutual_information_bits : float
        Sum over the voxels, over the nodule's size, which is the sum of the mean probabilities: bits for each voxel of the
        nodule, wherever they lie. Not a number where all maps are empty.
    pairwise_dice : float
        Mean Dice of every two maps, cut at one half [2]_; 1 is agreement. Pairs that are both empty do not count; not a
        number if none does, or for one map.
    """

    entropy_bits: float
    mutual_information_bits: float
    pairwise_dice: float


def voxel_uncertainty(maps: ArrayLike) -> VoxelUncertainty:
    """Uncertainty at each voxel.

    Parameters
    ----------
    maps : array_like of float, shape (n, z, y, x)
        Probability of the nodule.

    Raises
    ------
    DatasetError
        If there is no map, or a value is no probability.
    """
    values = _checked(maps)
    mean = values.mean(axis=0)
    entropy = _entropy_bits(mean)
    within = np.mean([_entropy_bits(one) for one in values], axis=0)
    # By Jensen's inequality the difference is not below 0 but for rounding.
    return VoxelUncertainty(mean, entropy, np.maximum(entropy - within, 0.0), values.var(axis=0))


def volume_uncertainty(
    maps: ArrayLike, voxel_volume_mm3: float, reference_mm3: float | None = None
) -> VolumeUncertainty:
    """Uncertainty of the volume.

    Parameters
    ----------
    maps : array_like of float, shape (n, z, y, x)
        Probability of the nodule.
    voxel_volume_mm3 : float
    reference_mm3 : float, optional
        What the volume is, or what a rater drew. The score is the one of
        :func:`lungpipe.segment.curvas.volume_crps_mm3`, in which the two sides have changed places: there raters spread.

    Raises
    ------
    DatasetError
        If there is no map, or a value is no probability.
    """
    values = _checked(maps)
    volumes = values.sum(axis=(1, 2, 3)) * voxel_volume_mm3
    unsure = float(_entropy_bits(values.mean(axis=0)).sum()) * voxel_volume_mm3
    mean, tail = float(volumes.mean()), (1 - LEVEL) / 2
    sd = float(volumes.std(ddof=1)) if len(volumes) > 1 else math.nan
    low, high = np.quantile(volumes, [tail, 1 - tail]).tolist()
    crps = math.nan if reference_mm3 is None else volume_crps_mm3(reference_mm3, volumes.tolist())
    return VolumeUncertainty(mean, sd, low, high, sd / mean if mean > 0 else math.nan, unsure, crps)


def nodule_uncertainty(maps: ArrayLike) -> NoduleUncertainty:
    """Figures of the nodule as a whole.

    Parameters
    ----------
    maps : array_like of float, shape (n, z, y, x)
        Probability of the nodule.

    Raises
    ------
    DatasetError
        If there is no map, or a value is no probability.
    """
    values = _checked(maps)
    found = voxel_uncertainty(values)
    size = float(found.probability.sum())
    if size > 0:
        entropy, information = (
            float(bits.sum()) / size for bits in (found.entropy_bits, found.mutual_information_bits)
        )
    else:
        entropy = information = math.nan
    return NoduleUncertainty(entropy, information, _pairwise_dice(values > 0.5))


def _pairwise_dice(masks: NDArray[np.bool_]) -> float:
    flat = masks.reshape(len(masks), -1)
    sizes = flat.sum(axis=1)
    found = [
        2 * np.count_nonzero(flat[i] & flat[j]) / int(sizes[i] + sizes[j])
        for i, j in combinations(range(len(flat)), 2)
        if sizes[i] + sizes[j]
    ]
    return float(np.mean(found)) if found else math.nan


def common_box(
    maps: Sequence[NDArray[np.float32]], starts: Sequence[tuple[int, int, int]]
) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
    """Lay crops of one image on the box that holds all of them; a map is 0 beyond its crop.

    Parameters
    ----------
    maps : sequence of ndarray, shape (z, y, x) each
    starts : sequence of tuple of int
        First voxel (z, y, x) of each in the image.

    Returns
    -------
    ndarray of float32, shape (n, z, y, x)
    tuple of int
        First voxel (z, y, x) of the box in the image.

    Raises
    ------
    DatasetError
        If there is no map.
    """
    if not maps:
        raise DatasetError("uncertainty needs one probability map or more, found none")
    low = np.min(starts, axis=0)
    high = np.max([np.add(start, one.shape) for one, start in zip(maps, starts, strict=True)], axis=0)
    stack = np.zeros((len(maps), *(high - low)), dtype=np.float32)
    for into, one, start in zip(stack, maps, starts, strict=True):
        into[tuple(slice(a, a + n) for a, n in zip(np.subtract(start, low), one.shape, strict=True))] = one
    z, y, x = low.tolist()
    return stack, (z, y, x)


def _entropy_bits(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((special.entr(p) + special.entr(1 - p)) / math.log(2))


def _checked(maps: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 4 or not values.size:
        raise DatasetError(
            f"uncertainty needs one probability map or more, an array (n, z, y, x); found shape {values.shape}"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also if one is not a number
        raise DatasetError(f"probabilities lie from 0 to 1, found {low:g} to {high:g}; apply a sigmoid to logits")
    return values
