"""The series of the broken cohort: one for each fault, the codes that it must get, and faultless ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from data_catalog.phantom import kind_faults, layouts, pixel_faults, stack_faults
from data_catalog.phantom.chest import axial, noisy_hu
from data_catalog.phantom.encodings import compress, to_big_endian, to_syntax
from data_catalog.phantom.enhanced import to_enhanced
from data_catalog.phantom.scans import chest_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom.dataset import FileDataset
    from pydicom.uid import UID

    from data_catalog.phantom.scans import Scan

    Build = Callable[[Scan], list[FileDataset]]
    Save = Callable[[Path, list[FileDataset], Scan], list[Path]]

#: Compressed bytes of the JPEG 2000 series with loss: one in this many of the stored ones.
LOSSY_RATE = 8.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One series of the cohort.

    Parameters
    ----------
    name : str
        Names the series.
    codes : tuple of str
        What each of its stacks must get: quality codes joined by ";", empty for none.
    note : str
        What is in it.
    build : callable
        Makes its images.
    save : callable, optional
        Writes them; by default a layout that follows from the entry's place in the table.
    folder : str
        Its folder, if not its name.
    person_of, study_of : str
        An earlier entry whose patient, or whose study and frame of reference, it shares.
    """

    name: str
    codes: tuple[str, ...]
    note: str
    build: Build
    save: Save | None = None
    folder: str = ""
    person_of: str = ""
    study_of: str = ""


def _fault(build: Build, note: str, code: str = "", stacks: int = 1, save: Save | None = None) -> Entry:
    """Make the entry of a builder that is named after its code, or has another code."""
    name = build.__name__
    return Entry(name, (code or name,) * stacks, note, build, save)


def _in_syntax(syntax: UID) -> Build:
    return lambda scan: to_syntax(chest_images(scan), syntax)


def _compressed(syntax: UID) -> Build:
    return lambda scan: compress(chest_images(scan), syntax, LOSSY_RATE)


def _enhanced(*, shuffled: bool) -> Build:
    return lambda scan: to_enhanced(scan, chest_images(scan), shuffled=shuffled)


def _twin(scan: Scan) -> list[FileDataset]:
    """Make the same pixels for whoever asks."""
    return chest_images(scan, hu=noisy_hu(axial(), np.random.default_rng([scan.seed, 2])))


def _sharp(scan: Scan) -> list[FileDataset]:
    """Reconstruct with a sharp kernel: other noise."""
    images = chest_images(scan)
    for image in images:
        image.ConvolutionKernel, image.SeriesDescription = "B70f", "Thorax 5.0 B70f"
    return images


CLEAN = (
    Entry("explicit", ("",), "explicit VR little endian", chest_images, layouts.save_plain),
    Entry("implicit", ("",), "implicit VR little endian", _in_syntax(ImplicitVRLittleEndian), layouts.save_deep),
    Entry("big_endian", ("",), "explicit VR big endian", lambda s: to_big_endian(chest_images(s)), layouts.save_by_uid),
    Entry("deflated", ("",), "deflated data set", _in_syntax(DeflatedExplicitVRLittleEndian), layouts.save_by_patient),
    Entry("signed", ("",), "signed 16-bit pixels with intercept 0", pixel_faults.signed),
    Entry("zipped", ("",), "inside a zip archive", chest_images, layouts.save_zip),
    Entry("disc", ("",), "a patient's disc with a DICOMDIR", chest_images, layouts.save_file_set),
    Entry("enhanced", ("",), "enhanced multi-frame CT", _enhanced(shuffled=False)),
    Entry("enhanced_shuffled", ("",), "enhanced multi-frame CT, frames in no order", _enhanced(shuffled=True)),
    Entry("declared_padding", ("",), "padding value declared", pixel_faults.declared_padding),
    Entry("soft_kernel", ("",), "one of two kernels of a scan", chest_images, layouts.save_by_uid, "two_kernels"),
    Entry(
        "sharp_kernel", ("",), "the other kernel, in the same folder", _sharp, layouts.save_by_uid,
        "two_kernels", person_of="soft_kernel", study_of="soft_kernel",
    ),
)  # fmt: skip

