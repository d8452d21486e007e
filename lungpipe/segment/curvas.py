"""Figures of the CURVAS challenge: one prediction against several raters who do not agree.

Riera-Marin et al. 2025, doi:10.1016/j.compbiomed.2025.111024 (arXiv:2505.08685), as the challenge's published evaluation
computes them. Where all raters agree (consensus, inside or outside) a prediction can be right or wrong; where they differ
(dissensus) it can only be more or less sure. Two things are as in the paper and not as in its code: the CRPS is integrated
over all volumes, where the code stops at three standard deviations of the raters, beyond which all predictions score
alike; and the background is cut at a margin in mm, where the challenge's first edition takes the whole body and its
second one 20 voxels. The Dice and the confidence within the dissensus are lungpipe's; the challenge has none there.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import joint_stack
from lungpipe.volume import Block, Mask, box_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple

#: Background on every side of what any rater drew, mm, that counts for calibration and confidence; cut at the image.
BACKGROUND_MM = 20.0
#: Bins of equal width over [0, 1] for the calibration error; each holds its lower edge, and 1 is a bin of its own.
CALIBRATION_BINS = 50


@dataclass(frozen=True, eq=False)
class ProbabilityMap(Block):
    """Probability of each voxel to be inside, float, whole or a crop; 0 beyond the crop.

    Raises
    ------
    DatasetError
        If a value is below 0, above 1 or not a number.
    """

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        low, high = float(self.voxels.min()), float(self.voxels.max())
        if not (low >= 0 and high <= 1):  # also if one is not a number
            raise DatasetError(
                f"a probability map holds values from 0 to 1, found {low:g} to {high:g}; scale it, or apply a sigmoid or "
                "softmax to a network's raw output"
            )

    @property
    def mask(self) -> Mask:
        """Voxels of a probability above one half; at one half outside is taken, as by the challenge."""
        mask = Mask(np.asarray(self.voxels > 0.5), self.frame, self.start)
        return mask.trimmed() if mask.n_voxels else mask

    @property
    def volume_mm3(self) -> float:
        """Sum of the probabilities times the volume of a voxel, mm3."""
        return float(self.voxels.sum(dtype=np.float64)) * self.frame.voxel_volume_mm3


@dataclass(frozen=True, eq=False, slots=True)
class Regions:
    """Where raters agree and where they differ, bool arrays (z, y, x) on one box, which they fill."""

    inside: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    dissensus: NDArray[np.bool_]
    start: IndexTriple


@dataclass(frozen=True, slots=True)
class Curvas:
    """Figures of one prediction against several raters; NaN where one is undefined.

    Parameters
    ----------
    dice : tuple of float
        Against each rater, in the order given.
    consensus_dice, dissensus_dice : float
        See :func:`consensus_dice`, :func:`dissensus_dice`.
    consensus_confidence, dissensus_confidence : float
        See :func:`confidence`.
    calibration_error : tuple of float
        Against each rater.
    mean_calibration_error : float
    volume_mm3 : float
        Sum of the probabilities times the volume of a voxel.
    crps_mm3 : float
        See :func:`volume_crps_mm3`.
    """

    dice: tuple[float, ...]
    consensus_dice: float
    dissensus_dice: float
    consensus_confidence: float
    dissensus_confidence: float
    calibration_error: tuple[float, ...]
    mean_calibration_error: float
    volume_mm3: float
    crps_mm3: float


def curvas(prediction: Mask | ProbabilityMap, raters: Sequence[Mask]) -> Curvas:
    """All figures of a prediction; a mask is a probability map of 0 and 1.

    Parameters
    ----------
    prediction : Mask or ProbabilityMap
    raters : sequence of Mask
        At least one, on the prediction's frame. An empty mask is a rater who drew nothing.

    Raises
    ------
    GeometryError
        If there is no rater, or two grids differ.
    """
    joint_stack(raters)  # refuses none
    whole = prediction if isinstance(prediction, ProbabilityMap) else as_probability(prediction)
    mask = whole.mask
    errors = tuple(calibration_error(whole, raters))
    sure, torn = confidence(whole, raters)
    return Curvas(
        dice=tuple(dice(mask, rater) for rater in raters),
        consensus_dice=consensus_dice(mask, raters),
        dissensus_dice=dissensus_dice(mask, raters),
        consensus_confidence=sure,
        dissensus_confidence=torn,
        calibration_error=errors,
        mean_calibration_error=statistics.fmean(errors),
        volume_mm3=whole.volume_mm3,
        crps_mm3=volume_crps_mm3(whole.volume_mm3, [rater.volume_mm3 for rater in raters]),
    )


def as_probability(mask: Mask) -> ProbabilityMap:
    """A mask as a map of 0 and 1."""
    return ProbabilityMap(mask.voxels.astype(np.float32), mask.frame, mask.start)


def regions(raters: Sequence[Mask], margin_mm: float = BACKGROUND_MM) -> Regions | None:
    """Where all raters say inside, all say outside, or they differ; none if no rater drew anything.

    Parameters
    ----------
    raters : sequence of Mask
        At least one.
    margin_mm : float
        Background on every side of what any of them drew, rounded up to whole voxels, cut at the image.
    """
    stack, start = joint_stack(raters)
    drawn = Mask(np.asarray(stack.any(axis=0)), raters[0].frame, start)
    if not drawn.n_voxels:
        return None
    low, high = box_around(drawn.frame, *drawn.bounds, margin_mm)
    boxed = np.stack([rater.within(low, high).voxels for rater in raters])
    inside, anywhere = boxed.all(axis=0), boxed.any(axis=0)
    return Regions(np.asarray(inside), np.asarray(~anywhere), np.asarray(anywhere & ~inside), low)


def consensus_dice(mask: Mask, raters: Sequence[Mask]) -> float:
    """Dice of a mask and what all raters drew, over the voxels of the image where the raters agree.

    What the mask holds of the dissensus counts neither for nor against it. NaN if neither holds a voxel.
    """
    own, drawn = _split(mask, raters)
    inside, anywhere = drawn.all(axis=0), drawn.any(axis=0)
    return _dice(own & (inside | ~anywhere), np.asarray(inside))


def dissensus_dice(mask: Mask, raters: Sequence[Mask]) -> float:
    """Mean over the raters of the Dice of a mask and the rater, over the voxels where the raters differ.

    NaN where they do not differ. Pairs that hold no voxel there are left out of the mean.
    """
    own, drawn = _split(mask, raters)
    dissensus = drawn.any(axis=0) & ~drawn.all(axis=0)
    found = [_dice(own & dissensus, rater & dissensus) for rater in drawn]
    return _mean(np.asarray([value for value in found if not math.isnan(value)]))


def confidence(prediction: ProbabilityMap, raters: Sequence[Mask]) -> tuple[float, float]:
    """How sure a prediction is where raters agree, and where they differ.

    Returns
    -------
    consensus : float
        Mean of two means: the probability of the answer that all raters gave, over the voxels all of them called inside
        and over those all called outside (of :func:`regions`). 1 is sure and right, 0 sure and wrong.
    dissensus : float
        Mean probability of the likelier answer, max(p, 1 - p), over the voxels where the raters differ: from 0.5, which
        is undecided, to 1.
    """
    joint_stack([prediction.mask, *raters])  # refuses different grids
    agreed = regions(raters)
    if agreed is None:
        return math.nan, math.nan
    p = _values(prediction, agreed)
    right = 0.5 * (_mean(p[agreed.inside]) + _mean(1 - p[agreed.outside]))
    torn = p[agreed.dissensus]
    return right, _mean(np.maximum(torn, 1 - torn))


def calibration_error(prediction: ProbabilityMap, raters: Sequence[Mask], bins: int = CALIBRATION_BINS) -> list[float]:
    """Expected calibration error of a map against each rater (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602).

    Voxels are sorted into bins by the probability of the likelier answer, max(p, 1 - p); the error is the mean, over
    voxels, of the difference within a bin between that probability and how often the rater gave the answer. The voxels
    are those of :func:`regions`: with more background the error of nearly every map is smaller, so compare only figures
    of one margin. The error of a mask is the share of voxels where it differs from the rater. NaN if no rater drew
    anything.
    """
    joint_stack([prediction.mask, *raters])  # refuses different grids
    agreed = regions(raters)
    if agreed is None:
        return [math.nan] * len(raters)
    p = _values(prediction, agreed)
    sure = np.maximum(p, 1 - p).ravel()
    stop = np.add(agreed.start, p.shape).tolist()
    place = np.searchsorted(np.linspace(0, 1, bins + 1), sure, side="right") - 1
    errors = []
    for rater in raters:
        drawn = rater.within(agreed.start, (stop[0], stop[1], stop[2])).voxels
        right = ((p > 0.5) == drawn).ravel()
        errors.append(float(np.abs(np.bincount(place, weights=right - sure)).sum() / sure.size))
    return errors


def volume_crps_mm3(volume_mm3: float, rater_volumes_mm3: Sequence[float]) -> float:
    """Continuous ranked probability score of a volume against the raters' volumes, mm3; 0 is best.

    The raters' volumes stand for a Gaussian of their mean and population standard deviation (divisor n), as the challenge
    has it; the score is the integral over all volumes of the squared difference between its cumulative distribution and
    the prediction's step, in closed form (Gneiting and Raftery 2007, doi:10.1198/016214506000001437, eq. 21). Where the
    raters' volumes do not differ it is the absolute difference.
    """
    mean, spread = statistics.fmean(rater_volumes_mm3), statistics.pstdev(rater_volumes_mm3)
    off = volume_mm3 - mean
    z = off / spread if spread > 0 else math.inf
    if not math.isfinite(z):
        return abs(off)
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return spread * (z * math.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def _values(prediction: ProbabilityMap, agreed: Regions) -> NDArray[np.float64]:
    """Probabilities on the box of the regions."""
    p = np.zeros(agreed.inside.shape)
    low = np.maximum(agreed.start, prediction.start)
    high = np.minimum(np.add(agreed.start, p.shape), prediction.stop)
    if np.all(high > low):
        into = tuple(slice(a, b) for a, b in zip(low - agreed.start, high - agreed.start, strict=True))
        source = tuple(slice(a, b) for a, b in zip(low - prediction.start, high - prediction.start, strict=True))
        p[into] = prediction.voxels[source]
    return p


def _split(mask: Mask, raters: Sequence[Mask]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A mask (z, y, x) and the raters' (n, z, y, x) on one box that holds all of them."""
    stack, _ = joint_stack([mask, *raters])
    return stack[0], stack[1:]


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else math.nan


def _mean(values: NDArray[np.float64]) -> float:
    """Mean; not a number for no value."""
    return float(values.mean()) if values.size else math.nan
