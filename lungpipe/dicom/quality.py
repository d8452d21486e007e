"""Say what is wrong with a stack, by code, from its headers alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.dicom.codes import CODES, Verdict, verdict
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.dicom.series import Header, Series
    from lungpipe.geometry import Geometry

#: A step between slices may differ from the usual one by this fraction plus :data:`POSITION_ERROR_MM`.
SPACING_TOLERANCE = 0.02
#: Rounding of positions in headers, mm: images closer than this lie in the same place.
POSITION_ERROR_MM = 0.02
#: A step this many times the usual one is a gap.
GAP_FACTOR = 1.5
#: A slice may lie this far off the normal through the first one, mm, before the stack counts as shifted.
SHIFT_TOLERANCE_MM = 0.5
#: Axes within this angle of the patient's count as parallel, degrees; half a voxel at the edge of a 500 mm image.
OBLIQUE_DEGREES = 0.1
#: A slice thickness above the limit by this is rounding, mm.
THICKNESS_ERROR_MM = 0.01

#: Codes of images that are none of a volume, by mark, in the order in which the question is settled.
_KIND_CODES = {"dose": "dose_report", "secondary": "secondary_capture", "localizer": "localizer"}
_NO_CT = {*_KIND_CODES.values(), "not_ct", "pet_as_ct"}
#: Without these there is no volume, or only a wrong one, so no recipe can accept them.
FIXED = {
    "missing_geometry", "mixed_size", "missing_slice", "gantry_tilt", "sheared", "missing_rescale", "conflicting_slice",
    "conflicting_sop", "unreadable_pixels", "missing_decoder",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """What a recipe says of quality.

    Parameters
    ----------
    max_slice_mm : float
        Largest slice thickness and largest step between slices, mm.
    min_slices : int
        Fewest slices that make a volume.
    verdicts : mapping
        Verdicts instead of those of :data:`lungpipe.dicom.codes.CODES`, by code.

    Raises
    ------
    DatasetError
        If a code is unknown, or one without which there is no right volume is to be accepted.
    """

    max_slice_mm: float = 5.0
    min_slices: int = 5
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for code, changed in self.verdicts.items():
            if code not in CODES:
                raise DatasetError(f"quality.verdicts: no code {code!r}; known: {', '.join(sorted(CODES))}")
            if code in FIXED and changed != "quarantine":
                raise DatasetError(
                    f"quality.verdicts: {code} cannot be {changed}ed, because {CODES[code].meaning}: "
                    "no volume could be read rightly"
                )

    def verdict(self, codes: Iterable[str]) -> Verdict:
        """The worst verdict among codes."""
        return verdict(codes, self.verdicts)

    def in_force(self) -> dict[str, Verdict]:
        """The verdict of every code."""
        return {code: self.verdict([code]) for code in CODES}


def check_limits(series: Series, settings: QualitySettings) -> set[str]:
    """Codes that follow from a recipe's limits.

    Parameters
    ----------
    series : Series
        With codes from its headers.
    settings : QualitySettings
    """
    if _NO_CT & set(series.codes):
        return set()
    count = series.geometry.shape[0] if series.geometry else len(series.files)
    codes = {"too_few_slices"} if count < settings.min_slices else set()
    thickness = series.scanner.get("slice_thickness_mm")
    step_mm = series.geometry.spacing_mm[0] if series.geometry else 0.0
    if "missing_slice" in series.codes:
        step_mm = 0.0  # the mean step is that of a stack with a hole
    if max(step_mm, float(thickness or 0.0)) > settings.max_slice_mm + THICKNESS_ERROR_MM:
        codes.add("thick_slices")
    return codes


def kind_code(header: Header) -> str:
    """Code of an image that is none of a volume (``"localizer"``); empty for the others. It gets no other code."""
    return next((code for mark, code in _KIND_CODES.items() if mark in header.marks), "")


def check_headers(headers: Sequence[Header], geometry: Geometry | None, split_by: str = "") -> tuple[str, ...]:
    """Quality codes of one stack, sorted.

    Parameters
    ----------
    headers : sequence of Header
        One image a place, in order of position, all of one kind (:func:`kind_code`).
    geometry : Geometry or None
        The stack's grid.
    split_by : str
        Why the series holds other stacks as well.

    Returns
    -------
    tuple of str
        Keys of :data:`lungpipe.dicom.codes.CODES`.
    """
    kind = kind_code(headers[0])
    if kind:
        return (kind,)
    marks = frozenset().union(*(h.marks for h in headers))
    if any(h.modality != "CT" for h in headers):
        return ("not_ct",)
    if "pet" in marks:
        return ("pet_as_ct",)
    codes = {"contrast"} if "contrast" in marks else set()
    if "burned_in" in marks:
        codes.add("burned_in_annotation")
    if split_by in ("orientation", "acquisition"):
        codes.add(f"mixed_{split_by}")
    codes |= _check_pixel_description(headers) | _check_stack(headers, geometry)
    if split_by == "orientation":
        codes -= {"not_axial", "oblique"}  # said already
    return tuple(sorted(codes))


def _check_pixel_description(headers: Sequence[Header]) -> set[str]:
    codes = set()
    if any(h.slope is None or h.intercept is None or h.slope == 0 for h in headers):
        codes.add("missing_rescale")
    elif len({(h.slope, h.intercept) for h in headers}) > 1:
        codes.add("varying_rescale")
    if any(h.photometric != "MONOCHROME2" or h.bits[0] != 1 for h in headers):
        codes.add("wrong_photometric")
    elif any(not _sound_bits(h.bits) for h in headers):
        codes.add("wrong_bits")
    return codes


def _sound_bits(bits: tuple[int, int, int, int, int]) -> bool:
    """12 to 16 bits stored in 16, the high bit the last of them, signed or not (DICOM PS3.3 C.8.2.1.1.4)."""
    _, allocated, stored, high, representation = bits
    return allocated == 16 and 12 <= stored <= 16 and high == stored - 1 and representation in (0, 1)


def _check_stack(headers: Sequence[Header], geometry: Geometry | None) -> set[str]:
    if any(h.position_mm is None or h.orientation is None or h.pixel_spacing_mm is None for h in headers):
        return {"missing_geometry"}
    if len({(h.size, h.pixel_spacing_mm) for h in headers}) > 1:
        return {"mixed_size"}
    if geometry is None:
        return {"missing_geometry"} if len(headers) > 1 else {"too_few_slices"}
    codes = _check_positions(np.asarray([h.position_mm for h in headers]), geometry.matrix[:, 2], headers)
    return codes | _check_planes(geometry, "gantry_tilt" in codes or "sheared" in codes)


def _check_positions(
    position_mm: NDArray[np.float64], normal: NDArray[np.float64], headers: Sequence[Header]
) -> set[str]:
    """Check slice positions, shape (n, 3) in LPS mm, along the stack's normal."""
    offset = position_mm - position_mm[0]
    depth = offset @ normal
    step = np.diff(depth)
    codes = set()
    usual = float(np.median(step))
    if np.any(step > GAP_FACTOR * usual):
        codes.add("missing_slice")
    elif np.any(np.abs(step - usual) > SPACING_TOLERANCE * usual + POSITION_ERROR_MM):
        codes.add("uneven_spacing")
    if np.abs(offset - np.outer(depth, normal)).max() > SHIFT_TOLERANCE_MM:
        codes.add("gantry_tilt" if any(abs(h.tilt_degrees) > OBLIQUE_DEGREES for h in headers) else "sheared")
    return codes


def _check_planes(geometry: Geometry, shifted: bool) -> set[str]:
    """How the slices lie in the patient."""
    cosines = np.abs(geometry.matrix)
    codes = set()
    if int(cosines[:, 2].argmax()) != 2:
        codes.add("not_axial")
    if not shifted and float(cosines.max(axis=0).min()) < np.cos(np.radians(OBLIQUE_DEGREES)):
        codes.add("oblique")
    return codes
