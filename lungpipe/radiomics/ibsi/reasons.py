"""Why a feature has no value: the reason codes of NaN."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Reason codes and what they mean.
REASONS: Mapping[str, str] = {
    "cropped_image": "the image given is a crop, and the feature needs what lies outside it",
    "single_voxel": "the morphological mask is a single voxel, which has no extent",
    "flat_region": "the voxels' centres lie in a plane or on a line, so the ellipsoid has no volume or no area",
    "zero_sum": "the divisor is 0: the intensities' mean, quartiles or sum",
    "nothing_between": "no intensity lies from the 10th to the 90th percentile: there are too few voxels",
    "single_intensity": "all intensities are equal, or none lies so high",
    "single_grey_level": "all voxels have one grey level, and the feature divides by the levels' spread",
    "no_neighbours": "no voxel has a neighbour in the intensity mask",
    "equal_products": "every grey level has the same product of level and frequency, by whose differences busyness divides",
}


def reason(tag: str, found: Mapping[str, float]) -> str:
    """Name the reason why a feature is undefined.

    Parameters
    ----------
    tag : str
        The feature's.
    found : mapping
        Every feature of the region, by tag.
    """
    if tag.startswith("loc_") or tag.endswith(("_img", "_roi")):
        return "cropped_image"
    if tag.startswith(("morph_pca", "morph_vol_dens", "morph_area_dens")):
        return "flat_region" if isfinite(found["morph_pca_maj_axis"]) else "single_voxel"
    if tag.startswith(("morph_moran", "morph_geary", "ivh_")):
        return "single_intensity"
    if tag.endswith("_rmad"):
        return "nothing_between"
    if tag.startswith(("morph_com", "stat_", "ih_cov", "ih_qcod")):
        return "zero_sum"
    if tag.startswith("ih_"):
        return "single_grey_level"
    for feature, of_every_matrix, code in _OF_MATRICES:
        if tag.startswith(feature) and isfinite(found[tag.replace(feature, of_every_matrix)]):
            return code
    return "no_neighbours"


#: Texture features that divide by what can be 0, a feature of the same matrix that cannot, and why they have no value.
_OF_MATRICES = (
    ("cm_corr", "cm_joint_max", "single_grey_level"),
    ("cm_info_corr1", "cm_joint_max", "single_grey_level"),
    ("ngt_busyness", "ngt_coarseness", "equal_products"),
)
