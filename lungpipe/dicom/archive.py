"""Walk an archive: its files and the entries of its zip archives, whatever the tree; nothing is opened but zips."""

from __future__ import annotations

import os
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.dicom.source import Source
from lungpipe.errors import DatasetError, Exclusion

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Entries of one zip may expand to this many bytes together, or to :data:`ZIP_RATIO` times the archive's size.
ZIP_FREE_BYTES = 64 * 1024 * 1024
ZIP_RATIO = 100
#: Names that are never images, passed over without a look at the file.
PASSED_OVER = (
    ".txt",
    ".csv",
    ".xml",
    ".json",
    ".pdf",
    ".jpg",
    ".jpeg",
    ".png",
    ".html",
    ".md",
    ".log",
    ".py",
    ".sqlite",
)

#: Name, size and time (ns; the checksum for a zip's entry) of one file: when it is as before, so is the file.
Mark = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder, or one zip archive, of the tree.

    Parameters
    ----------
    path : str
        The folder or archive.
    files : list of (str, int, int)
        Name in the folder (or archive), size, and modification time in ns (or checksum).
    is_zip : bool
    exclusions : list of Exclusion
        What could not be listed; the file it is about is named in ``Exclusion.file``.
    """

    path: str
    files: list[Mark]
    is_zip: bool = False
    exclusions: list[Exclusion] = field(default_factory=list)

    def source(self, name: str) -> Source:
        """Where a file of this folder is."""
        return Source(self.path, name) if self.is_zip else Source(f"{self.path}{os.sep}{name}")


def walk(root: Path) -> Iterator[Folder]:
    """Yield every folder and zip archive below ``root``, each with its files sorted by name.

    Links are followed, but no folder is entered twice. Devices, pipes and sockets are passed over.

    Raises
    ------
    DatasetError
        If ``root`` is not a folder or zip archive.
    """
    if root.is_file() and zipfile.is_zipfile(root):
        status = root.stat()
        yield _zip_folder(str(root), (status.st_size, status.st_mtime_ns))
        return
    if not root.is_dir():
        raise DatasetError(
            f"the image folder {root} does not exist; set it to the folder (or zip archive) of the scans"
        )
    seen: set[tuple[int, int]] = set()
    waiting = [str(root)]
    while waiting:
        path = waiting.pop()
        folder = Folder(path, [])
        below = _list(path, folder, seen)
        folder.files.sort()
        zips = [mark for mark in folder.files if mark[0].lower().endswith(".zip")]
        if zips:
            folder.files[:] = [mark for mark in folder.files if mark not in zips]
        yield folder
        for name, size, time_ns in zips:
            yield _zip_folder(f"{path}{os.sep}{name}", (size, time_ns))
        waiting += sorted(below, reverse=True)


def _list(path: str, folder: Folder, seen: set[tuple[int, int]]) -> list[str]:
    """Fill a folder's files; return the folders in it."""
    below: list[str] = []
    try:
        here = Path(path).stat()
        if (here.st_dev, here.st_ino) in seen:
            folder.exclusions.append(
                _excluded(
                    "symlink_loop", "a link leads to a folder that is in the archive already; it is read once", path
                )
            )
            return below
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        below.append(entry.path)
                        continue
                    status = entry.stat()
                except OSError:
                    folder.exclusions.append(
                        _excluded("file_gone", "a link leads nowhere, or the file went away; restore it", entry.path)
                    )
                    continue
                if stat.S_ISREG(status.st_mode) and not entry.name.lower().endswith(PASSED_OVER):
                    folder.files.append((entry.name, status.st_size, status.st_mtime_ns))
    except OSError as error:
        message = f"a folder could not be listed ({type(error).__name__}); give read permission and index again"
        folder.exclusions.append(_excluded("unreadable_folder", message, path))
    return below


def _zip_folder(path: str, mark: tuple[int, int]) -> Folder:
    """List a zip archive from its directory, if it is safe to read; nothing is extracted."""
    folder = Folder(path, [], is_zip=True)

    def refuse(code: str, message: str) -> Folder:
        folder.exclusions.append(_excluded(code, message, path))
        folder.files.clear()
        return folder

    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return refuse("unreadable_zip", f"a zip archive could not be opened ({type(error).__name__}); copy it again")
    if any(_leaves(entry.filename) for entry in entries):
        return refuse(
            "zip_unsafe_name", "a zip archive names entries outside its own folder; it is not read: repack it"
        )
    expanded = sum(entry.file_size for entry in entries)
    if expanded > max(ZIP_FREE_BYTES, ZIP_RATIO * mark[0]):
        message = (
            f"a zip archive of {mark[0]} bytes announces {expanded}, over {ZIP_RATIO} times as much; it is not read"
        )
        return refuse("zip_bomb", message)
    if any(entry.flag_bits & 0x1 for entry in entries):
        return refuse("zip_encrypted", "a zip archive is encrypted; unpack it with its password and index again")
    if any(entry.filename.lower().endswith(".zip") for entry in entries):
        message = "a zip archive holds another one, which is not read; unpack the outer one and index again"
        folder.exclusions.append(_excluded("zip_nested", message, path))
    folder.files.extend(
        (entry.filename, entry.file_size, entry.CRC)
        for entry in entries
        if not entry.filename.lower().endswith((*PASSED_OVER, ".zip"))
    )
    folder.files.sort()
    return folder


def _leaves(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]


def _excluded(code: str, message: str, path: str) -> Exclusion:
    return Exclusion("index", code, message, file=path)
