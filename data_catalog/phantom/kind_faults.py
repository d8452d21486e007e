"""Series that are no plain CT of a chest: other modalities, scouts, screen shots, dose sheets, PET, other scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from data_catalog.phantom.chest import CONTRAST_HU, HIGHEST_HU, LOWEST_HU, SIZE, axial, coronal, noisy_hu, planes_at
from data_catalog.phantom.scans import blank_image, chest_images, rescale, set_kind, store, store_hu

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import FileDataset

    from data_catalog.phantom.scans import Scan

LOCALIZER_TYPE = ["DERIVED", "PRIMARY", "LOCALIZER", "SIMULATED"]
DOSE_TYPE = ["DERIVED", "SECONDARY", "DOSE_INFO", "SIMULATED"]
CAPTURE_TYPE = ["DERIVED", "SECONDARY", "OTHER", "SIMULATED"]


def not_ct(scan: Scan) -> list[FileDataset]:
    """Make MR images of the same grid."""
    hu = noisy_hu(axial(), scan.rng("image"))
    images = chest_images(scan, hu=hu)
    for image, values in zip(images, hu, strict=True):
        set_kind(image, MRImageStorage, "MR", ["DERIVED", "PRIMARY", "M", "SIMULATED"])
        for name in ("KVP", "XRayTubeCurrent", "ConvolutionKernel", "GantryDetectorTilt", "RescaleType"):
            delattr(image, name)
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "NONE", ""
        image.MRAcquisitionType, image.EchoTime, image.EchoTrainLength = "2D", 2, 1
        image.SeriesDescription = "T1 GRE"
        store(image, ((values - LOWEST_HU) // 2).astype("<u2"), 12)
        image.RescaleIntercept, image.RescaleSlope = 0, 1
    return images


def localizer(scan: Scan) -> list[FileDataset]:
    """Make one scout view from the front."""
    view = np.rint(noisy_hu(coronal(), scan.rng("localizer")).mean(axis=0)).astype(np.int16)
    plane = planes_at([(0.0, 0.0, 0.0)], (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    images = chest_images(scan, plane, view[None], part="localizer")
    images[0].ImageType, images[0].SeriesDescription = LOCALIZER_TYPE, "Topogram 0.6 T20s"
    return images


def with_localizer(scan: Scan) -> list[FileDataset]:
    """Put the scout view into the series of the scan that it was for."""
    return chest_images(scan) + localizer(scan)


def secondary_capture(scan: Scan) -> list[FileDataset]:
    """Capture three screens, in colour and without any place in the patient."""
    hu = noisy_hu(axial([-40.0, 0.0, 40.0]), scan.rng("image"))
    grey = np.clip((hu + 1250.0) / 1500 * 255, 0, 255).astype(np.uint8)
    images = []
    for index, screen in enumerate(grey):
        image = blank_image(scan, f"capture {index}")
        set_kind(image, SecondaryCaptureImageStorage, "CT", CAPTURE_TYPE)
        image.InstanceNumber, image.ConversionType = index + 1, "WSD"
        image.SeriesDescription = "Screen captures"
        store(image, np.stack([screen, screen, np.maximum(screen, _writing())], axis=-1), 8)
        images.append(image)
    return images


def dose_report(scan: Scan) -> list[FileDataset]:
    """Make a page of the dose, stored as a CT image."""
    image = blank_image(scan, "dose")
    image.ImageType, image.SeriesDescription, image.InstanceNumber = DOSE_TYPE, "Dose Report", 1
    store_hu(image, np.where(_writing() > 0, np.int16(1000), np.int16(LOWEST_HU)))
    return [image]


def pet_as_ct(scan: Scan) -> list[FileDataset]:
    """Leave a tracer and the units of PET in the headers of a series that says it is CT."""
    tracer = Dataset()
    tracer.Radiopharmaceutical, tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "FDG", 3.1e8, 6586.2
    images = chest_images(scan)
    for image in images:
        image.Units = "BQML"
        image.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    return images


def not_hu(scan: Scan) -> list[FileDataset]:
    """Store the values from 0 upwards with a rescale that leaves them so."""
    images = chest_images(scan)
    for image in images:
        rescale(image, 1, 0)
    return images


def burned_in_annotation(scan: Scan) -> list[FileDataset]:
    """Write into a corner of the pixels."""
    hu = noisy_hu(axial(), scan.rng("image"))
    corner = (slice(None), slice(0, 16), slice(0, SIZE // 2))
    hu[corner] = np.where(_writing()[corner[1:]] > 0, np.int16(HIGHEST_HU), hu[corner])
    images = chest_images(scan, hu=hu)
    for image in images:
        image.BurnedInAnnotation = "YES"
    return images


def contrast(scan: Scan) -> list[FileDataset]:
    """Give contrast agent."""
    images = chest_images(scan, hu=noisy_hu(axial(), scan.rng("image"), blood_hu=CONTRAST_HU))
    for image in images:
        image.ContrastBolusAgent, image.ContrastBolusRoute = "Musteropak 350", "IV"
    return images


def _writing() -> NDArray[np.uint8]:
    """Lines of strokes that look like writing from afar, 0 or 255, shape (:data:`SIZE`, :data:`SIZE`)."""
    row, column = np.indices((SIZE, SIZE))
    strokes = (row % 8 >= 3) & ((column * 7 + row // 8 * 13) % 10 < 4) & (column > 3) & (column < SIZE - 20)
    return np.where(strokes, 255, 0).astype(np.uint8)