KINDS = (
    _fault(kind_faults.not_ct, "MR images"),
    _fault(kind_faults.localizer, "a scout view"),
    Entry(
        "with_localizer", ("", "localizer"), "a scout view inside an otherwise clean series", kind_faults.with_localizer
    ),
    _fault(kind_faults.secondary_capture, "three colour screen shots without geometry"),
    _fault(kind_faults.dose_report, "a page of the dose"),
    _fault(kind_faults.pet_as_ct, "modality CT with tracer and units of PET"),
    _fault(kind_faults.not_hu, "values from 0 up, rescale 1 and 0"),
    _fault(kind_faults.burned_in_annotation, "writing in a corner, and the header says so"),
    _fault(kind_faults.contrast, "contrast agent in heart and vessels"),
)

STACKS = (
    _fault(stack_faults.missing_geometry, "no image position"),
    _fault(stack_faults.too_few_slices, "three slices"),
    _fault(stack_faults.mixed_size, "the upper 20 slices have 112 columns instead of 128"),
    _fault(stack_faults.mixed_orientation, "axial and coronal slices", stacks=2),
    _fault(stack_faults.mixed_acquisition, "two acquisitions of the same place", stacks=2),
    _fault(stack_faults.missing_slice, "slice 25 of 50 is absent"),
    _fault(stack_faults.uneven_spacing, "steps of 5 mm, then of 4 mm"),
    _fault(stack_faults.duplicate_slice, "slice 25 twice with equal pixels, two instances", save=layouts.save_plain),
    _fault(stack_faults.conflicting_slice, "slice 25 twice with other noise, two instances"),
    _fault(stack_faults.duplicate_sop, "slice 25 twice, the same instance", save=layouts.save_plain),
    _fault(stack_faults.conflicting_sop, "first and last slice share an instance UID", save=layouts.save_plain),
    _fault(stack_faults.gantry_tilt, "tilt of 15 degrees; axial orientation, each slice shifted by 1.34 mm"),
    _fault(stack_faults.gantry_tilt_rotated, "tilt of 15 degrees; slices turned, table straight", "gantry_tilt"),
    _fault(stack_faults.sheared, "each slice shifted by 1 mm, no tilt recorded"),
    _fault(stack_faults.oblique, "the stack turned by 10 degrees"),
    _fault(stack_faults.not_axial, "coronal slices"),
    _fault(stack_faults.thick_slices, "8 mm slices"),
)

PIXELS = (
    _fault(pixel_faults.missing_rescale, "neither slope nor intercept"),
    _fault(pixel_faults.varying_rescale, "a slope of its own in each slice, HU right"),
    _fault(pixel_faults.wrong_photometric, "MONOCHROME1"),
    _fault(pixel_faults.wrong_bits, "8 bits, 8 HU a step"),
    Entry("rle", ("compressed",), "RLE", _compressed(RLELossless)),
    Entry("jpeg_lossless", ("compressed",), "JPEG lossless", _compressed(JPEGLosslessSV1)),
    Entry("jpeg_ls", ("compressed",), "JPEG-LS lossless", _compressed(JPEGLSLossless)),
    Entry("jpeg_2000", ("compressed",), "JPEG 2000 lossless", _compressed(JPEG2000Lossless)),
    Entry("jpeg_2000_lossy", ("lossy_compression",), "JPEG 2000 with loss, about 1:8", _compressed(JPEG2000)),
    _fault(pixel_faults.compressed_once, "uncompressed, but compressed with loss before", "lossy_compression"),
    _fault(pixel_faults.missing_decoder, "announces JPEG XL", save=layouts.save_jpeg_xl),
    Entry("unreadable_pixels", ("unreadable_pixels",), "one file cut", chest_images, layouts.save_truncated),
    _fault(pixel_faults.undeclared_padding, "-3024 HU outside the round field of view"),
    _fault(pixel_faults.lung_not_covered, "the lower half of the stack is absent"),
    _fault(pixel_faults.no_lung, "a belly"),
    _fault(pixel_faults.cut_field_of_view, "rows of pixels end inside the left lung"),
)

#: In each pair the second has the larger patient id, because ids grow along the table.
LEAKS = (
    Entry("twin", ("",), "first of two series with the same pixels", _twin),
    Entry(
        "duplicate_pixels", ("duplicate_pixels",), "the same pixels under other identifiers, implicit VR",
        lambda scan: to_syntax(_twin(scan), ImplicitVRLittleEndian),
    ),
    Entry("one_patient_id", ("",), "first of two patient ids in one study", chest_images),
    Entry(
        "two_patient_ids", ("two_patient_ids",), "same study and frame of reference, another patient id",
        partial(chest_images), study_of="one_patient_id",
    ),
)  # fmt: skip

ENTRIES = CLEAN + KINDS + STACKS + PIXELS + LEAKS
