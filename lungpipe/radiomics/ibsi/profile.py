"""All features of IBSI 1 of a region, under one of IBSI's five configurations or without any preparation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import FeatureError
from lungpipe.radiomics.ibsi.catalogue import DIRECTED, UNDIRECTED, entries, wanted
from lungpipe.radiomics.ibsi.configurations import UNPREPARED, configuration
from lungpipe.radiomics.ibsi.cooccurrence import cooccurrence_features
from lungpipe.radiomics.ibsi.histogram import histogram_features, volume_histogram_features
from lungpipe.radiomics.ibsi.levels import box, grey_levels
from lungpipe.radiomics.ibsi.local import local_features
from lungpipe.radiomics.ibsi.morphology import morphological_features
from lungpipe.radiomics.ibsi.neighbourhoods import neighbourhood_features
from lungpipe.radiomics.ibsi.prepare import Prepared, prepare
from lungpipe.radiomics.ibsi.reasons import reason
from lungpipe.radiomics.ibsi.runs import run_features
from lungpipe.radiomics.ibsi.statistics import intensity_statistics
from lungpipe.radiomics.ibsi.zones import zone_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi.configurations import Configuration
    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A feature's value as IBSI names it.

    Parameters
    ----------
    feature, ibsi_code : str
        As in the published tables; diagnostic features have no code.
    aggregation : str
        IBSI's code of how a texture feature was aggregated, or empty.
    value : float
        NaN only with a reason in ``code``.
    code : str
        Reason code of a NaN, in snake_case; see :mod:`lungpipe.radiomics.ibsi.reasons`.
    family, family_code, tag : str
        As in the published tables; a tag names a row there.
    """

    feature: str
    ibsi_code: str
    aggregation: str
    value: float
    code: str = ""
    family: str = ""
    family_code: str = ""
    tag: str = ""


def profile_rows(volume: CTVolume, region: Mask, name: str) -> list[ProfileRow]:
    """Compute every feature of one of IBSI's configurations.

    Parameters
    ----------
    volume : CTVolume
        HU. A crop gives the same values as long as it reaches 6.2 mm beyond the region (and, for ``ibsi-E``, a few voxels
        more for its splines); what needs the full image is then NaN.
    region : Mask
        On the image's grid.
    name : str
        ``"ibsi-A"`` to ``"ibsi-E"``.

    Returns
    -------
    list of ProfileRow
        In the order of the published tables, diagnostic features first.

    Raises
    ------
    DatasetError
        If there is no such configuration.
    FeatureError
        If the region is empty, or empty after interpolation or re-segmentation, or the image holds values that are not
        finite.
    GeometryError
        If the region does not lie on the image's grid or reaches out of it.
    """
    chosen = configuration(name)
    return _rows(prepare(volume, region, chosen), chosen)


def digital_phantom_rows(levels: ArrayLike, inside: ArrayLike, spacing_mm: Triple) -> list[ProfileRow]:
    """Compute every feature of an image that is made of grey levels, as IBSI's digital phantom is.

    Parameters
    ----------
    levels : array_like, shape (z, y, x)
        Whole numbers, from 1 in the region.
    inside : array_like of bool, shape (z, y, x)
        Both the morphological and the intensity mask.
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.

    Returns
    -------
    list of ProfileRow
        Every aggregation of every family; no diagnostic features, since nothing is prepared.

    Raises
    ------
    FeatureError
        If the region is empty.
    DatasetError
        If a level in the region is not a whole number from 1.
    """
    mask = np.asarray(inside, dtype=np.bool_)
    if not mask.any():
        raise FeatureError("empty_region", "the region holds no voxel")
    return _rows(Prepared(np.asarray(levels, dtype=np.float64), mask, mask, spacing_mm), UNPREPARED)


def _rows(prepared: Prepared, chosen: Configuration) -> list[ProfileRow]:
    found = _values(prepared, chosen)
    rows = []
    for one in entries(chosen.dimensions, diagnostics=bool(prepared.diagnostics)):
        value = found[one.tag]
        code = "" if np.isfinite(value) else reason(one.tag, found)
        rows.append(
            ProfileRow(
                feature=one.feature,
                ibsi_code=one.ibsi_code,
                aggregation=one.aggregation,
                value=value if not code else float("nan"),
                code=code,
                family=one.family,
                family_code=one.family_code,
                tag=one.tag,
            )
        )
    return rows


def _values(prepared: Prepared, chosen: Configuration) -> dict[str, float]:
    """Every feature of a configuration, by tag."""
    samples = prepared.values[prepared.intensity]
    levels = grey_levels(prepared, chosen.texture)
    morphological = np.ascontiguousarray(prepared.morphological[box(prepared.morphological)])
    found = {
        **prepared.diagnostics,
        **morphological_features(prepared),
        **local_features(prepared),
        **intensity_statistics(samples),
        **histogram_features(levels[levels > 0]),
        **volume_histogram_features(samples, chosen.volume_histogram, prepared.range_hu),
    }
    for dimension in chosen.dimensions:
        directed, undirected = wanted(DIRECTED, (dimension,)), wanted(UNDIRECTED, (dimension,))
        found |= cooccurrence_features(levels, directed)
        found |= run_features(levels, directed)
        found |= zone_features(levels, morphological, undirected)
        found |= neighbourhood_features(levels, undirected)
    return found
