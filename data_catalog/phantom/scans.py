"""Write the slices of a chest as DICOM data sets, headers as a hospital leaves them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from data_catalog.phantom.chest import PIXEL_MM, axial, noisy_hu
from data_catalog.phantom.dicom import IMAGE_TYPE, UNSIGNED_INTERCEPT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.uid import UID

    from data_catalog.phantom.chest import Planes
    from data_catalog.phantom.identities import Person

#: Of the private block that repeats the patient's name, as scanners' own attributes may.
PRIVATE_CREATOR = "MUSTERWERK CT HEADER"


@dataclass(frozen=True, slots=True)
class Scan:
    """One series to be written; its UIDs and noise follow from the seed and the names.

    Parameters
    ----------
    seed : int
        Of the cohort.
    name : str
        Names the series within the cohort.
    study : str
        Names its study and frame of reference; scans of the same study share both.
    person : Person
        The patient.
    number : int
        Series number.
    """

    seed: int
    name: str
    study: str
    person: Person
    number: int

    def uid(self, part: str) -> UID:
        """UID of a part of this series."""
        return generate_uid(entropy_srcs=["lungpipe broken phantom", str(self.seed), self.name, part])

    def study_uid(self, part: str) -> UID:
        """UID of a part of the study."""
        return generate_uid(entropy_srcs=["lungpipe broken phantom", str(self.seed), "study", self.study, part])

    def rng(self, part: str) -> np.random.Generator:
        """Source of chance for a part of this series."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.name} {part}".encode())])


def chest_images(
    scan: Scan, planes: Planes | None = None, hu: NDArray[np.int16] | None = None, part: str = "image"
) -> list[FileDataset]:
    """Make the images of a faultless series.

    Parameters
    ----------
    scan : Scan
        Whose.
    planes : Planes, optional
        Where the slices lie; by default axial ones that cover both lungs.
    hu : ndarray of int16, shape (z, y, x), optional
        The values; by default a chest on these planes.
    part : str
        Names these images within the series, where it has others too.

    Returns
    -------
    list of FileDataset
        In the order of the planes; 12-bit unsigned pixels.
    """
    planes = axial() if planes is None else planes
    hu = noisy_hu(planes, scan.rng(part)) if hu is None else hu
    first = blank_image(scan, f"{part} 0")
    first.ImageOrientationPatient = [f"{v:.8g}" for v in (*planes.row, *planes.column)]
    first.FrameOfReferenceUID = scan.study_uid("frame of reference")
    first.PositionReferenceIndicator = ""
    first.PixelSpacing = [PIXEL_MM, PIXEL_MM]
    first.SliceThickness = planes.thickness_mm
    images = _copies(first, len(hu))
    for index, (image, values, first_mm) in enumerate(zip(images, hu, planes.first_mm, strict=True)):
        name_instance(image, scan.uid(f"{part} {index}"))
        image.InstanceNumber = len(hu) - index
        image.ImagePositionPatient = [f"{v:.4f}" for v in first_mm]
        store_hu(image, values)
    return images


def _copies(image: FileDataset, count: int) -> list[FileDataset]:
    """Copies of an image that share its encoded elements, which cannot change, so that each is quickly made."""
    encoded = BytesIO()
    image.save_as(encoded, enforce_file_format=True)
    encoded.seek(0)
    read = dcmread(encoded)
    copies = []
    for _ in range(count):
        copy = FileDataset("", {tag: read.get_item(tag) for tag in read.keys()}, image.preamble)  # noqa: SIM118
        copy.set_original_encoding(False, True, read.original_character_set)
        copy.file_meta = FileMetaDataset()
        copy.file_meta.TransferSyntaxUID = image.file_meta.TransferSyntaxUID
        copy.file_meta.MediaStorageSOPClassUID = image.file_meta.MediaStorageSOPClassUID
        copies.append(copy)
    return copies


def store_hu(image: FileDataset, hu: NDArray[np.int16]) -> None:
    """Put HU, shape (y, x), into an image as 12-bit unsigned pixels."""
    rescale(image, 1, UNSIGNED_INTERCEPT)
    store(image, (hu - np.int16(UNSIGNED_INTERCEPT)).astype("<u2"), 12)


