"""Extractor ``nested``: the features of PyRadiomics from an engine that shares the work of a nodule's regions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import ndimage

from lungpipe.errors import FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.classes import enabled
from lungpipe.radiomics.groups import region_groups
from lungpipe.radiomics.nested.engine import Texture
from lungpipe.radiomics.nested.offsets import check_directions
from lungpipe.radiomics.shapes import shapes_of
from lungpipe.radiomics.undefined import Features, codes_of
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lungpipe.radiomics.groups import RegionGroup
    from lungpipe.radiomics.nested.engine import Found
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.texture import TextureSettings


@dataclass(frozen=True, slots=True)
class Nested:
    """Plug-in ``nested``: every feature of PyRadiomics, by its definitions (van Griethuysen et al. 2017)."""

    name: ClassVar[str] = "nested"
    version: ClassVar[str] = "2"

    def __call__(
        self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
    ) -> list[Mapping[str, float] | FeatureError]:
        """Extract the features of every region; see :class:`lungpipe.radiomics.Extractor`."""
        groups, errors = region_groups(volume, regions, settings)
        results: dict[int, Mapping[str, float] | FeatureError] = dict(errors)
        for group in groups:
            results.update(zip(group.indices, _of_group(group, settings), strict=True))
        return [results[index] for index in range(len(regions))]

    def prepare(self, settings: RadiomicsSettings) -> None:
        """Compile what these settings need, on a nodule of a few voxels.

        Whoever starts workers calls this first: compiled code is kept on disk, so that no worker compiles. A quarter of a
        minute after an install, a fraction of a second ever after.
        """
        frame = Geometry((20, 24, 28), (1.25, 0.7, 0.8))
        hu = np.random.default_rng(0).normal(-300, 200, frame.shape).astype(np.int16)
        inside = np.zeros(frame.shape, dtype=np.bool_)
        inside[8:12, 8:16, 10:18] = True
        around = np.zeros(frame.shape, dtype=np.bool_)
        around[6:14, 6:18, 8:20] = True
        # None of what may refuse a region of so few voxels.
        own = replace(settings, min_voxels=None, min_dimensions=1, resegment=None)
        self(CTVolume(hu, frame), [Mask(inside, frame), Mask(around, frame)], own)


def _of_group(group: RegionGroup, settings: RadiomicsSettings) -> list[Features | FeatureError]:
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
