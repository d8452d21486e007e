"""Write the DICOMDIR of one series on a patient's disc."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

if TYPE_CHECKING:
    from pathlib import Path

    from data_catalog.phantom.scans import Scan

#: Attributes that each kind of record repeats: DICOM PS3.3 F.5.
COPIED = {
    "PATIENT": ("PatientID", "PatientName"),
    "STUDY": ("StudyDate", "StudyTime", "StudyDescription", "StudyInstanceUID", "StudyID", "AccessionNumber"),
    "SERIES": ("Modality", "SeriesInstanceUID", "SeriesNumber"),
    "IMAGE": ("InstanceNumber",),
}


def write_dicomdir(path: Path, images: list[FileDataset], names: list[list[str]], scan: Scan) -> None:
    """Write the directory of one patient's one series: DICOM PS3.3 F.3.

    Parameters
    ----------
    path : Path
        The file to write.
    images : list of FileDataset
        The images of the series.
    names : list of list of str
        Each image's file: the parts of its path below the folder of ``path``.
    scan : Scan
        Whose.
    """
    upper = [_record(kind, images[0]) for kind in ("PATIENT", "STUDY", "SERIES")]
    records = upper + [_image_record(image, parts) for image, parts in zip(images, names, strict=True)]
    directory = _empty_directory(scan)
    directory.DirectoryRecordSequence = Sequence(records)
    draft = BytesIO()
    dcmwrite(draft, directory, enforce_file_format=True)
    draft.seek(0)
    # Records point at each other by their place in the file, which is known once it is written.
    places = [record.seq_item_tell for record in dcmread(draft).DirectoryRecordSequence]
    for record, below in zip(records, places[1:4], strict=False):
        record.OffsetOfReferencedLowerLevelDirectoryEntity = below
    for record, beside in zip(records[3:], places[4:], strict=False):
        record.OffsetOfTheNextDirectoryRecord = beside
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = places[0]
    directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = places[0]
    dcmwrite(path, directory, enforce_file_format=True)


def _empty_directory(scan: Scan) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = scan.uid("file-set")
    directory = FileDataset("", {}, b"\0" * 128, meta)
    directory.FileSetID = "MUSTERDISC"
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.FileSetConsistencyFlag = 0
    return directory


def _record(kind: str, image: FileDataset) -> Dataset:
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    record.SpecificCharacterSet = image.SpecificCharacterSet
    for name in COPIED[kind]:
        setattr(record, name, image[name].value)
    return record


def _image_record(image: FileDataset, parts: list[str]) -> Dataset:
    record = _record("IMAGE", image)
    record.ReferencedFileID = parts
    record.ReferencedSOPClassUIDInFile = image.SOPClassUID
    record.ReferencedSOPInstanceUIDInFile = image.SOPInstanceUID
    record.ReferencedTransferSyntaxUIDInFile = image.file_meta.TransferSyntaxUID
    return record
