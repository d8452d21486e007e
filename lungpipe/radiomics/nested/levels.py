"""Grey levels of the regions of a chain: one number a voxel serves them all.

PyRadiomics numbers a region's bins from the one that holds its least value, with edges at multiples of the bin width. So the
levels of two regions differ by a whole number, unless rounding puts an edge elsewhere and a voxel lies between the two. Edges
are therefore made as PyRadiomics makes them, with the same types and order of operations, and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled
from lungpipe.errors import FeatureError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from lungpipe.radiomics.nested.chains import Chain
    from lungpipe.radiomics.texture import TextureSettings

#: Most grey levels between the least and the greatest value of a region; the matrices of pairs grow by its square.
MOST_LEVELS = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Levels:
    """Grey levels of a chain's voxels.

    Parameters
    ----------
    column : ndarray of int32, shape (n,)
        For each voxel the place of its level among those that occur.
    number : ndarray of int64, shape (n_regions, n_columns)
        Level number of each column in each region of the chain; below 1 where the region does not reach it.
    present : ndarray of bool, shape (n_regions, n_columns)
        Whether a voxel of the region has the level.
    highest : ndarray of int64, shape (n_regions,)
        Greatest level number in each region.
    """

    column: NDArray[np.int32]
    number: NDArray[np.int64]
    present: NDArray[np.bool_]
    highest: NDArray[np.int64]


def levels_of(values: NDArray[Any], chain: Chain, settings: TextureSettings) -> Levels | None:
    """Number the grey levels of a chain of regions.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Of the chain's voxels, in the type of the image.
    chain : Chain
    settings : TextureSettings

    Returns
    -------
    Levels or None
        None where the regions of the chain have bins that do not match, so that each needs a chain of its own.

    Raises
    ------
    FeatureError
        If values are not finite, or there are too many levels.
    """
    if not np.isfinite(values).all():
        raise FeatureError("not_finite", "the image has values in the region that are not finite numbers")
    n_regions = len(chain.members)
    if settings.bin_count is not None and n_regions > 1:
        return None
    _check_span(values, settings)
    numbers = np.empty(len(values), dtype=np.int64)
    shift = np.zeros(n_regions, dtype=np.int64)
    exact = values.astype(np.float64)
    if settings.bin_origin is not None:
        numbers[:] = np.maximum(np.floor((exact - settings.bin_origin) / settings.bin_width), 0) + 1
    else:
        edges = bin_edges(values, settings)
        _digitise(exact, edges, numbers)
        for region in range(n_regions - 1):
            held = chain.own <= region
            own = bin_edges(values[held], settings)
            shift[region] = numbers[held].min() - 1
            part = edges[shift[region] : shift[region] + len(own)]
            if not np.array_equal(own, part):
                again = np.empty(int(np.count_nonzero(held)), dtype=np.int64)
                _digitise(exact[held], own, again)
                if not np.array_equal(again, numbers[held] - shift[region]):
                    return None
    least = int(numbers.min())
    found = int(numbers.max()) - least + 1
    occurs = np.zeros((n_regions, found), dtype=np.bool_)
    _mark(numbers - least, chain.own, occurs)
    columns = np.flatnonzero(occurs[-1])
    place = np.zeros(found, dtype=np.int32)
    place[columns] = np.arange(len(columns), dtype=np.int32)
    number = columns[None, :] + least - shift[:, None]
    present = np.ascontiguousarray(occurs[:, columns])
    highest = np.where(present, number, 0).max(axis=1)
    return Levels(place[numbers - least], number, present, highest)


def bin_edges(values: NDArray[Any], settings: TextureSettings) -> NDArray[np.float64]:
    """Edges of PyRadiomics' bins for the values of a region.

    Parameters
    ----------
    values : ndarray, shape (n,)
        In the type of the image, whose rounding PyRadiomics' edges have.
    settings : TextureSettings

    Raises
    ------
    FeatureError
        If there are too many levels.
    """
    _check_span(values, settings)
    if settings.bin_count is not None:
        edges = np.histogram(values, settings.bin_count)[1]
        edges[-1] += 1
        return edges.astype(np.float64)
    least, greatest = values.min(), values.max()
    width = settings.bin_width
    edges = np.arange(least - least % width, greatest + 2 * width, width)
    if len(edges) == 1:
        return np.array([edges[0] - 0.5, edges[0] + 0.5], dtype=np.float64)
    return edges.astype(np.float64)


def _check_span(values: NDArray[Any], settings: TextureSettings) -> None:
    """Refuse what has too many levels, or values so large that their type cannot tell neighbouring bins apart."""
    least, greatest = float(values.min()), float(values.max())
    if settings.bin_count is not None:
        found = float(settings.bin_count)
    elif settings.bin_origin is not None:
        found = (greatest - settings.bin_origin) / settings.bin_width
    else:
        found = (greatest - least) / settings.bin_width
    if found > MOST_LEVELS:
        raise FeatureError(
            "too_many_grey_levels",
            f"{found:.0f} bins between the least and the greatest value of the region, {MOST_LEVELS} at most: widen the bins",
        )
    largest = max(abs(least), abs(greatest))
    apart = float(np.spacing(values.dtype.type(largest))) if values.dtype.kind == "f" else 0.0
    if settings.bin_count is None and apart > settings.bin_width:
        raise FeatureError(
            "values_too_large",
            f"values of the region reach {largest:.3g}, where numbers of type {values.dtype} are {apart:.3g} apart: bins of "
            f"{settings.bin_width:g} cannot be told from each other",
        )


@compiled
def _digitise(values: NDArray[np.float64], edges: NDArray[np.float64], numbers: NDArray[np.int64]) -> None:
    """Count the edges at or below each value."""
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    for k in range(len(values)):
        value = values[k]
        at = int((value - edges[0]) / width) + 1
        at = max(min(at, len(edges)), 0)
        while at < len(edges) and edges[at] <= value:
            at += 1
        while at > 0 and edges[at - 1] > value:
            at -= 1
        numbers[k] = at


@compiled
def _mark(place: NDArray[np.int64], own: NDArray[np.uint8], occurs: NDArray[np.bool_]) -> None:
    """Mark for each region the levels that its voxels have."""
    for k in range(len(place)):
        occurs[own[k], place[k]] = True
    for region in range(1, occurs.shape[0]):
        for level in range(occurs.shape[1]):
            occurs[region, level] |= occurs[region - 1, level]