def rescale(image: Dataset, slope: float, intercept: float) -> None:
    """Say how stored values become HU: DICOM PS3.3 C.11.1."""
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = intercept, slope, "HU"


def store(image: FileDataset, stored: NDArray[np.generic], bits: int) -> None:
    """Put stored values, shape (y, x) or (y, x, colours), into an image: DICOM PS3.3 C.7.6.3.

    Parameters
    ----------
    image : FileDataset
        Gets them, uncompressed.
    stored : ndarray of integers
        Of the byte order that the image's transfer syntax has.
    bits : int
        Bits stored; bits allocated are the array's.
    """
    image.SamplesPerPixel = 1 if stored.ndim == 2 else stored.shape[2]
    image.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        image.PlanarConfiguration = 0
    image.Rows, image.Columns = stored.shape[:2]
    image.BitsAllocated = 8 * stored.dtype.itemsize
    image.BitsStored, image.HighBit = bits, bits - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.PixelData = stored.tobytes()
    image["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"


def blank_image(scan: Scan, part: str) -> FileDataset:
    """Make an image without pixels or place: who, when, where and on which scanner."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SpecificCharacterSet = "ISO_IR 100"
    set_kind(image, CTImageStorage, "CT", IMAGE_TYPE)
    name_instance(image, scan.uid(part))
    _add_patient(image, scan.person)
    _add_study(image, scan)
    image.Manufacturer, image.ManufacturerModelName = "Musterwerk", "Phantom 64"
    image.StationName, image.DeviceSerialNumber = "CT1MUSTER", "SN-77431"
    image.BodyPartExamined, image.PatientPosition = "CHEST", "HFS"
    image.KVP, image.XRayTubeCurrent, image.ConvolutionKernel = "120", 180, "B40f"
    image.GantryDetectorTilt = 0
    image.WindowCenter, image.WindowWidth = -500, 1500
    private = image.private_block(0x0029, PRIVATE_CREATOR, create=True)
    private.add_new(0x10, "LO", scan.person.name.replace("^", " "))
    private.add_new(0x11, "DA", scan.person.birth_date)
    return image


def set_kind(image: FileDataset, sop_class: UID, modality: str, image_type: list[str]) -> None:
    """Say what an image is."""
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    image.Modality, image.ImageType = modality, image_type


def name_instance(image: FileDataset, uid: UID) -> None:
    """Give an image its SOP instance UID."""
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid


def _add_patient(image: Dataset, person: Person) -> None:
    """Patient: DICOM PS3.3 C.7.1.1, C.2.3."""
    image.PatientName, image.PatientID = person.name, person.patient_id
    image.PatientBirthDate, image.PatientSex = person.birth_date, person.sex
    image.PatientAddress, image.PatientTelephoneNumbers = person.address, person.phone
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = f"OLD{person.patient_id[3:]}", "TEXT"
    image.OtherPatientIDsSequence = Sequence([other])


def _add_study(image: Dataset, scan: Scan) -> None:
    """Study and series: DICOM PS3.3 C.7.2.1, C.7.3.1, C.7.5.1."""
    person = scan.person
    image.StudyInstanceUID, image.SeriesInstanceUID = scan.study_uid("study"), scan.uid("series")
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(image, f"{kind}Date", person.study_date)
        setattr(image, f"{kind}Time", person.study_time)
    image.AccessionNumber, image.StudyID = person.accession_number, person.accession_number[-5:]
    image.InstitutionName, image.InstitutionAddress = person.hospital, person.hospital_address
    image.ReferringPhysicianName, image.OperatorsName = person.doctor, "Assistentek^Rufus"
    image.SeriesNumber, image.AcquisitionNumber = scan.number, 1
    image.StudyDescription, image.SeriesDescription = "CT Thorax", "Thorax 5.0 B40f"
    image.ImageComments = "Simulated intensities: nothing was scanned"
    request = Dataset()
    request.RequestedProcedureID = person.accession_number
    request.ReasonForTheRequestedProcedure = f"{person.name.replace('^', ', ')}: follow-up of a nodule"
    image.RequestAttributesSequence = Sequence([request])
