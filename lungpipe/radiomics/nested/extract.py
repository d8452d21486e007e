"""Extractor ``nested``: the features of PyRadiomics from an engine that shares the work of a nodule's regions.

The engine is loaded where features are extracted, not where a recipe is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.errors import FeatureError
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, slots=True)
class Nested:
    """Plug-in ``nested``: every feature of PyRadiomics, by its definitions (van Griethuysen et al. 2017)."""

    name: ClassVar[str] = "nested"
    version: ClassVar[str] = "2"

    def __call__(
        self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
    ) -> list[Mapping[str, float] | FeatureError]:
        """Extract the features of every region; see :class:`lungpipe.radiomics.Extractor`."""
        from lungpipe.radiomics.groups import region_groups
        from lungpipe.radiomics.nested.regions import features_of

        groups, errors = region_groups(volume, regions, settings)
        results: dict[int, Mapping[str, float] | FeatureError] = dict(errors)
        for group in groups:
            results.update(zip(group.indices, features_of(group, settings), strict=True))
        return [results[index] for index in range(len(regions))]
