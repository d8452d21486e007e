"""DICOM SEG and RTSTRUCT files made by hand with pydicom, and a plain reader: a second opinion on what is ours."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

SEG, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def item(**attributes) -> Dataset:
    out = Dataset()
    for name, value in attributes.items():
        setattr(out, name, value)
    return out


def code(value, scheme, meaning) -> list[Dataset]:
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def write_seg_file(
    path,
    frame,
    planes,
    labels=("one",),
    *,
    kind="BINARY",
    maximum=255,
    series_uid="",
    sop_uids=(),
    size=None,
    change=None,
):
    """Write planes ``(segment number, (z, y, x) of the first pixel, pixels (rows, columns))`` in the order given.

    Positions come from ``frame`` by the equation of PS3.3 C.7.6.2.1.1.
    """
    rows, columns = size or frame.shape[1:]
    out = _begin(LABELMAP if kind == "LABELMAP" else SEG, "SEG")
    out.SegmentationType, out.ContentLabel = kind, "HAND"
    out.DimensionOrganizationSequence = [item(DimensionOrganizationUID=generate_uid(entropy_srcs=["dimensions"]))]
    out.DimensionIndexSequence = []
    if series_uid or sop_uids:
        references = [
            item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=u) for u in sop_uids
        ]
        out.ReferencedSeriesSequence = [item(SeriesInstanceUID=series_uid, ReferencedInstanceSequence=references)]
    out.SegmentSequence = [
        item(
            SegmentNumber=number,
            SegmentLabel=label,
            SegmentAlgorithmType="MANUAL",
            SegmentedPropertyCategoryCodeSequence=code("49755003", "SCT", "Morphologically abnormal structure"),
            SegmentedPropertyTypeCodeSequence=code("27925004", "SCT", "Nodule"),
        )
        for number, label in enumerate(labels, start=1)
    ]
    spacing = [frame.spacing_mm[1], frame.spacing_mm[2]]
    out.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[f"{v:.9f}" for v in frame.matrix.T[:2].ravel()])],
            PixelMeasuresSequence=[item(PixelSpacing=spacing, SliceThickness=frame.spacing_mm[0])],
        )
    ]
    groups, pixels = [], []
    for number, start, values in planes:
        z, y, x = start
        position = np.asarray(frame.origin_mm) + frame.matrix @ (np.array([x, y, z]) * np.array(frame.spacing_mm)[::-1])
        group = item(PlanePositionSequence=[item(ImagePositionPatient=[f"{v:.6f}" for v in position])])
        if kind != "LABELMAP":
            group.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
        group.FrameContentSequence = [item()]
        groups.append(group)
        pixels.append(np.asarray(values).ravel())
    out.PerFrameFunctionalGroupsSequence = groups
    out.NumberOfFrames, out.Rows, out.Columns = len(planes), rows, columns
    out.SamplesPerPixel, out.PhotometricInterpretation, out.PixelRepresentation = 1, "MONOCHROME2", 0
    out.BitsAllocated = out.BitsStored = 1 if kind == "BINARY" else 8
    out.HighBit = out.BitsStored - 1
    if kind == "FRACTIONAL":
        out.MaximumFractionalValue, out.SegmentationFractionalType = maximum, "OCCUPANCY"
    flat = np.concatenate(pixels)
    data = np.packbits(flat.astype(bool), bitorder="little") if kind == "BINARY" else flat.astype(np.uint8)
    out.PixelData = data.tobytes() + b"\0" * (data.size % 2)
    if change is not None:
        change(out)
    pydicom.dcmwrite(path, out, enforce_file_format=True)
    return path


def plain_points_mm(path) -> np.ndarray:
    """LPS points (n, 3) of all set pixels of a binary SEG, sorted; from its attributes and bits alone."""
    seg = pydicom.dcmread(path)
    n, rows, columns = int(seg.NumberOfFrames), seg.Rows, seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: n * rows * columns]
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down_mm, right_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for plane, group in zip(bits.reshape(n, rows, columns), seg.PerFrameFunctionalGroupsSequence, strict=True):
        row, column = np.nonzero(plane)
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        points.append(position + np.outer(column * right_mm, cosines[:3]) + np.outer(row * down_mm, cosines[3:]))
    return in_order(np.concatenate(points))


def in_order(points_mm) -> np.ndarray:
    return points_mm[np.lexsort(np.round(points_mm, 2).T)]


def write_rtstruct_file(path, frame, rois, series_uid="", sop_uids=()):
    """Write ROIs ``name: (slice, low row, low column, high row, high column)``, rectangles around those pixels."""
    out = _begin(RTStructureSetStorage, "RTSTRUCT")
    images = [item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=u) for u in sop_uids]
    series = item(SeriesInstanceUID=series_uid, ContourImageSequence=images)
    study = item(RTReferencedSeriesSequence=[series])
    out.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID="1.2.3", RTReferencedStudySequence=[study])]
    out.StructureSetROISequence, out.ROIContourSequence = [], []
    for number, (name, (k, top, left, bottom, right)) in enumerate(rois, start=11):
        corners = [(k, top - 0.5, left - 0.5), (k, top - 0.5, right + 0.5), (k, bottom + 0.5, right + 0.5)]
        corners.append((k, bottom + 0.5, left - 0.5))
        data = [f"{v:.5f}" for v in frame.to_lps(corners).ravel()]
        contour = item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=data)
        out.StructureSetROISequence.append(item(ROINumber=number, ROIName=name))
        out.ROIContourSequence.append(item(ReferencedROINumber=number, ContourSequence=[contour]))
    pydicom.dcmwrite(path, out, enforce_file_format=True)
    return path


def _begin(sop_class: str, modality: str) -> Dataset:
    out = item(SOPClassUID=sop_class, Modality=modality, PatientID="PAT-1", PatientName="Roe^Jane")
    out.SOPInstanceUID = generate_uid(entropy_srcs=[modality])
    out.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    out.SeriesInstanceUID = generate_uid(entropy_srcs=[modality, "series"])
    out.FrameOfReferenceUID = "1.2.3"
    out.file_meta = FileMetaDataset()
    out.file_meta.MediaStorageSOPClassUID, out.file_meta.MediaStorageSOPInstanceUID = sop_class, out.SOPInstanceUID
    out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return out
