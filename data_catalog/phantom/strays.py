"""What else lies in an archive: other files, other DICOM objects, damaged files, zip archives that attack."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, RTStructureSetStorage

from data_catalog.phantom.chest import CENTRE_MM, STEP_MM, axial
from data_catalog.phantom.layouts import zip_entry
from data_catalog.phantom.scans import blank_image, chest_images, name_instance, set_kind

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import FileDataset

    from data_catalog.phantom.scans import Scan

#: A zip entry of zeros of this size takes about a thousandth of it on disk.
BOMB_BYTES, CHUNK = 96 * 1024 * 1024, 1024 * 1024
#: Of the attributes that only images have.
IMAGE_ONLY = (
    "ImageType", "KVP", "XRayTubeCurrent", "ConvolutionKernel", "GantryDetectorTilt", "WindowCenter", "WindowWidth",
    "PatientPosition", "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "ImageComments", "BodyPartExamined",
)  # fmt: skip

Refused = tuple[str, str, str, str]


def write_strays(folder: Path, scan: Scan) -> list[Refused]:
    """Write files that are no series.

    Parameters
    ----------
    folder : Path
        Folder of the archive.
    scan : Scan
        A faultless series of the archive, to which the other objects belong.

    Returns
    -------
    list of (path, entry, code, note)
        Files that an index must refuse: path below ``folder``, entry of a zip archive, exclusion code, what is in it.
        All other files must be passed over.
    """
    _write_foreign(folder)
    images = chest_images(scan)
    _write_objects(folder / "explicit" / "other", scan, images)
    # What follows is an image that no series has: if it came to light, somebody read what must be refused.
    content = BytesIO()
    name_instance(images[0], scan.uid("refused"))
    images[0].SeriesInstanceUID = scan.uid("series of refused")
    dcmwrite(content, images[0], enforce_file_format=True)
    refused = content.getvalue()
    return [*_write_damaged(folder / "damaged", refused), *_write_archives(folder / "archives", refused)]


def _write_foreign(folder: Path) -> None:
    """Files that are no DICOM, some named as if they were."""
    other = folder / "viewer"
    other.mkdir()
    (other / "README.TXT").write_text("Double-click VIEWER.EXE to see the images.\n", encoding="utf-8")
    (other / "preview.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)) * 8 + b"\xff\xd9")
    (other / "empty.dcm").write_bytes(b"")
    (other / "notes.dcm").write_text("This is text, whatever the suffix says.\n" * 8, encoding="utf-8")
    (other / "Thumbs.db").write_bytes(bytes(4096))


def _write_objects(folder: Path, scan: Scan, images: list[FileDataset]) -> None:
    """A structure set and a report of the series' study: DICOM objects without pixels."""
    folder.mkdir(parents=True)
    dcmwrite(folder / "RS.dcm", _structure_set(scan, images), enforce_file_format=True)
    report = _object(scan, "report", "SR")
    set_kind(report, BasicTextSRStorage, "SR", [])
    del report.ImageType
    report.CompletionFlag, report.VerificationFlag, report.ValueType = "COMPLETE", "UNVERIFIED", "CONTAINER"
    report.ContinuityOfContent = "SEPARATE"
    report.ConceptNameCodeSequence = Sequence([_code("18748-4", "LN", "Diagnostic imaging report")])
    text = Dataset()
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.ConceptNameCodeSequence = Sequence([_code("121071", "DCM", "Finding")])
    text.TextValue = f"{scan.person.name.replace('^', ', ')}, born {scan.person.birth_date}: no nodule."
    report.ContentSequence = Sequence([text])
    dcmwrite(folder / "SR.dcm", report, enforce_file_format=True)


