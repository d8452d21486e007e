"""A nodule on the ladder: its image gets worse step by step, and is segmented again on each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lungpipe.corrupt import CORRUPTIONS, SEVERITIES, corrupted
from lungpipe.deep.uncertainty import common_box, nodule_uncertainty, volume_uncertainty
from lungpipe.errors import CaseError
from lungpipe.segment.agreement import dice
from lungpipe.volume import CTVolume, Mask, box_around

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lungpipe.geometry import IndexTriple
    from lungpipe.nodule import Nodule
    from lungpipe.segment import Segmenter
    from lungpipe.segment.network import ProbabilityMap

#: Tissue round a nodule's box that its image keeps: in longest sides of the box, and at least mm.
MARGIN_SIDES, MARGIN_MM = 1.5, 25.0
#: Name of the image as it is.
AS_IT_IS = "none"
#: What the table says of probability maps, not a number for a segmenter that gives none.
OF_MAPS = (
    "entropy_bits",
    "mutual_information_bits",
    "pairwise_dice",
    "map_volume_mm3",
    "map_volume_sd_mm3",
    "map_volume_low_mm3",
    "map_volume_high_mm3",
    "map_volume_variation",
    "unsure_mm3",
    "map_volume_crps_mm3",
)


@runtime_checkable
class Mapped(Protocol):
    """A segmenter that has probability maps, such as :class:`lungpipe.segment.network.Network`."""

    def maps(self, volume: CTVolume, nodule: Nodule) -> Sequence[ProbabilityMap]:
        """Probability maps of a nodule."""
        ...

    def mask_of(self, volume: CTVolume, nodule: Nodule, maps: Sequence[ProbabilityMap]) -> Mask:
        """Its mask, made of them."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Rung:
    """A nodule at one severity of one corruption.

    Parameters
    ----------
    volume : CTVolume
        The image at that severity.
    mask : Mask or None
        What the segmenter made of it; None where it found no nodule.
    row : dict
        ``corruption``, ``severity``, ``value``, ``unit``, ``dice`` (mean over the masks compared with; 0 without a mask),
        ``volume_mm3``, ``code`` (why there is no mask) and :data:`OF_MAPS`.
    """

    volume: CTVolume
    mask: Mask | None
    row: dict[str, Any]


def image_of(frame_box: tuple[IndexTriple, IndexTriple], volume: CTVolume) -> CTVolume:
    """Cut a box (frame indices, z, y, x) out of a scan, as an image of its own: nothing beyond it is known."""
    crop = volume.crop(*frame_box)
    return CTVolume(crop.hu, crop.geometry)


def box_of(mask: Mask) -> tuple[IndexTriple, IndexTriple]:
    """What of a scan a nodule's image shows: the bounds of its mask and :data:`MARGIN_SIDES` or :data:`MARGIN_MM`."""
    low, high = mask.bounds
    longest_mm = float(np.max(np.subtract(high, low) * np.asarray(mask.frame.spacing_mm)))
    return box_around(mask.frame, low, high, max(MARGIN_SIDES * longest_mm, MARGIN_MM))


def on_image(mask: Mask, image: CTVolume, start: IndexTriple) -> Mask:
    """A scan's mask on the image that :func:`image_of` cut out from voxel ``start``."""
    stop = (start[0] + image.shape[0], start[1] + image.shape[1], start[2] + image.shape[2])
    return Mask(mask.within(start, stop).voxels, image.frame)


def rungs(
    image: CTVolume,
    nodule: Nodule,
    segmenter: Segmenter,
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    against: Sequence[Mask] = (),
    seed: int = 0,
) -> Iterator[Rung]:
    """Segment a nodule on its image as it is, then on every corruption of it.

    Parameters
    ----------
    image : CTVolume
        The nodule with its surroundings.
    nodule : Nodule
        With centre and size.
    segmenter : Segmenter
        One that also has ``maps(volume, nodule)`` and ``mask_of(volume, nodule, maps)`` is asked for its probability maps.
    corruptions : sequence of str
        Of :data:`lungpipe.corrupt.CORRUPTIONS`.
    against : sequence of Mask
        On the image's grid. Without any, the segmenter's own mask of the image as it is.
    seed : int

    Yields
    ------
    Rung
        The image as it is (corruption ``"none"``, severity 0) first.

    Raises
    ------
    CaseError
        If the segmenter finds no nodule on the image as it is.
    """
    mask, maps = _tried(segmenter, image, nodule)
    if isinstance(mask, CaseError):
        raise mask
    against = tuple(against) or (mask,)
    voxel_mm3, reference_mm3 = image.frame.voxel_volume_mm3, float(np.mean([one.volume_mm3 for one in against]))
    own = {"corruption": AS_IT_IS, "severity": 0, "value": math.nan, "unit": ""}
    yield Rung(image, mask, own | _figures(mask, "", against) | _of_maps(maps, voxel_mm3, reference_mm3))
    for name in corruptions:
        for severity in SEVERITIES:
            worse = corrupted(image, name, severity, seed)
            found, maps = _tried(segmenter, worse, nodule)
            drawn, code = (None, found.code) if isinstance(found, CaseError) else (found, "")
            corruption = CORRUPTIONS[name]
            own = {"corruption": name, "severity": severity}
            own |= {"value": corruption.values[severity - 1], "unit": corruption.unit}
            unsure = _of_maps(maps, voxel_mm3, reference_mm3)
            yield Rung(worse, drawn, own | _figures(drawn, code, against) | unsure)


def _tried(segmenter: Segmenter, image: CTVolume, nodule: Nodule) -> tuple[Mask | CaseError, Sequence[ProbabilityMap]]:
    """The mask or why there is none, and the probability maps that it is made of; none of a segmenter that has none."""
    maps: Sequence[ProbabilityMap] = ()
    try:
        if not isinstance(segmenter, Mapped):
            return segmenter(image, nodule), maps
        maps = segmenter.maps(image, nodule)
        return segmenter.mask_of(image, nodule, maps), maps
    except CaseError as error:
        return error, maps


def _figures(mask: Mask | None, code: str, against: Sequence[Mask]) -> dict[str, Any]:
    if mask is None:  # a miss counts as one: without it, the worse a method gets the better its mean would look
        return {"dice": 0.0, "volume_mm3": 0.0, "code": code}
    overlap = float(np.mean([dice(mask, one) for one in against]))
    return {"dice": overlap, "volume_mm3": mask.volume_mm3, "code": code}


def _of_maps(maps: Sequence[ProbabilityMap], voxel_mm3: float, reference_mm3: float) -> dict[str, float]:
    if not maps:
        return dict.fromkeys(OF_MAPS, math.nan)
    values, _ = common_box([one.values for one in maps], [one.start for one in maps])
    of_nodule, of_volume = nodule_uncertainty(values), volume_uncertainty(values, voxel_mm3, reference_mm3)
    return {
        "entropy_bits": of_nodule.entropy_bits,
        "mutual_information_bits": of_nodule.mutual_information_bits,
        "pairwise_dice": of_nodule.pairwise_dice,
        "map_volume_mm3": of_volume.mean_mm3,
        "map_volume_sd_mm3": of_volume.sd_mm3,
        "map_volume_low_mm3": of_volume.low_mm3,
        "map_volume_high_mm3": of_volume.high_mm3,
        "map_volume_variation": of_volume.variation,
        "unsure_mm3": of_volume.unsure_mm3,
        "map_volume_crps_mm3": of_volume.crps_mm3,
    }
