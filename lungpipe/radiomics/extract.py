"""Extractor ``pyradiomics``: PyRadiomics' feature classes on crops of the full image's lattice.

Where a definition divides nothing by nothing PyRadiomics has a number by convention; here it is NaN
(:mod:`lungpipe.radiomics.undefined`). A flat original image is refused (``constant_region``): a scanner's noise makes none, so
the region lies in padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.errors import FeatureError
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, slots=True)
class PyRadiomics:
    """Plug-in ``pyradiomics``: every feature that PyRadiomics has, as it computes it (van Griethuysen et al. 2017)."""

    name: ClassVar[str] = "pyradiomics"
    version: ClassVar[str] = "2"

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

    def __call__(
        self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
    ) -> list[Mapping[str, float] | FeatureError]:
        """Extract the features of every region; see :class:`lungpipe.radiomics.Extractor`."""
        from lungpipe.radiomics.by_pyradiomics import features_of
        from lungpipe.radiomics.groups import region_groups

        self.check(settings)
        groups, errors = region_groups(volume, regions, settings)
        results: dict[int, Mapping[str, float] | FeatureError] = dict(errors)
        for group in groups:
            results.update(zip(group.indices, features_of(group, settings), strict=True))
        return [results[index] for index in range(len(regions))]
