"""Extractor ``nested``: the features of PyRadiomics from an engine that shares the work of a nodule's regions.

The engine is loaded where features are extracted, not where a recipe is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.errors import FeatureError
    from lungpipe.radiomics.settings import RadiomicsSettings


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
