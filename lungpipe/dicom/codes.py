"""Quality codes: one line each, and what becomes of a series that has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Verdict = Literal["accept", "warn", "quarantine"]
VERDICTS: tuple[Verdict, ...] = ("accept", "warn", "quarantine")


@dataclass(frozen=True, slots=True)
class Code:
    """Meaning of a quality code, and the verdict that it brings unless a recipe says otherwise."""

    meaning: str
    verdict: Verdict


CODES: dict[str, Code] = {
    # What the object is.
    "not_ct": Code("the series is not a CT image", "quarantine"),
    "localizer": Code("the images are localizers (scout views)", "quarantine"),
    "secondary_capture": Code("the images are secondary captures (screen shots)", "quarantine"),
    "dose_report": Code("the images show a dose sheet", "quarantine"),
    "pet_as_ct": Code("the series says it is CT but carries attributes of PET", "quarantine"),
    "not_hu": Code("the values are not HU: no air near -1000, or nothing but air", "quarantine"),
    "burned_in_annotation": Code("the images say that text is burned into the pixels; it may identify", "quarantine"),
    "contrast": Code("a contrast agent was given", "accept"),
    # The stack.
    "missing_geometry": Code("position, orientation or pixel spacing is missing or contradicts itself", "quarantine"),
    "too_few_slices": Code("fewer slices than a volume needs", "quarantine"),
    "mixed_size": Code("slices of different size or pixel spacing share the series", "quarantine"),
    "mixed_orientation": Code("stacks of different orientation share the series", "quarantine"),
    "mixed_acquisition": Code("several acquisitions of the same place share the series", "quarantine"),
    "missing_slice": Code("the stack has a gap; nothing is interpolated into it", "quarantine"),
    "uneven_spacing": Code("the steps between slices differ", "quarantine"),
    "duplicate_slice": Code("slices were stored twice with equal pixels; one of each is used", "warn"),
    "conflicting_slice": Code("two slices with different pixels lie at the same position", "quarantine"),
    "duplicate_sop": Code("an instance was stored twice with equal pixels; one copy is used", "warn"),
    "conflicting_sop": Code("two different images carry the same SOP instance UID", "quarantine"),
    "gantry_tilt": Code("the gantry was tilted, so slices are shifted against their normal", "quarantine"),
    "sheared": Code("slices are shifted against their normal though no tilt is recorded", "quarantine"),
    "oblique": Code("the slices are not parallel to a patient plane; the affine says how", "accept"),
    "not_axial": Code("the slices are coronal or sagittal", "quarantine"),
    "thick_slices": Code("the slices are thicker or further apart than the recipe allows", "quarantine"),
    # The pixels.
    "missing_rescale": Code("rescale slope or intercept is missing, so HU are unknown", "quarantine"),
    "varying_rescale": Code("rescale slope or intercept differs between slices; each slice has its own", "warn"),
    "wrong_photometric": Code("the pixels are not MONOCHROME2 with one sample", "quarantine"),
    "wrong_bits": Code("bits allocated, stored and high bit do not describe CT pixels", "quarantine"),
    "compressed": Code("the pixels are compressed without loss and were decoded", "accept"),
    "lossy_compression": Code("the pixels were compressed with loss, which changes texture", "warn"),
    "missing_decoder": Code("no decoder for the transfer syntax is installed", "quarantine"),
    "unreadable_pixels": Code("pixel data is truncated, damaged or missing", "quarantine"),
    "undeclared_padding": Code("values below -1024 HU are not declared as padding; they were set to -1024", "warn"),
    "lung_not_covered": Code("the lung reaches the first or last slice", "warn"),
    "no_lung": Code("no lung was found", "quarantine"),
    "cut_field_of_view": Code("the lung reaches the edge of the field of view", "warn"),
    # Leaks between patients.
    "duplicate_pixels": Code("another series holds the same pixels; the first of them is used", "quarantine"),
    "two_patient_ids": Code("its study or frame of reference also belongs to another patient id", "quarantine"),
}


def verdict(codes: Iterable[str], changed: Mapping[str, Verdict] | None = None) -> Verdict:
    """Return the worst verdict among a series's codes; no code accepts it.

    Parameters
    ----------
    codes : iterable of str
        Keys of :data:`CODES`.
    changed : mapping, optional
        Verdicts that a recipe gives to codes instead of their own.
    """
    each = [(changed or {}).get(code, CODES[code].verdict) for code in codes]
    return max(each, key=VERDICTS.index, default="accept")
