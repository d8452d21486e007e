"""Index an archive: read headers only and group the files into series."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, MediaStorageDirectoryStorage

from lungpipe.errors import DatasetError, Exclusion, GeometryError
from lungpipe.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
SIMULATED_IMAGE_TYPE = "SIMULATED"

#: Header attributes that are read: geometry, identity, and what the series table reports.
TAGS = [
    "SOPInstanceUID", "SOPClassUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SliceThickness",
    "RescaleSlope", "RescaleIntercept", "Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "KVP",
    "XRayTubeCurrent",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What the index keeps of one DICOM file; nothing here leaves ingestion unpseudonymised."""

    path: str
    sop_uid: str
    patient_id: str
    study_uid: str
    series_uid: str
    modality: str
    image_type: tuple[str, ...]
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    size: tuple[int, int]
    has_rescale: bool
    scanner: tuple[tuple[str, str | float | None], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its files in order along the slice normal, and its grid if it has one.

    Identifiers are the archive's own: they stay in memory and pass through
    :class:`lungpipe.dicom.pseudonymise.Pseudonymiser` before anything is written.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    modality: str
    files: tuple[str, ...]
    sop_uids: tuple[str, ...]
    headers: tuple[Header, ...] = ()
    geometry: Geometry | None = None
    scanner: dict[str, str | float | None] = field(default_factory=dict)
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """The result of indexing: series, and files that could not be indexed."""

    series: tuple[Series, ...]
    exclusions: tuple[Exclusion, ...] = ()

    def by_uid(self) -> dict[str, Series]:
        """Series by series instance UID (or file stem, for a volume file)."""
        return {s.series_uid: s for s in self.series}


def index_series(root: Path) -> SeriesTable:
    """Index every DICOM, NIfTI, NRRD and MetaImage file below a folder.

    Parameters
    ----------
    root : Path
        Folder of any tree shape.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no image.
    """
    return group_headers(*read_headers(list_files(root)), root=root)


def list_files(root: Path) -> list[str]:
    """Every regular file below ``root``, sorted, without following links to folders.

    Raises
    ------
    DatasetError
        If ``root`` is not a folder.
    """
    if not root.is_dir():
        raise DatasetError(f"the image folder {root} does not exist; set cohort.dicom to the folder of the scans")
    return sorted(str(Path(folder) / name) for folder, _, names in os.walk(root) for name in names)


def read_headers(paths: Iterable[str]) -> tuple[list[Header | Series], list[Exclusion]]:
    """Read the headers of the images among ``paths``; other files are passed over.

    Returns
    -------
    found : list of Header or Series
        A header a DICOM file, a complete series a volume file.
    exclusions : list of Exclusion
        Files that begin as images and cannot be read.
    """
    found: list[Header | Series] = []
    exclusions: list[Exclusion] = []
    for path in paths:
        try:
            item = _read_volume_header(path) if path.lower().endswith(VOLUME_SUFFIXES) else _read_dicom_header(path)
        except (OSError, ValueError, RuntimeError, InvalidDicomError, AttributeError, KeyError, GeometryError) as error:
            reason = type(error).__name__
            message = f"a file's header could not be read ({reason}); copy the file again from its source or remove it"
            exclusions.append(Exclusion("index", "unreadable_header", message))
            continue
        if item is not None:
            found.append(item)
    return found, exclusions


def group_headers(found: Sequence[Header | Series], exclusions: Sequence[Exclusion] = (), *, root: Path) -> SeriesTable:
    """Group headers into series, slices in order of position along the slice normal.

    Raises
    ------
    DatasetError
        If nothing was found, or two volume files share a name.
    """
    volumes = [item for item in found if isinstance(item, Series)]
    groups: dict[str, list[Header]] = defaultdict(list)
    for item in found:
        if isinstance(item, Header):
            groups[item.series_uid].append(item)
    series = volumes + [_assemble(headers) for headers in groups.values()]
    if not series:
        raise DatasetError(
            f"no DICOM, NIfTI or NRRD image found below {root} ({len(exclusions)} unreadable files); "
            "set cohort.dicom to the folder of the scans"
        )
    names = [s.series_uid for s in series]
    if len(set(names)) < len(names):
        raise DatasetError(f"two volume files below {root} share a name; names identify series, so make them unique")
    return SeriesTable(tuple(sorted(series, key=lambda s: (s.patient_id, s.series_uid))), tuple(exclusions))


def _read_dicom_header(path: str) -> Header | None:
    with Path(path).open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            return None
    tags: list[Any] = list(TAGS)
    with disable_value_validation():  # its warnings quote values, and values identify patients
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        return _header_of(path, dataset)


def _header_of(path: str, dataset: pydicom.FileDataset) -> Header | None:
    kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    if kind == MediaStorageDirectoryStorage:
        return None
    if not dataset.get("SeriesInstanceUID") or (kind == CTImageStorage and "Rows" not in dataset):
        raise ValueError("a DICOM file without the attributes that every one of its kind has")
    if "Rows" not in dataset:
        return None  # structured reports, structure sets: not an image

    def numbers(name: str) -> tuple[float, ...] | None:
        value = dataset.get(name)
        return None if value is None else tuple(float(v) for v in value)

    def number(name: str) -> float | None:
        value = dataset.get(name)
        return None if value in (None, "") else float(value)

    def text(name: str) -> str:
        value = dataset.get(name)
        if value is None:
            return ""
        return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "/".join(map(str, value))

    scanner: dict[str, str | float | None] = {
        "manufacturer": text("Manufacturer"),
        "model": text("ManufacturerModelName"),
        "kernel": text("ConvolutionKernel"),
        "kvp": number("KVP"),
        "tube_current_ma": number("XRayTubeCurrent"),
        "slice_thickness_mm": number("SliceThickness"),
    }
    return Header(
        path=path,
        sop_uid=text("SOPInstanceUID"),
        patient_id=text("PatientID"),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        modality=text("Modality"),
        image_type=tuple(str(v) for v in dataset.get("ImageType") or ()),
        position_mm=numbers("ImagePositionPatient"),
        orientation=numbers("ImageOrientationPatient"),
        pixel_spacing_mm=numbers("PixelSpacing"),
        size=(int(dataset.Rows), int(dataset.Columns)),
        has_rescale="RescaleSlope" in dataset and "RescaleIntercept" in dataset,
        scanner=tuple(scanner.items()),
    )


def _read_volume_header(path: str) -> Series | None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        raise ValueError("a volume file must hold one 3-D image")
    x, y, z = reader.GetSize()
    dx, dy, dz = reader.GetSpacing()
    ox, oy, oz = reader.GetOrigin()
    geometry = Geometry((z, y, x), (dz, dy, dx), (ox, oy, oz), tuple(reader.GetDirection()))
    stem = volume_stem(path)
    return Series(stem, stem, stem, "CT", (path,), (stem,), geometry=geometry)


def volume_stem(path: str) -> str:
    """Name of a volume file without its suffix (``scan.nii.gz`` -> ``scan``): it identifies the series."""
    name = Path(path).name
    for suffix in sorted(VOLUME_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _assemble(headers: list[Header]) -> Series:
    normal = _normal(headers[0])
    if normal is None or any(h.position_mm is None for h in headers):
        ordered = sorted(headers, key=lambda h: h.path)
    else:
        ordered = sorted(headers, key=lambda h: (float(np.dot(normal, h.position_mm or ())), h.sop_uid))
    first = ordered[0]
    return Series(
        patient_id=first.patient_id,
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        modality=first.modality,
        files=tuple(h.path for h in ordered),
        sop_uids=tuple(h.sop_uid for h in ordered),
        headers=tuple(ordered),
        geometry=_stack_geometry(ordered),
        scanner=dict(first.scanner),
        simulated=any(SIMULATED_IMAGE_TYPE in h.image_type for h in headers),
    )


def _normal(header: Header) -> np.ndarray[Any, Any] | None:
    if header.orientation is None or len(header.orientation) != 6:
        return None
    return np.cross(header.orientation[:3], header.orientation[3:])


def _stack_geometry(ordered: list[Header]) -> Geometry | None:
    """Grid of a stack of slices, DICOM PS3.3 C.7.6.2.1.1; None where the headers do not define one."""
    first, last = ordered[0], ordered[-1]
    normal = _normal(first)
    if normal is None or first.position_mm is None or last.position_mm is None or first.pixel_spacing_mm is None:
        return None
    if len(ordered) < 2:
        return None
    depth = [float(np.dot(normal, h.position_mm)) for h in ordered if h.position_mm is not None]
    spacing_z_mm = float(np.median(np.diff(depth)))
    row_dir, column_dir = np.asarray(first.orientation[:3]), np.asarray(first.orientation[3:])  # type: ignore[index]
    matrix = np.stack([row_dir, column_dir, normal], axis=1)
    spacing_y_mm, spacing_x_mm = first.pixel_spacing_mm
    ox, oy, oz = first.position_mm
    try:
        return Geometry(
            (len(ordered), *first.size),
            (spacing_z_mm, spacing_y_mm, spacing_x_mm),
            (ox, oy, oz),
            tuple(matrix.ravel().tolist()),
        )
    except GeometryError:
        return None
