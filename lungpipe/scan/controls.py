"""Regions that a benchmark is held against: the nodule's box, its voxels in another order, and its place without it.

A classifier that does as well on the box needs no outline; one that does as well on shuffled voxels reads shape and the
distribution of HU, and no texture; one that does as well where the nodule was taken out (:func:`lungpipe.synthesis.inpainted`)
reads the surroundings or the outline, and nothing of the nodule's tissue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import FeatureError, RegionError
from lungpipe.radiomics.perturb import seed_of
from lungpipe.radiomics.perturbed_features import margin_of
from lungpipe.region.expand import CAUSES, Region
from lungpipe.region.specs import ShellSpec
from lungpipe.synthesis import inpainted
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.scan.settings import ScanSettings

#: Names of the regions in the table of features.
BOX, SHUFFLED, INPAINTED = "box", "shuffled", "inpainted"


def controls_of(
    volume: CTVolume, mask: Mask, settings: ScanSettings
) -> Iterator[tuple[str, Region, Mapping[str, float] | FeatureError]]:
    """Extract the features of the controls that the settings name.

    Parameters
    ----------
    volume : CTVolume
        The whole scan.
    mask : Mask
        The nodule; its voxels and place seed what is random, whatever its pseudonym.
    settings : ScanSettings

    Yields
    ------
    str
        Name of the region.
    Region
        The nodule's box; or the nodule, whose image has the voxels shuffled or the nodule taken out.
    mapping or FeatureError
        Its features, or why it has none.
    """
    for name in settings.controls:
        try:
            image, region = _seen(name, volume, mask, settings.radiomics)
        except RegionError as error:
            yield name, unclipped(mask), FeatureError(error.code, error.message)
        else:
            yield name, region, settings.extractor(image, [region.mask], settings.radiomics)[0]


def _seen(name: str, volume: CTVolume, mask: Mask, settings: RadiomicsSettings) -> tuple[CTVolume, Region]:
    """Image and region of a control."""
    if name == BOX:
        return volume, box_of(mask)
    if name == SHUFFLED:
        return shuffled(volume, mask, settings), unclipped(mask)
    return inpainted(volume, mask, seed=seed_of(mask.content_id)), unclipped(mask)


def box_of(mask: Mask) -> Region:
    """The bounding box of a nodule, all of its voxels."""
    tight = mask.trimmed()
    return unclipped(Mask(np.ones_like(tight.voxels), mask.frame, tight.start))


def unclipped(mask: Mask) -> Region:
    """A mask as a region of which nothing is taken."""
    return Region(ShellSpec("nodule"), mask, 0.0, dict.fromkeys(CAUSES, 0.0))


def shuffled(volume: CTVolume, mask: Mask, settings: RadiomicsSettings) -> CTVolume:
    """The image about a nodule with the nodule's own voxels in a random order, the same for the same mask.

    Parameters
    ----------
    volume : CTVolume
        The whole scan.
    mask : Mask
        The nodule; its voxels and place seed the order, whatever its pseudonym.
    settings : RadiomicsSettings
        Say how far the filters read.
    """
    margin = margin_of(mask, ShellSpec("nodule"), settings)
    low, high = mask.bounds if margin is not None else ((0, 0, 0), volume.frame.shape)
    z0, y0, x0 = (max(0, a - m) for a, m in zip(low, margin or (0, 0, 0), strict=True))
    z1, y1, x1 = (min(n, b + m) for n, b, m in zip(volume.frame.shape, high, margin or (0, 0, 0), strict=True))
    crop = volume.crop((z0, y0, x0), (z1, y1, x1))
    inside = mask.within(crop.start, crop.stop).voxels
    hu = crop.hu.copy()
    hu[inside] = np.random.default_rng(seed_of(mask.content_id)).permutation(hu[inside])
    return CTVolume(hu, volume.frame, crop.start)
