"""Write a simulated CT as a DICOM series that says of itself that it is simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.uid import UID

    from data_catalog.phantom.plan import PlannedPatient

DESCRIPTION = "lungpipe phantom, simulated intensities"
#: DICOM PS3.3 C.8.2.1.1.1: derived pixels, and a fourth value that says why.
IMAGE_TYPE = ["DERIVED", "PRIMARY", "AXIAL", "SIMULATED"]
#: Nothing was scanned, so the date is a made-up one.
DATE, TIME = "20000101", "120000"
UNSIGNED_INTERCEPT = -1024


def series_uid(identity: str, patient: PlannedPatient) -> str:
    """Name a patient's series.

    Parameters
    ----------
    identity : str
        Everything that the cohort's pixels follow from; other cohorts get other UIDs.
    patient : PlannedPatient
        The patient.
    """
    return _uid(identity, patient, "series")


def write_series(folder: Path, patient: PlannedPatient, hu: NDArray[np.int16], identity: str) -> None:
    """Write one CT series, a file a slice (explicit VR little endian).

    Parameters
    ----------
    folder : Path
        New folder for the files. Their names follow the order of slices in some series only.
    patient : PlannedPatient
        The patient, its grid and scanner.
    hu : ndarray of int16, shape (z, y, x)
        HU; the first slice is the lowest.
    identity : str
        Everything that the cohort's pixels follow from; goes into the UIDs.
    """
    folder.mkdir(parents=True)
    header = _series_header(patient, identity)
    intercept = 0 if patient.signed else UNSIGNED_INTERCEPT
    stored = (hu - np.int16(intercept)).astype("<i2" if patient.signed else "<u2")
    names = _file_names(patient, len(hu))
    for index, name in enumerate(names):
        sop_uid = _uid(identity, patient, f"image {index}")
        header.file_meta.MediaStorageSOPInstanceUID = sop_uid
        header.SOPInstanceUID = sop_uid
        header.InstanceNumber = len(hu) - index
        x, y, z = patient.grid.to_lps((index, 0, 0)).tolist()
        header.ImagePositionPatient = [f"{value:.4f}" for value in (x, y, z)]
        header.SliceLocation = f"{z:.4f}"
        header.PixelData = stored[index].tobytes()
        header.save_as(folder / name, enforce_file_format=True)


def _uid(identity: str, patient: PlannedPatient, part: str) -> UID:
    """UID that is the same for the same cohort, patient and part."""
    return generate_uid(entropy_srcs=["lungpipe phantom", identity, patient.patient_id, part])


def _file_names(patient: PlannedPatient, count: int) -> list[str]:
    """Name the slices' files: from below, from above, or in no order, by patient."""
    order = list(range(1, count + 1))
    if patient.number % 3 == 1:
        order.reverse()
    elif patient.number % 3 == 2:
        order = (np.random.default_rng([patient.seed, patient.number]).permutation(count) + 1).tolist()
    return [f"IM{number:04d}.dcm" for number in order]


def _series_header(patient: PlannedPatient, identity: str) -> FileDataset:
    """Attributes that all slices of a series share."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    _add_identity(header, patient, identity)
    _add_acquisition(header, patient)
    _add_pixels(header, patient)
    return header


def _add_identity(header: FileDataset, patient: PlannedPatient, identity: str) -> None:
    """Patient, study and series: DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.3.1."""
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = CTImageStorage
    header.PatientName = f"Phantom^{patient.number:04d}"
    header.PatientID = patient.patient_id
    header.PatientBirthDate = ""
    header.PatientSex = "O"
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = "simulated patient"
    header.StudyInstanceUID = _uid(identity, patient, "study")
    header.SeriesInstanceUID = series_uid(identity, patient)
    header.FrameOfReferenceUID = _uid(identity, patient, "frame of reference")
    header.PositionReferenceIndicator = ""
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(header, name, DATE)
    for name in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(header, name, TIME)
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.StudyID = str(patient.number)
    header.SeriesNumber = 1
    header.AcquisitionNumber = 1
    header.StudyDescription = "Simulated screening CT"
    header.SeriesDescription = DESCRIPTION
    header.ImageComments = "Simulated intensities: nothing was scanned"


def _add_acquisition(header: FileDataset, patient: PlannedPatient) -> None:
    """Scanner and protocol: DICOM PS3.3 C.7.5.1, C.8.2.1."""
    header.Modality = "CT"
    header.Manufacturer = patient.maker
    header.ManufacturerModelName = patient.model
    header.ImageType = IMAGE_TYPE
    header.BodyPartExamined = "CHEST"
    header.Laterality = ""
    header.PatientPosition = "HFS"
    header.KVP = str(patient.kv)
    header.XRayTubeCurrent = patient.ma
    header.ConvolutionKernel = patient.kernel.name


def _add_pixels(header: FileDataset, patient: PlannedPatient) -> None:
    """Grid and storage of the pixels: DICOM PS3.3 C.7.6.2, C.7.6.3, C.11.1."""
    slice_mm, pixel_y_mm, pixel_x_mm = patient.grid.spacing_mm
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [pixel_y_mm, pixel_x_mm]
    header.SliceThickness = slice_mm
    header.SpacingBetweenSlices = slice_mm
    header.Rows, header.Columns = patient.grid.shape[1:]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = 16 if patient.signed else 12
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(patient.signed)
    header.RescaleIntercept = 0 if patient.signed else UNSIGNED_INTERCEPT
    header.RescaleSlope = 1
    header.RescaleType = "HU"
    header.WindowCenter, header.WindowWidth = -500, 1500
