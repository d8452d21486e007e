"""Extractor ``pyradiomics``: PyRadiomics' feature classes on crops of the full image's lattice."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from radiomics import featureextractor
from scipy import ndimage

from lungpipe.dicom.read import to_sitk
from lungpipe.errors import FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.lattice import lattice_for, resample_image, resample_mask
from lungpipe.radiomics.shape import shape_features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.volume import CTVolume, Mask

# PyRadiomics narrates every feature class of every region at INFO and warns of normal choices.
logging.getLogger("radiomics").setLevel(logging.ERROR)

#: Fewest axes along which a region must be longer than one voxel (PyRadiomics' own default).
MIN_DIMENSIONS = 2


@dataclass(frozen=True, slots=True)
class PyRadiomics:
    """Plug-in ``pyradiomics``: 107 features of the original image a region (van Griethuysen et al. 2017)."""

    name: ClassVar[str] = "pyradiomics"
    version: ClassVar[str] = "1"

    def __call__(
        self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
    ) -> list[Mapping[str, float] | FeatureError]:
        """Extract the features of every region; see :class:`lungpipe.radiomics.Extractor`."""
        extractor = featureextractor.RadiomicsFeatureExtractor(**settings.pyradiomics())
        images = _Images(volume, regions, settings)
        results: list[Mapping[str, float] | FeatureError] = []
        for region in regions:
            try:
                results.append(_features(extractor, images, region))
            except FeatureError as error:
                results.append(error)
        return results


class _Images:
    """Image crops of one nodule, resampled once for all regions that share their voxel sides."""

    def __init__(self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings) -> None:
        self.volume = volume
        self.settings = settings
        self.groups: dict[Triple, list[tuple[IndexTriple, IndexTriple]]] = {}
        for region in regions:
            if region.n_voxels:
                self.groups.setdefault(self.spacing_for(region), []).append(region.bounds)
        self.cache: dict[Triple, tuple[IndexTriple, NDArray[np.generic]]] = {}

    def spacing_for(self, region: Mask) -> Triple:
        """Voxel sides (z, y, x) for a region: an axis along which it is one voxel thick is not resampled."""
        native = region.frame.spacing_mm
        if self.settings.spacing_mm is None:
            return native
        wanted = self.settings.spacing_mm[::-1]
        thick = np.subtract(region.bounds[1], region.bounds[0]) > 1
        z, y, x = (float(w if t else n) for w, n, t in zip(wanted, native, thick, strict=True))
        return z, y, x

    def pair(self, region: Mask) -> tuple[NDArray[np.generic], NDArray[np.bool_], Triple]:
        """HU and mask (z, y, x) of a region on their common grid, and its voxel sides (z, y, x) in mm."""
        spacing_mm = self.spacing_for(region)
        if np.allclose(spacing_mm, region.frame.spacing_mm):
            box = region.bounds
            return self.volume.crop(*box).hu, region.within(*box).voxels, region.frame.spacing_mm
        lattice = lattice_for(region.frame, region.bounds, spacing_mm)
        if spacing_mm not in self.cache:
            boxes = np.asarray(self.groups[spacing_mm])
            z0, y0, x0 = boxes[:, 0].min(axis=0).tolist()
            z1, y1, x1 = boxes[:, 1].max(axis=0).tolist()
            union = lattice_for(region.frame, ((z0, y0, x0), (z1, y1, x1)), spacing_mm)
            self.cache[spacing_mm] = union.start, resample_image(self.volume, union, self.settings.interpolation)
        start, hu = self.cache[spacing_mm]
        low = np.subtract(lattice.start, start)
        window = tuple(slice(int(a), int(a) + n) for a, n in zip(low, lattice.shape, strict=True))
        return hu[window], resample_mask(region, lattice), spacing_mm


def _features(extractor: Any, images: _Images, region: Mask) -> dict[str, float]:
    if not region.n_voxels:
        raise FeatureError("empty_region", "the region holds no voxel")
    hu, inside, spacing_mm = images.pair(region)
    if np.count_nonzero(inside) < 2:
        raise FeatureError(
            "region_too_small", f"{region.n_voxels} voxels of the scan leave fewer than 2 on the resampled grid"
        )
    window = ndimage.find_objects(inside.astype(np.int8))[0]
    hu, inside = hu[window], inside[window]
    if sum(n > 1 for n in inside.shape) < MIN_DIMENSIONS:
        raise FeatureError(
            "region_is_a_line", f"the region is {inside.shape} voxels (z, y, x); features need two dimensions"
        )
    samples = hu[inside]
    if samples.min() == samples.max():
        raise FeatureError("constant_region", f"every voxel of the region has {samples[0]:g} HU; texture is undefined")
    image, mask = (to_sitk(array, Geometry(inside.shape, spacing_mm)) for array in (hu, inside.astype(np.uint8)))
    # PyRadiomics' own shape class compares all pairs of mesh vertices: minutes for a large tumour's surroundings.
    values = shape_features(inside, spacing_mm)
    values.update(extractor.computeFeatures(image, mask, "original", **extractor.settings))
    return {name: float(value) for name, value in values.items()}
