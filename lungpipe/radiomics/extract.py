"""Extractor ``pyradiomics``: PyRadiomics' feature classes on crops of the full image's lattice.

What PyRadiomics says of a region that is flat in an image (all its voxels in one bin), so that other engines say the same:

- GLCM: Correlation, MCC, JointEnergy, MaximumProbability, Id, Idm, Idn and Idmn are 1; Imc1 and Imc2 are 0; entropies, variances,
  Contrast, ClusterShade and ClusterProminence are 0. Correlation and MCC are conventions: both are 0 divided by 0.
- First order: Skewness and Kurtosis are 0 where all values are equal, also by convention; Uniformity is 1, Entropy 0.
- NGTDM: Coarseness is 1,000,000 by convention (its limit), Contrast, Busyness, Complexity and Strength are 0.
- GLRLM, GLSZM and GLDM are defined; grey-level non-uniformity is the number of runs or zones.

A flat original image is refused here (``constant_region``): a scanner's noise makes none, so the region lies in padding. In
filtered images PyRadiomics' values stand, conventions with them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from radiomics import featureextractor
from scipy import ndimage

from lungpipe.dicom.read import to_sitk
from lungpipe.errors import DatasetError, FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.classes import enabled
from lungpipe.radiomics.groups import region_groups
from lungpipe.radiomics.shapes import shapes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.groups import RegionGroup
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.texture import TextureSettings
    from lungpipe.volume import CTVolume, Mask

    Features = Mapping[str, float] | FeatureError

# PyRadiomics narrates every feature class of every region at INFO and warns of normal choices.
logging.getLogger("radiomics").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class PyRadiomics:
    """Plug-in ``pyradiomics``: every feature that PyRadiomics has, as it computes it (van Griethuysen et al. 2017)."""

    name: ClassVar[str] = "pyradiomics"
    version: ClassVar[str] = "1"

    def check(self, settings: RadiomicsSettings) -> None:
        """Refuse settings that PyRadiomics has no words for, before any work.

        Raises
        ------
        DatasetError
        """
        for texture in (settings.texture, *(texture for _, texture in settings.overrides)):
            if texture.bin_origin is not None:
                raise DatasetError(
                    "features.bin_origin_hu: PyRadiomics' bins begin at each region's least value; extractor 'nested' "
                    "offers a fixed origin"
                )
            if texture.gldm_a != int(texture.gldm_a):
                raise DatasetError(f"gldm_a: PyRadiomics takes whole grey levels, found {texture.gldm_a}")

    def __call__(self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings) -> list[Features]:
        """Extract the features of every region; see :class:`lungpipe.radiomics.Extractor`."""
        self.check(settings)
        groups, errors = region_groups(volume, regions, settings)
        results: dict[int, Features] = dict(errors)
        for group in groups:
            results.update(zip(group.indices, _of_group(group, settings), strict=True))
        return [results[index] for index in range(len(regions))]


def _of_group(group: RegionGroup, settings: RadiomicsSettings) -> list[Features]:
    extractor = featureextractor.RadiomicsFeatureExtractor()
    asked = enabled(settings)
    extractor.enabledFeatures = {name: list(features) for name, features in asked.items() if "shape" not in name}
    found = shapes_of(group, settings)
    if not extractor.enabledFeatures:
        return found
    windows = [ndimage.find_objects(mask.astype(np.int8))[0] for mask in group.masks]
    for image_name, values in group.images():
        words = pyradiomics_words(settings.texture_of(image_name))
        for row, window in enumerate(windows):
            so_far = found[row]
            if isinstance(so_far, FeatureError):
                continue
            crop, inside = values[window], group.masks[row][window]
            if refusal := refused(image_name, crop[inside]):
                found[row] = refusal
                continue
            image, mask = pair_of_images(crop, inside, group.spacing_mm)
            made = extractor.computeFeatures(image, mask, image_name, **words)
            found[row] = {**so_far, **{name: float(value) for name, value in made.items()}}
    return found


def refused(image_name: str, samples: NDArray[Any]) -> FeatureError | None:
    """Say why a region's values in an image give no features, or None.

    Parameters
    ----------
    image_name : str
    samples : ndarray
        The region's values.
    """
    if not np.isfinite(samples).all():
        return FeatureError(
            "not_finite", f"the image {image_name} has values in the region that are not finite numbers"
        )
    if image_name == "original" and samples.min() == samples.max():
        return FeatureError("constant_region", f"every voxel of the region has {samples[0]:g} HU; texture is undefined")
    return None


def pyradiomics_words(texture: TextureSettings) -> dict[str, Any]:
    """Texture settings under PyRadiomics' names."""
    return {
        "binWidth": texture.bin_width,
        "binCount": texture.bin_count,
        "distances": list(texture.distances),
        "symmetricalGLCM": texture.symmetrical_glcm,
        "gldm_a": int(texture.gldm_a),
        "force2D": texture.force_2d,
        "force2Ddimension": texture.force_2d_axis,
        "weightingNorm": texture.weighting,
        "voxelArrayShift": texture.voxel_array_shift,
        "label": 1,
    }


def pair_of_images(values: NDArray[Any], inside: NDArray[np.bool_], spacing_mm: Triple) -> tuple[Any, Any]:
    """Image and mask of a box for SimpleITK."""
    z, y, x = inside.shape
    grid = Geometry((z, y, x), spacing_mm)
    return to_sitk(values, grid), to_sitk(inside.astype(np.uint8), grid)
