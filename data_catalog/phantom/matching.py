"""Pair malignant with benign nodules that look alike, so that the nodule alone says little about its label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from data_catalog.phantom.candidates import Candidate

#: Differences that weigh as much as each other: log volume, sphericity, texture and calcification ratings, log of the
#: longest side over the diameter.
ALIKE = (0.10, 0.012, 0.35, 0.35, 0.06)
#: The largest distance of a pair, in root mean square of those differences.
CALIPER = 2.0
#: Cost of a pair that must not be.
FORBIDDEN = 1e6
#: Random draws among which the most balanced is kept.
DRAWS = 25


def match_pairs(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Pair malignant and benign nodules by optimal assignment, each patient of LIDC-IDRI at most once.

    Parameters
    ----------
    candidates : sequence of Candidate
        Nodules of both labels.

    Returns
    -------
    list of (Candidate, Candidate)
        (malignant, benign), the most alike pair first. Differences beyond a caliper make no pair.
    """
    left = [c for c in candidates if c.malignant]
    right = [c for c in candidates if not c.malignant]
    pairs: list[tuple[Candidate, Candidate]] = []
    while left and right:
        matched = _assign(left, right)
        used: set[str] = set()
        fresh = 0
        for malignant, benign in matched:
            if used.isdisjoint({malignant.lidc_patient, benign.lidc_patient}):
                used |= {malignant.lidc_patient, benign.lidc_patient}
                pairs.append((malignant, benign))
                fresh += 1
        if not fresh:
            break
        left = [c for c in left if c.lidc_patient not in used]
        right = [c for c in right if c.lidc_patient not in used]
    return sorted(pairs, key=lambda pair: (_distance(*pair), pair[0].source))


def draw_pairs(
    pairs: Sequence[tuple[Candidate, Candidate]], count: int, rng: np.random.Generator
) -> list[tuple[Candidate, Candidate]]:
    """Draw pairs at random so that neither label's nodules are the larger ones.

    Parameters
    ----------
    pairs : sequence of (Candidate, Candidate)
        Pairs to choose from, at least ``count``.
    count : int
        How many.
    rng : numpy.random.Generator
        Source of the choice.

    Returns
    -------
    list of (Candidate, Candidate)
        In random order. Of many draws, which favour larger nodules (few are large), the one with the smallest mean
        differences between the labels.
    """
    gaps = np.array([_traits(m) - _traits(b) for m, b in pairs])
    weight = np.array([m.shape.diameter_mm + b.shape.diameter_mm for m, b in pairs])
    weight /= weight.sum()
    draws = [rng.choice(len(pairs), count, replace=False, p=weight) for _ in range(DRAWS)]
    best = min(draws, key=lambda draw: float(np.abs(gaps[draw].mean(axis=0)).max()))
    return [pairs[i] for i in best]


def _assign(left: Sequence[Candidate], right: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Pairs of least total distance, the closest first, without those beyond the caliper."""
    gap = np.array([_traits(c) for c in left])[:, None] - np.array([_traits(c) for c in right])[None]
    cost = np.sqrt(np.mean(gap**2, axis=-1))
    same = np.array([c.lidc_patient for c in left])[:, None] == np.array([c.lidc_patient for c in right])[None]
    cost[same] = np.inf
    rows, columns = linear_sum_assignment(np.where(cost <= CALIPER, cost, FORBIDDEN))
    order = np.argsort(cost[rows, columns], kind="stable")
    return [(left[rows[i]], right[columns[i]]) for i in order if cost[rows[i], columns[i]] <= CALIPER]


def _distance(first: Candidate, second: Candidate) -> float:
    """Root mean square of two nodules' differences, in units of :data:`ALIKE`."""
    return float(np.sqrt(np.mean((_traits(first) - _traits(second)) ** 2)))


def _traits(candidate: Candidate) -> NDArray[np.float64]:
    """Describe what pairs must have in common, shape (5,), in units of :data:`ALIKE`."""
    shape = candidate.shape
    values = (
        np.log(shape.volume_mm3),
        shape.sphericity,
        candidate.texture,
        candidate.calcification,
        np.log(2 * shape.radius_mm / shape.diameter_mm),
    )
    return np.asarray(np.array(values) / np.array(ALIKE), dtype=np.float64)
