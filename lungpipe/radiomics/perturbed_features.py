"""Features of every perturbed copy of a nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.errors import CaseError
from lungpipe.radiomics.perturb import perturbations, seed_of
from lungpipe.region.expand import expand_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.perturb import Scheme
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.region.expand import ShellSpec
    from lungpipe.volume import CTVolume, Mask

#: What copies keep round a nodule besides the region, mm: what interpolation and filters of a few mm read.
MARGIN_MM = 60.0


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
    sides = np.asarray(mask.frame.spacing_mm)
    z, y, x = np.ceil((MARGIN_MM + spec.radius_mm) / sides).astype(int).tolist()
    for copy in perturbations(volume, mask, scheme, seed_of(nodule_id, seed), (z, y, x)):
        try:
            region = expand_all(copy.mask, [spec])[0].mask
            (found,) = extractor(copy.volume, [region], settings)
        except CaseError as error:
            yield error, copy.name
            continue
        yield (found if isinstance(found, CaseError) else {"dice": copy.dice, **found}), copy.name
