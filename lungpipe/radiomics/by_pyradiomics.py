"""Features of regions on one grid, by PyRadiomics' own classes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from radiomics import featureextractor
from scipy import ndimage

from lungpipe.dicom.read import to_sitk
from lungpipe.errors import FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.classes import enabled
from lungpipe.radiomics.nested.levels import bin_edges
from lungpipe.radiomics.nested.offsets import check_directions
from lungpipe.radiomics.shapes import shapes_of
from lungpipe.radiomics.undefined import Features, codes_of, without_conventions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.groups import RegionGroup
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.texture import TextureSettings


# PyRadiomics narrates every feature class of every region at INFO and warns of normal choices.
logging.getLogger("radiomics").setLevel(logging.ERROR)


def features_of(group: RegionGroup, settings: RadiomicsSettings) -> list[Features | FeatureError]:
    """Features of every region of a group, or why it has none."""
    extractor = featureextractor.RadiomicsFeatureExtractor()
    asked = enabled(settings)
    extractor.enabledFeatures = {name: list(features) for name, features in asked.items() if "shape" not in name}
    found: list[Features | FeatureError] = [
        shape if isinstance(shape, FeatureError) else Features(shape) for shape in shapes_of(group, settings)
    ]
    if not extractor.enabledFeatures:
        return found
    bins: list[list[tuple[str, int]]] = [[] for _ in found]
    windows = [ndimage.find_objects(mask.astype(np.int8))[0] for mask in group.masks]
    for image_name, values in group.images():
        texture = settings.texture_of(image_name)
        words = pyradiomics_words(texture)
        for row, window in enumerate(windows):
            so_far = found[row]
            if isinstance(so_far, FeatureError):
                continue
            crop, inside = values[window], group.masks[row][window]
            samples = crop[inside]
            if refusal := refused(image_name, samples):
                found[row] = refusal
                continue
            try:
                levels = np.unique(np.digitize(samples, bin_edges(samples, texture)))
                check_directions(inside.shape, texture, extractor.enabledFeatures)
                image, mask = pair_of_images(crop, inside, group.spacing_mm)
                made = extractor.computeFeatures(image, mask, image_name, **words)
            except FeatureError as error:
                found[row] = FeatureError(error.code, f"image {image_name}: {error.message}")
                continue
            except (RuntimeError, IndexError, ValueError) as error:  # its C code refuses this region
                found[row] = FeatureError("pyradiomics_failed", f"image {image_name}: PyRadiomics says {error}")
                continue
            values_of = {name.removeprefix(f"{image_name}_"): float(value) for name, value in made.items()}
            defined = without_conventions(values_of, len(levels), constant=bool(np.ptp(samples) == 0))
            so_far.update({f"{image_name}_{name}": value for name, value in defined.items()})
            bins[row].append((image_name, int(levels[-1] - levels[0]) + 1))
    for row, features in enumerate(found):
        if not isinstance(features, FeatureError):
            features.codes = codes_of(features, int(np.count_nonzero(group.masks[row])), bins[row])
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
