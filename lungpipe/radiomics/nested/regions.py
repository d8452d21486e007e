"""Features of regions on one grid, which share the work on each image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import FeatureError
from lungpipe.radiomics.classes import enabled
from lungpipe.radiomics.nested.engine import Texture
from lungpipe.radiomics.nested.offsets import check_directions
from lungpipe.radiomics.shapes import shapes_of
from lungpipe.radiomics.undefined import Features, codes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lungpipe.radiomics.groups import RegionGroup
    from lungpipe.radiomics.nested.engine import Found
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.texture import TextureSettings


def features_of(group: RegionGroup, settings: RadiomicsSettings) -> list[Features | FeatureError]:
    """Features of every region of a group, or why it has none."""
    asked = enabled(settings)
    features: list[Features | FeatureError] = [
        shape if isinstance(shape, FeatureError) else Features(shape) for shape in shapes_of(group, settings)
    ]
    of_image = {name: names for name, names in asked.items() if "shape" not in name}
    prepared: dict[TextureSettings, Texture] = {}
    bins: list[list[tuple[str, int]]] = [[] for _ in features]
    for image_name, values in group.images() if of_image else ():
        texture = settings.texture_of(image_name)
        if texture not in prepared:
            prepared[texture] = Texture.of(group.masks, group.spacing_mm, texture, of_image)
            _without_directions(group, texture, of_image, features)
        for row, found in enumerate(prepared[texture].features(values)):
            so_far = features[row]
            if isinstance(so_far, FeatureError):
                continue
            if isinstance(found, FeatureError):
                features[row] = FeatureError(found.code, f"image {image_name}: {found.message}")
            elif image_name == "original" and found.constant:
                features[row] = FeatureError(
                    "constant_region", "every voxel of the region has the same HU; texture is undefined"
                )
            else:
                so_far.update(_named(image_name, found, of_image))
                bins[row].append((image_name, found.n_bins))
    for row, (done, mask) in enumerate(zip(features, group.masks, strict=True)):
        if not isinstance(done, FeatureError):
            done.codes = codes_of(done, int(np.count_nonzero(mask)), bins[row])
    return features


def _without_directions(
    group: RegionGroup, texture: TextureSettings, classes: Collection[str], features: list[Features | FeatureError]
) -> None:
    """Put errors for regions in whose box no neighbour fits."""
    for row, mask in enumerate(group.masks):
        box = ndimage.find_objects(mask.astype(np.int8))[0]
        try:
            check_directions(tuple(part.stop - part.start for part in box), texture, classes)
        except FeatureError as error:
            features[row] = error if not isinstance(features[row], FeatureError) else features[row]


def _named(image_name: str, found: Found, of_image: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Features under PyRadiomics' names, in its order."""
    values = dict(found.values)
    if "firstorder_Variance" in values:  # deprecated, computed where it is asked for by name
        values["firstorder_StandardDeviation"] = math.sqrt(values["firstorder_Variance"])
    return {
        f"{image_name}_{kind}_{feature}": values[f"{kind}_{feature}"]
        for kind, names in of_image.items()
        for feature in names
    }
