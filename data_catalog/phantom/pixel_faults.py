"""Series whose pixels cannot be taken as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_catalog.phantom.chest import LOWEST_HU, SIZE, SLICES, axial, noisy_hu
from data_catalog.phantom.encodings import encapsulate_as
from data_catalog.phantom.layouts import STAND_IN
from data_catalog.phantom.scans import chest_images, rescale, store, store_hu

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from data_catalog.phantom.scans import Scan

#: What scanners store outside the round field of view: HU, and the value that it is stored as.
PADDING_HU, STORED_PADDING = -3024, -2000


def signed(scan: Scan) -> list[FileDataset]:
    """Store HU as they are, signed."""
    hu = noisy_hu(axial(), scan.rng("image"))
    images = chest_images(scan, hu=hu)
    for image, values in zip(images, hu, strict=True):
        store(image, values.astype("<i2"), 16)
        rescale(image, 1, 0)
    return images


def missing_rescale(scan: Scan) -> list[FileDataset]:
    """Store HU as they are, and do not say so."""
    images = signed(scan)
    for image in images:
        del image.RescaleIntercept, image.RescaleSlope, image.RescaleType
    return images


def varying_rescale(scan: Scan) -> list[FileDataset]:
    """Scale each slice in its own way."""
    hu = noisy_hu(axial(), scan.rng("image"))
    images = chest_images(scan, hu=hu)
    for index, (image, values) in enumerate(zip(images, hu, strict=True)):
        slope = round(0.5 + 0.01 * index, 2)
        store(image, np.rint((values - float(LOWEST_HU)) / slope).astype("<u2"), 16)
        rescale(image, slope, LOWEST_HU)
    return images


def wrong_photometric(scan: Scan) -> list[FileDataset]:
    """Say that low values are white."""
    images = chest_images(scan)
    for image in images:
        image.PhotometricInterpretation = "MONOCHROME1"
    return images


def wrong_bits(scan: Scan) -> list[FileDataset]:
    """Store eight bits, each step 8 HU."""
    hu = noisy_hu(axial(), scan.rng("image"))
    images = chest_images(scan, hu=hu)
    for image, values in zip(images, hu, strict=True):
        store(image, np.clip(np.rint((values - float(LOWEST_HU)) / 8), 0, 255).astype(np.uint8), 8)
        rescale(image, 8, LOWEST_HU)
    return images


def undeclared_padding(scan: Scan) -> list[FileDataset]:
    """Pad outside the round field of view without saying so."""
    hu = noisy_hu(axial(), scan.rng("image"))
    row, column = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    hu[:, np.hypot(row, column) > SIZE / 2] = PADDING_HU
    images = chest_images(scan, hu=hu)
    for image, values in zip(images, hu, strict=True):
        store(image, (values - np.int16(LOWEST_HU)).astype("<i2"), 16)
    return images


def declared_padding(scan: Scan) -> list[FileDataset]:
    """Pad outside the round field of view and say with what."""
    images = undeclared_padding(scan)
    for image in images:
        image.add_new("PixelPaddingValue", "SS", STORED_PADDING)
    return images


def compressed_once(scan: Scan) -> list[FileDataset]:
    """Say that the pixels were compressed with loss before they were stored uncompressed."""
    images = chest_images(scan)
    for image in images:
        image.LossyImageCompression, image.LossyImageCompressionRatio = "01", "12"
        image.LossyImageCompressionMethod = "ISO_10918_1"
    return images


def missing_decoder(scan: Scan) -> list[FileDataset]:
    """Make noise that begins as JPEG XL does; :func:`save_jpeg_xl` announces it as such."""
    images = chest_images(scan)
    for index, image in enumerate(images):
        encapsulate_as(image, b"\xff\x0a" + scan.rng(f"code {index}").bytes(510), STAND_IN)
    return images


def no_lung(scan: Scan) -> list[FileDataset]:
    """Scan a belly."""
    return chest_images(scan, hu=noisy_hu(axial(), scan.rng("image"), lungs=False))


def lung_not_covered(scan: Scan) -> list[FileDataset]:
    """Begin the scan in the middle of the lung."""
    return chest_images(scan)[SLICES // 2 :]


def cut_field_of_view(scan: Scan) -> list[FileDataset]:
    """End the rows of pixels inside the left lung."""
    hu = noisy_hu(axial(), scan.rng("image"))
    images = chest_images(scan, hu=hu)
    for image, values in zip(images, hu, strict=True):
        store_hu(image, values[:, :92])
    return images
