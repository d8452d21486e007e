"""Read a series, or a volume file, into HU on a patient-space grid."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import SimpleITK as sitk

from lungpipe.dicom.decode import decode
from lungpipe.dicom.image import open_image
from lungpipe.dicom.source import VOLUME_SUFFIXES, Source, read_each
from lungpipe.dicom.volume_file import is_whole, read_volume_file
from lungpipe.errors import DatasetError, DicomError
from lungpipe.geometry import Geometry
from lungpipe.volume import PADDING_HU, CTVolume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from lungpipe.dicom.image import Image

#: Voxels of the largest volume that is read: 2048 slices of 1024 x 1024.
MAX_VOXELS = 2**31
#: What reading a file, or an entry of a zip archive, may raise.
_UNREADABLE = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError, ValueError)


@dataclass(frozen=True, slots=True)
class Padding:
    """How many voxels were set to -1024 HU.

    Parameters
    ----------
    declared : int
        Those that the header declares as padding.
    undeclared : int
        Others below -1024 HU, and those that were no number.
    """

    declared: int = 0
    undeclared: int = 0

    def __add__(self, other: Padding) -> Padding:
        return Padding(self.declared + other.declared, self.undeclared + other.undeclared)


def read_volume(files: Sequence[Source | str | Path], geometry: Geometry) -> CTVolume:
    """Read one volume as int16 HU; see :func:`read_with_padding`."""
    return read_with_padding(files, geometry)[0]


def read_with_padding(files: Sequence[Source | str | Path], geometry: Geometry) -> tuple[CTVolume, Padding]:
    """Read one volume as int16 HU, padding set to -1024, and count the padding.

    Stored values become HU by each slice's (or frame's) own slope and intercept (DICOM PS3.3 C.11.1), rounded to the
    nearest integer.

    Parameters
    ----------
    files : sequence of Source, str or Path
        DICOM slices in the order of the z index, or one NIfTI/NRRD/MetaImage file.
    geometry : Geometry
        The grid that the index found.

    Raises
    ------
    DicomError
        ``unreadable_pixels`` if a file is gone, damaged or does not fit the grid, ``missing_decoder`` if nothing
        installed decodes it, ``missing_rescale``, ``wrong_photometric`` or ``wrong_bits`` if its values are not HU.
    """
    if np.prod(geometry.shape, dtype=np.float64) > MAX_VOXELS:
        raise DicomError("unreadable_pixels", f"a volume of {geometry.shape} voxels is no CT; its headers are wrong")
    sources = [file if isinstance(file, Source) else Source(str(file)) for file in files]
    if len(sources) == 1 and sources[0].path.lower().endswith(VOLUME_SUFFIXES):
        hu, padding = _read_volume_file(sources[0].path, geometry)
    elif len(sources) == geometry.shape[0]:
        hu, padding = _read_slices(sources, geometry)
    else:
        raise DicomError("unreadable_pixels", f"{len(sources)} files for {geometry.shape[0]} slices; index again")
    return CTVolume(hu, geometry), padding


def images_of(sources: Sequence[Source], size: tuple[int, int] | None = None) -> Iterator[tuple[Image, int]]:
    """Open the DICOM image of each source in turn, without decoding it; a multi-frame file is opened once in a row.

    Parameters
    ----------
    sources : sequence of Source
    size : tuple of int, optional
        Rows and columns that each image must have.

    Yields
    ------
    image : Image
    frame : int
        Which of its frames the source names.

    Raises
    ------
    DicomError
        If a file is gone, damaged or of another size; the message says which slice.
    """
    contents = read_each(sources)
    last: Source | None = None
    for k, source in enumerate(sources):
        try:
            content = next(contents)
            if source.file != last:
                image = open_image(content, size)
        except DicomError as error:
            raise _in_slice(k, error) from error
        except _UNREADABLE as error:
            raise _in_slice(k, _unreadable(error)) from error
        if source.frame < 0 and len(image.frames) != 1:
            message = f"the file holds {len(image.frames)} frames, expected one; it is no multi-frame CT"
            raise _in_slice(k, DicomError("unreadable_pixels", message))
        last = source.file
        yield image, max(source.frame, 0)


def _unreadable(error: Exception) -> DicomError:
    if isinstance(error, FileNotFoundError):
        return DicomError("unreadable_pixels", "a file is gone; restore it and index again")
    return DicomError("unreadable_pixels", f"a file could not be read ({type(error).__name__}); copy it again")


def _in_slice(k: int, error: DicomError) -> DicomError:
    return DicomError(error.code, f"slice {k + 1}: {error.message}")


def _read_slices(sources: Sequence[Source], geometry: Geometry) -> tuple[NDArray[np.int16], Padding]:
    hu: NDArray[np.int16] | None = None
    padding = Padding()
    for k, (image, frame) in enumerate(images_of(sources, geometry.shape[1:])):
        try:
            values, found = slice_hu(image, frame)
        except DicomError as error:
            raise _in_slice(k, error) from error
        if hu is None:  # not before one slice was decoded: what a hostile header announces costs nothing
            hu = np.empty(geometry.shape, dtype=np.int16)
        hu[k] = values
        padding += found
    if hu is None:
        raise DicomError("unreadable_pixels", "the series has no slices; index again")
    return hu, padding


def slice_hu(image: Image, frame: int) -> tuple[NDArray[np.int16], Padding]:
    """HU of one decoded frame, shape (rows, columns), padding set to -1024.

    Raises
    ------
    DicomError
        As :func:`read_with_padding`.
    """
    if image.samples != 1 or image.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DicomError("wrong_photometric", "expected one grey value a pixel (MONOCHROME2); colours are not HU")
    stored, declared = decode(image, frame)
    if (rescale := image.rescale[frame]) is None:
        raise DicomError("missing_rescale", "rescale slope or intercept is missing, zero or no number")
    slope, intercept = rescale
    if slope == 1.0 and intercept.is_integer() and abs(intercept) < 2**20 and stored.itemsize <= 2:
        values = np.clip(stored.astype(np.int32) + int(intercept), -32768, 32767).astype(np.int16)
    else:
        values = _to_int16(stored * slope + intercept)
    count = int(np.count_nonzero(declared))
    if count:
        values[declared] = PADDING_HU
    low = values < PADDING_HU
    values[low] = PADDING_HU
    return values, Padding(count, int(np.count_nonzero(low)))


def _read_volume_file(path: str, geometry: Geometry) -> tuple[NDArray[np.int16], Padding]:
    image = read_volume_file(path, geometry.shape)
    # Slice by slice: whole, the arithmetic in floating point takes several times the memory of the scan.
    stored = sitk.GetArrayViewFromImage(image)
    hu = np.empty(stored.shape, dtype=np.int16)
    undeclared = 0
    for k, values in enumerate(stored):
        rounded = _to_int16(values)
        undeclared += int(np.count_nonzero((rounded < PADDING_HU) | np.isnan(values)))
        np.maximum(rounded, np.int16(PADDING_HU), out=hu[k])
    return hu, Padding(undeclared=undeclared)


def _to_int16(hu: NDArray[Any]) -> NDArray[np.int16]:
    values = np.nan_to_num(np.asarray(hu, dtype=np.float64), nan=PADDING_HU)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def read_image(path: Path) -> tuple[NDArray[np.generic], Geometry]:
    """Read a NIfTI, NRRD or MetaImage file, or a folder or zip archive with one DICOM series.

    A volume file keeps its own data type; a DICOM series comes as HU.

    Returns
    -------
    voxels : ndarray, shape (z, y, x)
    geometry : Geometry
        In LPS.

    Raises
    ------
    DatasetError
        If the path is missing or is not one 3-D image of one value a voxel.
    """
    from lungpipe.dicom.index import index_series

    if path.is_dir() or path.suffix.lower() == ".zip":
        series = [s for s in index_series(path).series if s.geometry is not None]
        if len(series) != 1 or series[0].geometry is None:
            raise DatasetError(f"{path} holds {len(series)} series; expected exactly one: name its own folder")
        volume = read_volume(series[0].files, series[0].geometry)
        return volume.hu, volume.frame
    if not path.is_file():
        raise DatasetError(f"no image at {path}")
    try:
        whole = is_whole(str(path))
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise DatasetError(
            f"{path} is not an image that can be read (expected NIfTI, NRRD, MetaImage or DICOM)"
        ) from error
    if not whole:
        raise DatasetError(f"{path} is damaged or truncated; copy it again from its source")
    if image.GetDimension() != 3:
        raise DatasetError(f"{path} has {image.GetDimension()} dimensions; expected a 3-D image")
    if (n_values := image.GetNumberOfComponentsPerPixel()) != 1:
        raise DatasetError(f"{path} has {n_values} values a voxel (colours or vectors); expected one")
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
