"""How the files of a series lie in an archive: names, folders, zip archives, a DICOMDIR."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmwrite
from pydicom.uid import HTJ2K, UID

from data_catalog.phantom.dicomdir import write_dicomdir

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import FileDataset

    from data_catalog.phantom.scans import Scan

#: Zip archives hold the time of each entry; this is the earliest that they can write.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
#: JPEG XL lossless, for which no decoder is usual. pydicom refuses to write it, so a known syntax stands in.
JPEG_XL, STAND_IN = UID("1.2.840.10008.1.2.4.110"), HTJ2K


def save_plain(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save under numbered names, the last image first."""
    return _save(images, [folder / f"IM{len(images) - k:04d}.dcm" for k in range(len(images))])


def save_deep(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save in nested folders, upper case, without suffix and in no order."""
    order = scan.rng("names").permutation(len(images)).tolist()
    return _save(images, [folder / "DICOM" / "PA000001" / "ST000001" / f"SE00000{n % 2}" / f"I{n:06d}" for n in order])


def save_by_uid(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save under the SOP instance UID, whose last part looks like a suffix."""
    return _save(images, [folder / str(image.SOPInstanceUID) for image in images])


def save_by_patient(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save in a folder with the patient's name, names in no order, suffix in upper case."""
    person = scan.person
    folder = folder / f"{person.name.replace('^', ' ')} {person.birth_date}" / f"Serie {scan.number} Übersicht"
    order = scan.rng("names").permutation(len(images)).tolist()
    return _save(images, [folder / f"CT.{n + 1}.DCM" for n in order])


LAYOUTS = (save_plain, save_deep, save_by_uid, save_by_patient)


def save_truncated(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save, then cut the last third off the middle slice's file, so that its pixel data end early."""
    paths = save_plain(folder, images, scan)
    path = paths[len(paths) // 2]
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
    return paths


def save_jpeg_xl(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save, then announce JPEG XL in place of the stand-in's transfer syntax, whose UID is as long."""
    paths = save_plain(folder, images, scan)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(STAND_IN.encode(), JPEG_XL.encode(), 1))
    return paths


def save_zip(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save into one zip archive, with folders inside."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{scan.person.patient_id}.ZIP"
    order = scan.rng("names").permutation(len(images)).tolist()
    with zipfile.ZipFile(path, "w") as archive:
        for image, number in zip(images, order, strict=True):
            content = BytesIO()
            dcmwrite(content, image, enforce_file_format=True)
            archive.writestr(zip_entry(f"export/series {scan.number}/{number:05d}.dcm"), content.getvalue())
    return [path]


def zip_entry(name: str) -> zipfile.ZipInfo:
    """A deflated entry that is the same whenever it is written."""
    entry = zipfile.ZipInfo(name, ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def save_file_set(folder: Path, images: list[FileDataset], scan: Scan) -> list[Path]:
    """Save as a DICOM file-set, as on a patient's disc: coded names and a DICOMDIR (DICOM PS3.10 8)."""
    names = [["IMAGES", f"IM{k:06d}"] for k in range(len(images))]
    paths = _save(images, [folder.joinpath(*parts) for parts in names])
    write_dicomdir(folder / "DICOMDIR", images, names, scan)
    return paths


def _save(images: list[FileDataset], paths: list[Path]) -> list[Path]:
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    for image, path in zip(images, paths, strict=True):
        dcmwrite(path, image, enforce_file_format=True)
    return paths
