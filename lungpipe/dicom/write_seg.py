"""Write a mask as a DICOM SEG (PS3.3 A.51) over the series that it was made on."""

from __future__ import annotations

import io
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from highdicom import UID, AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lungpipe.dicom.seg import locate_plane, plane_of
from lungpipe.errors import AnnotationError
from lungpipe.store.place import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from lungpipe.volume import Mask

#: Series number of every SEG: high, so that a viewer lists them after the images.
SERIES_NUMBER = 9001
#: What the segment is: SCT 49755003, SCT 27925004 in SCT 39607008 (PS3.16 CID 7150, 7159, 4031).
CATEGORY, PROPERTY, REGION = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule, codes.SCT.Lung
#: Algorithms that divide voxels by their intensities: DCM 123107 (PS3.16 CID 7162).
FAMILY = codes.DCM.ClusterAnalysis

_MAY_BE_EMPTY = (  # type 2 in PS3.3, but some archives leave them out
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
)  # fmt: skip
_LONGEST = 64  # characters of a text of VR LO


def write_seg(
    path: Path,
    mask: Mask,
    source_headers: Sequence[Dataset],
    *,
    label: str,
    tracking_id: str,
    tracking_uid: str,
    algorithm_name: str,
    algorithm_version: str,
    algorithm_type: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"] = "SEMIAUTOMATIC",
) -> None:
    """Write a mask as a binary DICOM SEG of one segment, a nodule, that a viewer shows over the source series.

    Planes get the positions of the source images, and refer to them; empty ones are left out. Patient, study and frame
    of reference are those of the source: **the file identifies the patient as the source does.**

    Parameters
    ----------
    path : Path
        Written atomically.
    mask : Mask
        With at least one voxel.
    source_headers : sequence of Dataset
        Headers of the source images in any order, pixels not needed: every slice, or the one multi-frame image.
    label : str
        Name of the segment and of its series; cut to 64 characters.
    tracking_id, tracking_uid : str
        What the segment shows, for whoever follows it through several segmentations (PS3.3 C.8.20.4).
    algorithm_name, algorithm_version, algorithm_type : str
        What made the mask; a manual one has neither name nor version.

    Raises
    ------
    AnnotationError
        ``mask_grid_differs`` if the source images are not the slices of the mask's grid; ``empty_annotation``;
        ``missing_frame_of_reference``; ``seg_not_written`` if the headers do not make a valid SEG.
    """
    if not mask.n_voxels:
        raise AnnotationError("empty_annotation", "the mask holds no voxel; a SEG without a frame is not written")
    if not source_headers or any(not header.get("FrameOfReferenceUID") for header in source_headers):
        raise AnnotationError(
            "missing_frame_of_reference",
            "the source images have no frame of reference, so that no viewer could lay a SEG over them; write NIfTI",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values, and one may be a name
        try:
            sources, voxels = _match(mask, source_headers)
            described = SegmentDescription(
                segment_number=1,
                segment_label=label[:_LONGEST],
                segmented_property_category=CATEGORY,
                segmented_property_type=PROPERTY,
                algorithm_type=algorithm_type,
                algorithm_identification=None
                if algorithm_type == "MANUAL"
                else AlgorithmIdentificationSequence(algorithm_name[:_LONGEST], FAMILY, algorithm_version[:_LONGEST]),
                tracking_id=tracking_id[:_LONGEST],
                tracking_uid=tracking_uid,
                anatomic_regions=[REGION],
            )
            segmentation = Segmentation(
                source_images=sources,
                pixel_array=voxels,
                segmentation_type="BINARY",
                segment_descriptions=[described],
                series_instance_uid=UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=UID(),
                instance_number=1,
                manufacturer="lungpipe",
                manufacturer_model_name="lungpipe",
                software_versions=version("lungpipe"),
                device_serial_number="0",
                content_label="NODULE",
                content_description=label[:_LONGEST],
                series_description=label[:_LONGEST],
            )
            content = io.BytesIO()
            segmentation.save_as(content, enforce_file_format=True)
        except AnnotationError:
            raise
        except Exception as error:  # noqa: BLE001 - the libraries raise anything, and the text may name the patient
            raise AnnotationError(
                "seg_not_written",
                f"the source's headers do not make a valid SEG ({type(error).__name__}); write NIfTI instead",
            ) from None
    write_atomically(path, content.getvalue())


def _match(mask: Mask, headers: Sequence[Dataset]) -> tuple[list[Dataset], NDArray[np.bool_]]:
    """Source images as highdicom wants them, and the mask's planes (n, rows, columns) in their order.

    A plane of a multi-frame image that is not on the grid stays empty and so is left out.
    """
    size = mask.frame.shape[1:]
    multi_frame = len(headers) == 1 and "PerFrameFunctionalGroupsSequence" in headers[0]
    n_planes = int(headers[0].NumberOfFrames) if multi_frame else len(headers)
    planes = [plane_of(headers[0], index) for index in range(n_planes)] if multi_frame else [*map(_plane, headers)]
    whole = mask.within((0, 0, 0), mask.frame.shape).voxels
    voxels = np.zeros((n_planes, *size), dtype=np.bool_)
    found: set[int] = set()
    for number, plane in enumerate(planes):
        try:
            index = locate_plane(mask.frame, *plane, size)
        except AnnotationError:
            if multi_frame:
                continue
            raise
        if index[0] not in found:
            found.add(index[0])
            voxels[number] = whole[index[0]]
    if len(found) != mask.frame.shape[0]:
        raise AnnotationError(
            "mask_grid_differs",
            f"the source images fill {len(found)} of the volume's {mask.frame.shape[0]} slices; give the whole series",
        )
    return [_prepared(header, headers[0], mask.frame.spacing_mm[0]) for header in headers], voxels


def _plane(header: Dataset) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Place of a single-frame image, as :func:`lungpipe.dicom.seg.plane_of` gives that of a frame."""
    return header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing


def _prepared(header: Dataset, first: Dataset, step_mm: float) -> Dataset:
    """A copy with what highdicom insists on: all attributes of type 2, one orientation to the last digit.

    The distance between slices is the true one.
    """
    out: Any = Dataset()
    out.update(header)
    for name in _MAY_BE_EMPTY:
        if name not in out:
            setattr(out, name, "")
    if out.PatientSex not in ("M", "F", "O"):
        out.PatientSex = ""
    if "ImageOrientationPatient" in out:
        out.ImageOrientationPatient = first.ImageOrientationPatient
        out.SpacingBetweenSlices = f"{step_mm:.10g}"
        out.SliceThickness = out.get("SliceThickness") or out.SpacingBetweenSlices
    prepared: Dataset = out
    return prepared
