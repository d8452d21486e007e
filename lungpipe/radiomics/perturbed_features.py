"""Features of every perturbed copy of a nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.errors import CaseError
from lungpipe.radiomics.filters import reach_of
from lungpipe.radiomics.image_types import SCALED_BY_PEAK
from lungpipe.radiomics.lattice import SUPPORT_VOXELS
from lungpipe.radiomics.perturb import perturbations, seed_of
from lungpipe.region.expand import expand_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.geometry import IndexTriple
    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.perturb import Scheme
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.region.specs import ShellSpec
    from lungpipe.volume import CTVolume, Mask

#: Voxels that copies keep round a region besides what filters read: what interpolation needs, before and after.
INTERPOLATED = 2 * SUPPORT_VOXELS


def perturbed_features(
    volume: CTVolume,
    mask: Mask,
    nodule_id: str,
    spec: ShellSpec,
    scheme: Scheme,
    extractor: Extractor,
    settings: RadiomicsSettings,
    seed: int = 0,
) -> Iterator[tuple[dict[str, Any] | CaseError, str]]:
    """Extract the features of a region of every copy of a nodule.

    Parameters
    ----------
    volume : CTVolume
        The whole scan.
    mask : Mask
        The nodule.
    nodule_id : str
        Seeds the draws, with ``seed``.
    spec : ShellSpec
        The region, made anew round each copy; it is not clipped.
    scheme : Scheme
    extractor : Extractor
    settings : RadiomicsSettings
    seed : int

    Yields
    ------
    dict or CaseError
        ``dice`` with the outline as it is, and the features; or why the copy has none.
    str
        The copy's name.
    """
    margin = margin_of(mask, spec, settings)
    for copy in perturbations(volume, mask, scheme, seed_of(nodule_id, seed), margin):
        try:
            region = expand_all(copy.mask, [spec])[0].mask
            (found,) = extractor(copy.volume, [region], settings)
        except CaseError as error:
            yield error, copy.name
            continue
        yield (found if isinstance(found, CaseError) else {"dice": copy.dice, **found}), copy.name


def margin_of(mask: Mask, spec: ShellSpec, settings: RadiomicsSettings) -> IndexTriple | None:
    """Voxels (z, y, x) that a copy of an image keeps round a nodule; None where a filter needs all of the image.

    Parameters
    ----------
    mask : Mask
        The nodule.
    spec : ShellSpec
        The region of which features are wanted.
    settings : RadiomicsSettings
    """
    if settings.ibsi or settings.normalise is not None or not SCALED_BY_PEAK.isdisjoint(settings.filters):
        return None
    own = mask.frame.spacing_mm
    grid = own if settings.spacing_mm is None else settings.spacing_mm[::-1]
    sides = np.array([g or o for g, o in zip(grid, own, strict=True)])
    reach_mm = np.max([np.array(reach_of(kind, settings, tuple(sides))) * sides for kind in settings.filters], axis=0)
    z, y, x = (np.ceil((reach_mm + spec.radius_mm) / own).astype(int) + INTERPOLATED).tolist()
    return z, y, x
