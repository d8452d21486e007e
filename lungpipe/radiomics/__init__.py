"""From an image and regions to features: the extractor seam."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.errors import FeatureError
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.volume import CTVolume, Mask


@runtime_checkable
class Extractor(Protocol):
    """A plug-in of the group ``lungpipe.extractors``.

    It takes all regions of a nodule at once, because they share their work: one resampling, one set of filters.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    def __call__(
        self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
    ) -> list[Mapping[str, float] | FeatureError]:
        """Extract features.

        Parameters
        ----------
        volume : CTVolume
            HU; whole, or a crop that reaches past the regions (its frame is the whole image's grid).
        regions : sequence of Mask
            On the volume's frame.
        settings : RadiomicsSettings

        Returns
        -------
        list
            For each region its features by PyRadiomics' names, or the reason why it has none.
        """
        ...
