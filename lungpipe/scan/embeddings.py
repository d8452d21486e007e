"""Embeddings of a nodule as further rows beside its regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.errors import FeatureError
from lungpipe.scan.controls import unclipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lungpipe.embedding import Embedder
    from lungpipe.region.expand import Region
    from lungpipe.volume import CTVolume, Mask


def embeddings_of(
    volume: CTVolume, mask: Mask, embedders: Mapping[str, Embedder]
) -> Iterator[tuple[str, Region, Mapping[str, float] | FeatureError]]:
    """Embed a nodule by every embedder.

    Parameters
    ----------
    volume : CTVolume
        The whole scan.
    mask : Mask
        The nodule.
    embedders : mapping of str to Embedder
        By the name that the recipe gives.

    Yields
    ------
    str
        Name of the embedder.
    Region
        The nodule.
    mapping or FeatureError
        Its embedding, or why it has none.
    """
    region = unclipped(mask)
    for name, embedder in embedders.items():
        try:
            yield name, region, embedder(volume, mask)
        except FeatureError as error:
            yield name, region, error
