"""One table from the masks of several methods and several raters: overlap, surfaces, volumes and CURVAS figures."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from lungpipe.errors import DatasetError
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import consensus_masks
from lungpipe.segment.curvas import ProbabilityMap, curvas
from lungpipe.segment.distances import surface_distances

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lungpipe.segment.consensus import Failure
    from lungpipe.volume import Mask

#: Reference of the rows that hold the figures against all raters together.
ALL_RATERS = "all raters"
_NO_STAPLE: dict[Failure, str] = {
    "disjoint": "no two raters share a voxel",
    "undefined": "its equations have no finite answer",
    "empty": "no voxel reaches a probability of one half",
    "everywhere": "it would hold voxels that nobody drew",
    "no_end": "it does not converge",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. A figure is None where the comparison has no such figure, NaN where it is undefined.

    Parameters
    ----------
    name : str
        The method, or the first of two raters.
    kind : {"method", "rater"}
        A method against a reference, or two raters against each other.
    reference : str
        A rater, ``majority``, ``union``, ``intersection`` or ``staple`` of all raters, or ``all raters``.
    dice, hd95_mm, assd_mm, nsd : float
        Overlap and surface distances; of ``all raters`` the mean over them, undefined ones left out.
    volume_mm3, reference_mm3 : float
        By voxel count. In the row of ``all raters`` the sum of a map's probabilities and the raters' mean.
    calibration_error : float, optional
        Against the rater; of ``all raters`` the mean.
    consensus_dice, dissensus_dice, consensus_confidence, dissensus_confidence, crps_mm3 : float, optional
        See :class:`lungpipe.segment.curvas.Curvas`; of ``all raters`` only.
    note : str
        Why figures are undefined.
    """

    name: str
    kind: Literal["method", "rater"]
    reference: str
    dice: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    volume_mm3: float
    reference_mm3: float
    calibration_error: float | None = None
    consensus_dice: float | None = None
    dissensus_dice: float | None = None
    consensus_confidence: float | None = None
    dissensus_confidence: float | None = None
    crps_mm3: float | None = None
    note: str = ""


def evaluate_masks(
    methods: Mapping[str, Mask | ProbabilityMap], raters: Mapping[str, Mask], tolerance_mm: float
) -> list[Row]:
    """Compare each method with each rater, with their consensus and with all of them; then the raters in pairs.

    Parameters
    ----------
    methods : mapping of str to Mask or ProbabilityMap
        By name. A map's overlap and surface are those of its voxels above one half.
    raters : mapping of str to Mask
        By name, at least one, on the grid of the methods. Of one rater there are no rows of a consensus.
    tolerance_mm : float
        Distance that the normalised surface Dice forgives.

    Raises
    ------
    DatasetError
        If there is no rater.
    GeometryError
        If two grids differ.
    PluginError
        If MONAI is not installed.
    """
    if not raters:
        raise DatasetError("masks are evaluated against the masks of at least one rater; found none")
    agreed = _consensus(list(raters.values())) if len(raters) > 1 else {}
    rows: list[Row] = []
    for name, prediction in methods.items():
        rows += _against_raters(name, prediction, raters, agreed, tolerance_mm)
    for (one, first), (two, second) in combinations(raters.items(), 2):
        rows.append(_compare(one, "rater", first, two, second, tolerance_mm))
    return rows


def pairwise_dice(rows: Iterable[Row]) -> list[float]:
    """Dice of the pairs of raters that have one."""
    return [row.dice for row in rows if row.kind == "rater" and not math.isnan(row.dice)]


def _consensus(raters: Sequence[Mask]) -> dict[str, tuple[Mask, str]]:
    """The four consensus masks by name, each with why it is none."""
    found = consensus_masks(raters)
    failure = found.staple.failure
    why = f"STAPLE has no answer: {_NO_STAPLE.get(failure, failure)}" if failure else ""
    return {
        "majority": (found.majority, ""),
        "union": (found.union, ""),
        "intersection": (found.intersection, ""),
        "staple": (found.staple.mask, why),
    }


def _against_raters(
    name: str,
    prediction: Mask | ProbabilityMap,
    raters: Mapping[str, Mask],
    agreed: Mapping[str, tuple[Mask, str]],
    tolerance_mm: float,
) -> list[Row]:
    mask = prediction.mask if isinstance(prediction, ProbabilityMap) else prediction
    figures = curvas(prediction, list(raters.values()))
    rows = [
        _compare(name, "method", mask, rater, drawn, tolerance_mm, error)
        for (rater, drawn), error in zip(raters.items(), figures.calibration_error, strict=True)
    ]
    mean = Row(
        name=name,
        kind="method",
        reference=ALL_RATERS,
        dice=_mean(row.dice for row in rows),
        hd95_mm=_mean(row.hd95_mm for row in rows),
        assd_mm=_mean(row.assd_mm for row in rows),
        nsd=_mean(row.nsd for row in rows),
        volume_mm3=figures.volume_mm3,
        reference_mm3=_mean(drawn.volume_mm3 for drawn in raters.values()),
        calibration_error=figures.mean_calibration_error,
        consensus_dice=figures.consensus_dice,
        dissensus_dice=figures.dissensus_dice,
        consensus_confidence=figures.consensus_confidence,
        dissensus_confidence=figures.dissensus_confidence,
        crps_mm3=figures.crps_mm3,
        note="; ".join(dict.fromkeys(row.note for row in rows if row.note)),
    )
    for reference, (drawn, why) in agreed.items():
        if why:
            nan = math.nan
            rows.append(
                Row(name, "method", reference, nan, nan, nan, nan, mask.volume_mm3, reference_mm3=nan, note=why)
            )
        else:
            rows.append(_compare(name, "method", mask, reference, drawn, tolerance_mm))
    return [*rows, mean]


def _compare(
    name: str,
    kind: Literal["method", "rater"],
    mask: Mask,
    reference: str,
    drawn: Mask,
    tolerance_mm: float,
    calibration_error: float | None = None,
) -> Row:
    apart = surface_distances(mask, drawn, tolerance_mm)
    empty = [f"{one} is empty" for one, voxels in ((name, mask), (reference, drawn)) if not voxels.n_voxels]
    return Row(
        name,
        kind,
        reference,
        dice(mask, drawn),
        apart.hd95_mm,
        apart.assd_mm,
        apart.nsd,
        mask.volume_mm3,
        drawn.volume_mm3,
        calibration_error,
        note="; ".join(empty),
    )


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are defined; not a number if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan
