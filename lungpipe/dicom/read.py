"""Read a series, or a volume file, into HU on a patient-space grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import SimpleITK as sitk

from lungpipe.errors import DatasetError, DicomError
from lungpipe.geometry import Geometry
from lungpipe.volume import PADDING_HU, CTVolume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Stage version: part of the name of every artefact made from what is read here.
VERSION = "1"


def read_volume(files: Sequence[str], geometry: Geometry) -> CTVolume:
    """Read one volume as int16 HU; values below -1024 (scanner padding) become -1024.

    Parameters
    ----------
    files : sequence of str
        DICOM slices in the order of the z index, or one NIfTI/NRRD/MetaImage file.
    geometry : Geometry
        The grid that the index found.

    Raises
    ------
    DicomError
        If a file cannot be read or decoded, or its pixels do not fit the grid.
    """
    if len(files) == 1:
        hu = _read_volume_file(files[0])
    else:
        hu = np.empty(geometry.shape, dtype=np.int16)
        for k, path in enumerate(files):
            hu[k] = _read_slice(path, k, geometry.shape[1:])
    if hu.shape != geometry.shape:
        raise DicomError("size_changed", f"the header announces {geometry.shape} voxels, the pixels have {hu.shape}")
    np.maximum(hu, np.int16(PADDING_HU), out=hu)
    return CTVolume(hu, geometry)


def _read_slice(path: str, k: int, shape: tuple[int, int]) -> NDArray[np.int16]:
    try:
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
    except Exception as error:
        raise DicomError(
            "unreadable_pixels",
            f"slice {k + 1} could not be decoded ({type(error).__name__}); the file is damaged or truncated: "
            "copy it again from its source",
        ) from error
    if stored.shape != shape:
        raise DicomError("unreadable_pixels", f"slice {k + 1} holds {stored.shape} pixels, expected {shape}")
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    if slope == 1.0 and intercept.is_integer():
        return np.clip(stored.astype(np.int32) + int(intercept), -32768, 32767).astype(np.int16)
    return _to_int16(stored * slope + intercept)


def _read_volume_file(path: str) -> NDArray[np.int16]:
    try:
        image = sitk.ReadImage(path)
    except RuntimeError as error:
        raise DicomError(
            "unreadable_pixels", "the volume file could not be decoded; it is damaged or truncated"
        ) from error
    # Slice by slice: whole, the arithmetic in floating point takes several times the memory of the scan.
    stored = sitk.GetArrayViewFromImage(image)
    hu = np.empty(stored.shape, dtype=np.int16)
    for k, values in enumerate(stored):
        hu[k] = _to_int16(values)
    return hu


def _to_int16(hu: NDArray[np.generic]) -> NDArray[np.int16]:
    values = np.nan_to_num(np.asarray(hu, dtype=np.float64), nan=PADDING_HU)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def read_image(path: Path) -> tuple[NDArray[np.generic], Geometry]:
    """Read a NIfTI, NRRD or MetaImage file, or a folder with one DICOM series, with its own data type.

    Returns
    -------
    voxels : ndarray, shape (z, y, x)
    geometry : Geometry
        In LPS.

    Raises
    ------
    DatasetError
        If the path is missing or is not one 3-D image.
    """
    from lungpipe.dicom.index import index_series

    if path.is_dir():
        series = [s for s in index_series(path).series if s.geometry is not None]
        if len(series) != 1 or series[0].geometry is None:
            raise DatasetError(f"{path} holds {len(series)} series; expected exactly one: name its own folder")
        volume = read_volume(series[0].files, series[0].geometry)
        return volume.hu, volume.frame
    if not path.is_file():
        raise DatasetError(f"no image at {path}")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise DatasetError(
            f"{path} is not an image that can be read (expected NIfTI, NRRD, MetaImage or DICOM)"
        ) from error
    if image.GetDimension() != 3:
        raise DatasetError(f"{path} has {image.GetDimension()} dimensions; expected a 3-D image")
    return sitk.GetArrayFromImage(image), geometry_of(image)


def geometry_of(image: sitk.Image) -> Geometry:
    """Grid of a SimpleITK image (whose convention is x first, LPS)."""
    x, y, z = image.GetSize()
    dx, dy, dz = image.GetSpacing()
    ox, oy, oz = image.GetOrigin()
    return Geometry((z, y, x), (dz, dy, dx), (ox, oy, oz), tuple(image.GetDirection()))


def to_sitk(voxels: NDArray[np.generic], geometry: Geometry) -> sitk.Image:
    """Bind an array (z, y, x) to its grid as a SimpleITK image."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(tuple(float(s) for s in geometry.spacing_mm[::-1]))
    image.SetOrigin(tuple(float(v) for v in geometry.origin_mm))
    image.SetDirection(tuple(float(v) for v in geometry.direction))
    return image
