"""A proportion of nodules and its interval when one patient brings several."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import norm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def clustered_proportion(
    hits: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95
) -> Proportion:
    """Give a proportion with Wilson's interval, its number of nodules reduced for those that share a patient.

    Wilson (1927), *Probable inference, the law of succession, and statistical inference*, Journal of the American
    Statistical Association 22:209-212, for n nodules that are independent. Nodules of one patient are alike, so n is
    divided by the design effect, the ratio of the variance between patients' sums to the binomial one (Rao and Scott
    1992, *A simple method for the analysis of clustered binary data*, Biometrics 48:577-585); a ratio below 1 is taken as 1.
    A proportion of 0 or 1 shows no variance: n is then the number of patients. With one nodule a patient this is
    Wilson's interval itself, up to the factor n / (n - 1) of the variance, which is left out where no patient has two.

    Parameters
    ----------
    hits : array_like, shape (n,)
        1 or True for a hit; a share of hits, where it is a mean over repeats.
    groups : array_like, shape (n,)
        Patient of each row.
    weights : array_like of float, shape (n,), optional
        How much of a nodule each row is: the share of the repeats that it belongs to.
    level : float
        Confidence level.

    Returns
    -------
    Proportion
        All NaN, and 0 nodules, where there are no rows.
    """
    values, names = np.asarray(hits, dtype=float), np.asarray(groups)
    if not len(values):
        return Proportion(np.nan, np.nan, np.nan, 0.0)
    parts = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    share = float((parts * values).sum() / parts.sum())
    low, high = wilson_interval(share, _effective(values, parts, share, names), level=level)
    return Proportion(share, low, high, float(parts.sum()))


def wilson_interval(share: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Give Wilson's interval (1927) of a proportion.

    Parameters
    ----------
    share : float
        The proportion.
    n : float
        Independent trials; need not be whole.
    level : float
        Confidence level.

    Returns
    -------
    low, high : float
    """
    z = float(norm.ppf(0.5 + level / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return (max(0.0, centre - half) if share > 0 else 0.0), (min(1.0, centre + half) if share < 1 else 1.0)


def _effective(
    values: NDArray[np.float64], parts: NDArray[np.float64], share: float, names: NDArray[np.generic]
) -> float:
    """Return the number of independent nodules worth as much as these."""
    index = np.unique(names, return_inverse=True)[1]
    n, patients = float(parts.sum()), int(index.max()) + 1
    if patients == len(values):
        return n
    if share in (0.0, 1.0) or patients == 1:
        return min(n, float(patients))
    sums = np.bincount(index, parts * (values - share))
    between = patients / (patients - 1) * float((sums**2).sum()) / n
    return n / max(1.0, between / (share * (1 - share)))


class Proportion(NamedTuple):
    """A proportion, its limits, and of how many nodules it is one (not whole where weights are not)."""

    value: float
    low: float
    high: float
    n: float
