"""Frames of an enhanced (multi-frame) CT as if each were an image: DICOM PS3.3 A.38 and C.7.6.16."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydicom.filereader import read_dataset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from lungpipe.dicom.data_set import Opened
    from lungpipe.dicom.series import Header

_PIXELS = 0x7FE00000
#: Numbers of the series table by the macro and attribute that hold them.
_SCANNER = {
    "kvp": ("CTXRayDetailsSequence", "KVP"),
    "tube_current_ma": ("CTExposureSequence", "XRayTubeCurrentInmA"),
    "exposure_mas": ("CTExposureSequence", "ExposureInmAs"),
    "ctdi_vol_mgy": ("CTExposureSequence", "CTDIvol"),
    "slice_thickness_mm": ("PixelMeasuresSequence", "SliceThickness"),
}


def parse_frames(opened: Opened, shared: Header) -> list[Header]:
    """Read one header a frame.

    Parameters
    ----------
    opened : Opened
    shared : Header
        What the data set's top level says.

    Returns
    -------
    list of Header
        In the order of frames; a functional group that is missing leaves its attribute missing.

    Raises
    ------
    Exception
        Whatever pydicom raises on damaged functional groups.
    """
    dataset = read_dataset(
        opened.stream,
        is_implicit_VR=opened.implicit,
        is_little_endian=opened.little,
        stop_when=lambda tag, _vr, _length: tag >= _PIXELS,
    )
    common = next(iter(dataset.get("SharedFunctionalGroupsSequence") or ()), None)
    return [
        _frame(shared, number, group, common)
        for number, group in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    ]


def _frame(shared: Header, index: int, group: Dataset, common: Dataset | None) -> Header:
    def value(macro: str, name: str) -> Any:
        for level in (group, common):
            items = level.get(macro) if level is not None else None
            if items:
                return items[0].get(name)
        return None

    def numbers(macro: str, name: str, length: int) -> tuple[float, ...] | None:
        try:
            found = tuple(float(v) for v in value(macro, name))
        except (TypeError, ValueError):
            return None
        return found if len(found) == length and all(map(math.isfinite, found)) else None

    def number(macro: str, name: str) -> float | None:
        try:
            found = float(value(macro, name))
        except (TypeError, ValueError):
            return None
        return found if math.isfinite(found) else None

    scanner: dict[str, str | float | None] = dict(shared.scanner)
    scanner.update({key: number(macro, name) for key, (macro, name) in _SCANNER.items()})
    kernel = value("CTReconstructionSequence", "ConvolutionKernel")
    scanner["kernel"] = kernel if isinstance(kernel, str) else "/".join(map(str, kernel or ()))
    frame_type = {str(part).upper() for part in value("CTImageFrameTypeSequence", "FrameType") or ()}
    acquired = [value("FrameContentSequence", name) for name in ("FrameAcquisitionNumber", "TemporalPositionIndex")]
    return replace(
        shared,
        source=replace(shared.source, frame=index),
        sop_uid=f"{shared.sop_uid}#{index + 1}",
        acquisition="/".join(str(part) for part in acquired if part is not None),
        position_mm=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        pixel_spacing_mm=numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        slope=number("PixelValueTransformationSequence", "RescaleSlope"),
        intercept=number("PixelValueTransformationSequence", "RescaleIntercept"),
        tilt_degrees=number("CTAcquisitionDetailsSequence", "GantryDetectorTilt") or 0.0,
        marks=shared.marks | ({"localizer"} if "LOCALIZER" in frame_type else frozenset()),
        scanner=tuple(scanner.items()),
    )
