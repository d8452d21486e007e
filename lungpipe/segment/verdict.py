"""The verdict on a mask: codes from its figures, and accept, warn or exclude by recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Verdict = Literal["accept", "warn", "exclude"]
VERDICTS: tuple[Verdict, ...] = ("accept", "warn", "exclude")


@dataclass(frozen=True, slots=True)
class Code:
    """Meaning of a code, and the verdict that it brings unless a recipe says otherwise."""

    meaning: str
    verdict: Verdict


CODES: dict[str, Code] = {
    "found_extent": Code("the annotation is a point; the nodule's extent was found from it", "accept"),
    "no_extent": Code(
        "the annotation is a point, and no end of the nodule was found; a box of 20 mm stands for it", "warn"
    ),
    "few_voxels": Code("the mask has fewer voxels than the recipe asks for", "warn"),
    "few_slices": Code("the mask reaches fewer slices than the recipe asks for", "warn"),
    "touches_box": Code("the mask is cut off by the annotated box and its margin", "warn"),
    "touches_edge": Code("the mask touches the edge of the image, so part of the nodule may be missing", "warn"),
    "leaks": Code("the mask reaches far beyond the annotation", "warn"),
    "whole_box": Code("the mask fills the annotated box, which no nodule does", "exclude"),
    "several_components": Code("the mask is in several parts", "warn"),
    "centre_outside": Code("the annotated centre is not inside the mask", "warn"),
    "thin_sheet": Code("the mask is thin for its volume, as vessels and pleura are", "warn"),
    "hu_implausible": Code("the HU inside are those of air, or of bone or metal", "warn"),
    "calcified_core_only": Code("the mask is calcified throughout, and soft tissue lies round it", "warn"),
    "disagreement": Code("the methods do not agree on the nodule", "warn"),
}


@dataclass(frozen=True, slots=True)
class MaskLimits:
    """What a recipe says of masks.

    Parameters
    ----------
    min_voxels, min_slices : int
        Fewer are flagged; nothing is padded.
    max_outside_fraction : float
        Share of a mask outside the annotated box beyond which it leaks.
    max_excess_mm : float
        Reach beyond the annotated box from which a mask counts as cut off by it.
    max_box_fraction : float
        Share of the annotated box that no nodule fills: a ball fills 0.52 of its own, an upright cylinder 0.79.
    min_thickness_ratio : float
        Largest ball inside over the ball of the same volume, radii. An ellipsoid of axes 1:1:4 has 0.63.
    plausible_hu : tuple of float
        Range of the median HU.
    max_disagreement : float
        Largest 1 - Dice between a mask and those of the other methods, mean over these.
    verdicts : mapping
        Verdicts instead of those of :data:`CODES`, by code.

    Raises
    ------
    DatasetError
        If a code or verdict is unknown.
    """

    min_voxels: int = 10
    min_slices: int = 2
    max_outside_fraction: float = 0.3
    max_excess_mm: float = 1.0
    max_box_fraction: float = 0.9
    min_thickness_ratio: float = 0.4
    plausible_hu: tuple[float, float] = (-800.0, 600.0)
    max_disagreement: float = 0.3
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for code, given in self.verdicts.items():
            if code not in CODES:
                raise DatasetError(f"no quality code {code!r} for masks; the codes are {', '.join(CODES)}")
            if given not in VERDICTS:
                raise DatasetError(f"verdict {given!r} for {code}: expected one of {', '.join(VERDICTS)}")


def codes_of(row: Mapping[str, Any], limits: MaskLimits) -> tuple[str, ...]:
    """Codes of a mask.

    Parameters
    ----------
    row : mapping
        A row of ``nodules``: ``n_voxels``, ``disagreement`` and the figures of
        :class:`lungpipe.segment.quality.MaskQuality`. What is NaN raises no code.
    limits : MaskLimits
    """
    low_hu, high_hu = limits.plausible_hu
    found = {
        "few_voxels": row["n_voxels"] < limits.min_voxels,
        "few_slices": row["n_slices"] < limits.min_slices,
        "touches_box": row["box_excess_mm"] > limits.max_excess_mm,
        "touches_edge": row["at_edge"],
        "leaks": row["outside_fraction"] > limits.max_outside_fraction,
        "whole_box": row["box_fraction"] > limits.max_box_fraction and row["n_voxels"] >= limits.min_voxels,
        "several_components": row["n_components"] > 1,
        "centre_outside": not row["centre_inside"],
        "thin_sheet": row["thickness_ratio"] < limits.min_thickness_ratio and row["n_voxels"] >= limits.min_voxels,
        "hu_implausible": row["median_hu"] < low_hu or row["median_hu"] > high_hu,
        "calcified_core_only": row["calcified_fraction"] > 0.9 and row["soft_rim_fraction"] > 0.5,
        "disagreement": row["disagreement"] > limits.max_disagreement,
    }
    return tuple(code for code in CODES if found.get(code))


def verdict_of(codes: Iterable[str], limits: MaskLimits) -> Verdict:
    """The worst verdict of some codes; codes that are not of masks (an annotation's) count as warnings."""
    usual: dict[str, Verdict] = {code: known.verdict for code, known in CODES.items()}
    given = [limits.verdicts.get(code, usual.get(code, "warn")) for code in codes]
    return max(given, key=VERDICTS.index, default="accept")
