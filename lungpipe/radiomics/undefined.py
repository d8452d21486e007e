"""What has no value in a region, and what needs a look about the values that it has.

PyRadiomics gives numbers by convention where a definition divides nothing by nothing: a correlation of 1, a coarseness of
10^6, a skewness of 0. A classifier cannot tell them from measurements, so here they are NaN, and the row has a code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Codes of features and what they mean.
CODES = {
    "few_voxels": "the region has fewer than 64 voxels on the grid of the features: texture says little of so few",
    "few_bins": "the original image has fewer than 8 grey levels in the region: narrow the bins",
    "many_bins": "the original image has more than 128 grey levels in the region: widen the bins",
    "flat_filtered_image": "all voxels of the region have one grey level in a filtered image: what is undefined there is NaN",
    "undefined_features": "a feature has no value in the region (0 divided by 0): it is NaN",
}
#: Voxels below which texture is not trusted, as in LIFEx (Nioche et al., Cancer Research 78(16), 2018).
FEW_VOXELS = 64
#: Grey levels between which texture is trusted: the range in which studies of discretisation found features to be repeatable.
FEW_BINS, MANY_BINS = 8, 128

_ONE_LEVEL = frozenset({"glcm_Correlation", "glcm_MCC", "glcm_Imc1", "glcm_Imc2", "ngtdm_Contrast", "ngtdm_Busyness"})
_ONE_VALUE = frozenset({"firstorder_Skewness", "firstorder_Kurtosis"})
#: PyRadiomics' coarseness where no voxel differs from its neighbours; strength is then divided by 0 too.
_NO_DIFFERENCE = 1e6


class Features(dict[str, float]):
    """Features of a region by name, and what needs a look about them.

    Attributes
    ----------
    codes : tuple of str
        Keys of :data:`CODES`.
    """

    codes: tuple[str, ...] = ()


def without_conventions(values: Mapping[str, float], n_levels: int, constant: bool) -> dict[str, float]:
    """Put NaN for what is undefined in a region.

    Parameters
    ----------
    values : mapping
        Features of one image by ``<class>_<feature>``, with PyRadiomics' conventions.
    n_levels : int
        Grey levels that the region has in the image.
    constant : bool
        Whether all its voxels have one value.
    """
    gone = (_ONE_LEVEL if n_levels == 1 else frozenset()) | (_ONE_VALUE if constant else frozenset())
    if values.get("ngtdm_Coarseness") == _NO_DIFFERENCE:
        gone |= {"ngtdm_Coarseness", "ngtdm_Strength"}
    return {name: math.nan if name in gone else value for name, value in values.items()}


def codes_of(features: Mapping[str, float], n_voxels: int, bins: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Say what needs a look about a region's features.

    Parameters
    ----------
    features : mapping
        Of all images.
    n_voxels : int
        Of the region on the grid of the features.
    bins : iterable of (str, int)
        Each image's name and the number of grey levels from the region's first to its last in it.
    """
    levels = dict(bins)
    original = levels.pop("original", None)
    found = {
        "few_voxels": n_voxels < FEW_VOXELS,
        "few_bins": original is not None and original < FEW_BINS,
        "many_bins": original is not None and original > MANY_BINS,
        "flat_filtered_image": any(n == 1 for n in levels.values()),
        "undefined_features": any(math.isnan(value) for value in features.values()),
    }
    return tuple(code for code, holds in found.items() if holds)
