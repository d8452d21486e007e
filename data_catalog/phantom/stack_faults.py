"""Series whose slices do not make a regular axial stack."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.phantom.chest import SLICES, STEP_MM, axial, coronal, noisy_hu, planes_at
from data_catalog.phantom.scans import chest_images, name_instance, store_hu

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from data_catalog.phantom.scans import Scan

TILT_DEGREES, OBLIQUE_DEGREES, SHEAR_MM = 15.0, 10.0, 1.0
#: Index of the slice that a fault concerns.
FAULTY = 24
REFORMATTED_TYPE = ["DERIVED", "SECONDARY", "REFORMATTED", "SIMULATED"]


def missing_slice(scan: Scan) -> list[FileDataset]:
    """Leave one slice out of the middle."""
    images = chest_images(scan)
    del images[FAULTY]
    return images


def uneven_spacing(scan: Scan) -> list[FileDataset]:
    """Go on in smaller steps above the middle."""
    steps = [STEP_MM] * (SLICES // 2 + 2) + [STEP_MM - 1] * (SLICES // 2 - 3)
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    return chest_images(scan, axial((heights - heights[-1] / 2).tolist()))


def duplicate_slice(scan: Scan) -> list[FileDataset]:
    """Store a slice a second time as another instance."""
    images = chest_images(scan)
    return [*images, _again(scan, images[FAULTY])]


def conflicting_slice(scan: Scan) -> list[FileDataset]:
    """Store a second slice with other noise at the position of another."""
    images = chest_images(scan)
    second = _again(scan, images[FAULTY])
    store_hu(second, noisy_hu(axial(), scan.rng("conflict"))[FAULTY])
    return [*images, second]


def duplicate_sop(scan: Scan) -> list[FileDataset]:
    """Store one instance in two files."""
    images = chest_images(scan)
    return [*images, images[FAULTY]]


def conflicting_sop(scan: Scan) -> list[FileDataset]:
    """Give the last slice the instance UID of the first; whichever is left out, no gap arises."""
    images = chest_images(scan)
    name_instance(images[-1], images[0].SOPInstanceUID)
    return images


def gantry_tilt(scan: Scan) -> list[FileDataset]:
    """Shift each slice backwards as a tilted gantry does, and say so."""
    return _tilted(_shifted(scan, math.tan(math.radians(TILT_DEGREES)) * STEP_MM))


def gantry_tilt_rotated(scan: Scan) -> list[FileDataset]:
    """Tilt the slices themselves, while the table moves along the patient's axis."""
    angle = math.radians(TILT_DEGREES)
    centres = [(0.0, 0.0, first[2]) for first in _from_centre()]
    return _tilted(chest_images(scan, planes_at(centres, column=(0.0, math.cos(angle), math.sin(angle)))))


def sheared(scan: Scan) -> list[FileDataset]:
    """Shift each slice backwards and say nothing."""
    return _shifted(scan, SHEAR_MM)


def oblique(scan: Scan) -> list[FileDataset]:
    """Turn the whole stack about the patient's left-right axis."""
    angle = math.radians(OBLIQUE_DEGREES)
    normal = (0.0, -math.sin(angle), math.cos(angle))
    centres = [(0.0, normal[1] * z, normal[2] * z) for _, _, z in _from_centre()]
    return chest_images(scan, planes_at(centres, column=(0.0, math.cos(angle), math.sin(angle))))


def not_axial(scan: Scan) -> list[FileDataset]:
    """Make coronal slices only."""
    return _coronal(scan)


def mixed_orientation(scan: Scan) -> list[FileDataset]:
    """Put coronal slices into the series of the axial ones."""
    return chest_images(scan) + _coronal(scan)


def mixed_acquisition(scan: Scan) -> list[FileDataset]:
    """Scan the same place twice in one series."""
    second = chest_images(scan, part="second")
    for image in second:
        image.AcquisitionNumber = 2
    return chest_images(scan) + second


def mixed_size(scan: Scan) -> list[FileDataset]:
    """Give the upper slices fewer columns; their first pixels stay in place."""
    hu = noisy_hu(axial(), scan.rng("image"))
    images = chest_images(scan, hu=hu)
    for image, values in list(zip(images, hu, strict=True))[30:]:
        store_hu(image, values[:, :112])
    return images


def thick_slices(scan: Scan) -> list[FileDataset]:
    """Cover the chest by slices of 8 mm."""
    return chest_images(scan, axial((np.arange(-17, 18) * 8.0).tolist(), thickness_mm=8.0))


def too_few_slices(scan: Scan) -> list[FileDataset]:
    """Keep three slices."""
    return chest_images(scan, axial([-STEP_MM, 0.0, STEP_MM]))


def missing_geometry(scan: Scan) -> list[FileDataset]:
    """Say nowhere where the slices lie."""
    images = chest_images(scan)
    for image in images:
        del image.ImagePositionPatient
    return images


def _from_centre() -> list[tuple[float, float, float]]:
    """Middles of the usual slices from the middle of the chest, mm."""
    return [(0.0, 0.0, (k - (SLICES - 1) / 2) * STEP_MM) for k in range(SLICES)]


def _shifted(scan: Scan, shift_mm: float) -> list[FileDataset]:
    centres = [(0.0, z / STEP_MM * shift_mm, z) for _, _, z in _from_centre()]
    return chest_images(scan, planes_at(centres))


def _tilted(images: list[FileDataset]) -> list[FileDataset]:
    for image in images:
        image.GantryDetectorTilt = TILT_DEGREES
    return images


def _coronal(scan: Scan) -> list[FileDataset]:
    images = chest_images(scan, coronal(), part="coronal")
    for image in images:
        image.ImageType = REFORMATTED_TYPE
    return images


def _again(scan: Scan, image: FileDataset) -> FileDataset:
    """Copy a slice as an instance of its own."""
    second = deepcopy(image)
    name_instance(second, scan.uid("again"))
    second.InstanceNumber = SLICES + 1
    return second