def _structure_set(scan: Scan, images: list[FileDataset]) -> FileDataset:
    """Outline a ball of 20 mm radius in the left lung of a series of the usual slices: DICOM PS3.3 A.19, C.8.8."""
    out = _object(scan, "structure set", "RTSTRUCT")
    set_kind(out, RTStructureSetStorage, "RTSTRUCT", [])
    del out.ImageType
    out.StructureSetLabel, out.StructureSetDate, out.StructureSetTime = "LUNG", out.SeriesDate, out.SeriesTime
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = scan.uid("series")
    series.ContourImageSequence = Sequence([_reference(image) for image in images])
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", scan.study_uid("study")
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID = scan.study_uid("frame of reference")
    frame.RTReferencedStudySequence = Sequence([study])
    out.ReferencedFrameOfReferenceSequence = Sequence([frame])
    region, contours, observation = Dataset(), Dataset(), Dataset()
    region.ROINumber, region.ROIName, region.ROIGenerationAlgorithm = 1, "nodule", "MANUAL"
    region.ReferencedFrameOfReferenceUID = frame.FrameOfReferenceUID
    out.StructureSetROISequence = Sequence([region])
    contours.ReferencedROINumber, contours.ROIDisplayColor = 1, [255, 0, 0]
    contours.ContourSequence = Sequence(_circles(images))
    out.ROIContourSequence = Sequence([contours])
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "", ""
    out.RTROIObservationsSequence = Sequence([observation])
    return out


def _circles(images: list[FileDataset]) -> list[Dataset]:
    """Contours of the ball on the slices that it meets."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    centre = np.add(CENTRE_MM, (80.0, 0.0, 20.0))
    contours = []
    for image, first_mm in zip(images, axial().first_mm, strict=True):
        height = first_mm[2] - centre[2]
        if abs(height) > 20 - STEP_MM / 2:
            continue
        radius = np.sqrt(20.0**2 - height**2)
        x, y = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
        points = np.stack([x, y, np.full_like(x, first_mm[2])], axis=1)
        contour = Dataset()
        contour.ContourImageSequence = Sequence([_reference(image)])
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        contour.ContourData = [f"{v:.3f}" for v in points.ravel()]
        contours.append(contour)
    return contours


def _write_damaged(folder: Path, content: bytes) -> list[Refused]:
    """Files that begin as DICOM and end, or go astray, before they say which series they belong to."""
    folder.mkdir()
    before_series = content.index(b"\x20\x00\x0d\x00UI")
    (folder / "cut.dcm").write_bytes(content[: before_series - 3])
    absurd = b"\x09\x00\x01\x10UN\0\0" + (0x00FFFFFF).to_bytes(4, "little")
    group_ten = content.index(b"\x10\x00\x10\x00PN")
    (folder / "absurd_length.dcm").write_bytes(content[:group_ten] + absurd + content[group_ten:])
    return [
        ("damaged/absurd_length.dcm", "", "unreadable_header", "a private attribute announces 16 MiB that are absent"),
        ("damaged/cut.dcm", "", "unreadable_header", "ends inside the header"),
    ]


def _write_archives(folder: Path, content: bytes) -> list[Refused]:
    """Zip archives with an entry that leaves the folder, and with one that expands a thousand times."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "outside.zip", "w") as archive:
        archive.writestr(zip_entry("../evil.dcm"), content)
    with (
        zipfile.ZipFile(folder / "bomb.zip", "w") as archive,
        archive.open(zip_entry("bomb.dcm"), "w", force_zip64=True) as entry,
    ):
        entry.write(content)
        for _ in range(BOMB_BYTES // CHUNK):
            entry.write(bytes(CHUNK))
    return [
        ("archives/bomb.zip", "bomb.dcm", "zip_bomb", "96 MiB of zeros behind a slice"),
        ("archives/outside.zip", "../evil.dcm", "zip_unsafe_name", "would be written outside the folder"),
    ]


def _object(scan: Scan, part: str, modality: str) -> FileDataset:
    """Start an object of the scan's patient and study in a series of its own."""
    out = blank_image(scan, part)
    for name in IMAGE_ONLY:
        delattr(out, name)
    out.Modality, out.SeriesDescription = modality, part.capitalize()
    out.SeriesInstanceUID, out.SeriesNumber, out.InstanceNumber = scan.uid(f"series of {part}"), 90, 1
    name_instance(out, scan.uid(part))
    return out


def _reference(image: FileDataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
