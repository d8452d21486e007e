"""Index an archive: read headers only, of what is new or changed, and group the images into stacks."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungpipe.dicom.archive import Folder, walk
from lungpipe.dicom.memory import Memory, pack_headers, remember, unpack_headers
from lungpipe.dicom.series import Header, Series, SeriesTable
from lungpipe.dicom.source import VOLUME_SUFFIXES, Source, UnavailableError, open_each
from lungpipe.dicom.stack import assemble
from lungpipe.dicom.twins import settle
from lungpipe.errors import DatasetError, Exclusion
from lungpipe.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lungpipe.dicom.archive import Mark

#: Files whose headers are read in one go.
FILES_A_BATCH = 250
#: A batch that failed is cut into so many, down to single files.
CUTS = 16

#: One file's reading: folder, name, kind ("image", "volume", "other", "error", "again"), found, its (patient, series) keys.
Reading = tuple[str, str, str, str, list[tuple[str, str]]]


def one_after_another(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Apply ``function`` here and now."""
    yield from enumerate(map(function, items))


def index_series(root: Path) -> SeriesTable:
    """Index every DICOM, NIfTI, NRRD and MetaImage file below a folder or in a zip archive, in this process.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no image.
    """
    with remember(None) as memory:
        return index_archive(root, memory, one_after_another)


def index_archive(
    root: Path, memory: Memory, mapper: Any, on_files: Callable[[int, int], None] | None = None
) -> SeriesTable:
    """Bring the memory of an archive up to date and return its series.

    Parameters
    ----------
    root : Path
        Folder of any tree shape, or a zip archive.
    memory : Memory
        Of this archive.
    mapper : callable
        ``mapper(function, items)`` yields ``(position, result)`` in any order; in place of a result an
        :class:`~lungpipe.errors.Exclusion` says why there is none.
    on_files : callable, optional
        Called with the numbers of files read since the last call, and of all that are to be read.

    Returns
    -------
    SeriesTable
        Series without their headers; see :func:`headers_of`.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no image, or two volume files share a name.
    """
    known = memory.folders()
    changed: list[tuple[Folder, bytes]] = []
    exclusions: list[Exclusion] = []
    seen = set()
    for folder in walk(root):
        seen.add(folder.path)
        exclusions += folder.exclusions
        digest = _digest(folder.files)
        if known.get(folder.path) != digest:
            changed.append((folder, digest))
    for path in known.keys() - seen:
        memory.forget_folder(path)
    again: dict[str, set[str]] = defaultdict(set)
    for readings in _read(_to_read(memory, [folder for folder, _ in changed]), mapper, on_files):
        memory.add_files(r for r in readings if r[2] != "again")
        for folder_path, name, _, found, _ in (r for r in readings if r[2] == "again"):
            again[folder_path].add(name)
            exclusions.append(_exclusion(found))
        memory.save()
    for folder, digest in changed:
        missed = again[folder.path]
        known_marks = [mark for mark in folder.files if mark[0] not in missed]
        memory.set_folder(folder, b"" if missed else digest, known_marks)
    _assemble(memory, mapper)
    memory.save()
    n_files = memory.count_files() + len(exclusions)
    exclusions += map(_exclusion, memory.errors())
    series = [stack for stack, _ in memory.stacks()]
    if not series:
        raise DatasetError(
            f"no DICOM, NIfTI or NRRD image found below {root} ({len(exclusions)} files could not be read); "
            "set it to the folder (or zip archive) of the scans"
        )
    _refuse_shared_names(series, root)
    return SeriesTable(tuple(series), tuple(exclusions), tuple(memory.others().items()), n_files)


def headers_of(memory: Memory, series: Series) -> Series:
    """The same stack with its headers."""
    wanted = {file: i for i, file in enumerate(series.files)}
    found: dict[int, Header] = {}
    for kind, text in memory.found(series.patient_id, series.series_uid):
        if kind == "image":
            for header in _unpack(text):
                if header.source in wanted:
                    found[wanted[header.source]] = header
    return replace(series, headers=tuple(found[i] for i in range(len(found))))


def _digest(files: list[Mark]) -> bytes:
    return hashlib.blake2b(repr(files).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _exclusion(found: str) -> Exclusion:
    code, message, path = json.loads(found)
    return Exclusion("index", code, message, file=path)


def _to_read(memory: Memory, changed: list[Folder]) -> list[tuple[str, Source]]:
    """Files that are new or not as they were; what was known of them is forgotten."""
    sources = []
    for folder in changed:
        before = memory.marks(folder.path)
        now = {mark[0]: mark for mark in folder.files}
        memory.forget_files(folder.path, [n for n, mark in before.items() if now.get(n) != mark])
        sources += [(folder.path, folder.source(n)) for n, mark in now.items() if before.get(n) != mark]
    return sources


def _read(
    sources: list[tuple[str, Source]], mapper: Any, on_files: Callable[[int, int], None] | None
) -> Iterator[list[Reading]]:
    """Read headers batch by batch; a batch that fails is cut up until the file is found that does it."""
    batches = [sources[i : i + FILES_A_BATCH] for i in range(0, len(sources), FILES_A_BATCH)]
    while batches:
        again = []
        for position, outcome in mapper(read_headers, batches):
            batch = batches[position]
            if isinstance(outcome, Exclusion) and len(batch) > 1:
                size = -(-len(batch) // CUTS)
                again += [batch[i : i + size] for i in range(0, len(batch), size)]
                continue
            if on_files is not None:
                on_files(len(batch), len(sources))
            if isinstance(outcome, Exclusion):
                folder, source = batch[0]
                yield [_failed(folder, source, "again", outcome.code, outcome.message)]
            else:
                yield outcome
        batches = again


def read_headers(batch: Sequence[tuple[str, Source]]) -> list[Reading]:
    """Read the headers of some files.

    Parameters
    ----------
    batch : sequence of (str, Source)
        Folder (or zip archive) and file.

    Returns
    -------
    list of (folder, name, kind, found, series)
        Rows for :meth:`lungpipe.dicom.memory.Memory.add_files`; kind ``"again"`` marks a file that could not be had this
        time (it is gone, or permission or the network fails), which says nothing about the file.
    """
    readings = []
    sources = [source for _, source in batch]
    for (folder, source), (read, error) in zip(batch, open_each(sources), strict=True):
        try:
            readings.append(_read_one(folder, source, read, error))
        except UnavailableError as failure:
            code, message = "unreadable_file", f"a file could not be read ({failure}); give permission and index again"
            if isinstance(failure.__cause__, FileNotFoundError):
                code, message = "file_gone", "a file went away while the archive was read; restore it and index again"
            readings.append(_failed(folder, source, "again", code, message))
        except ImportError:  # the installation is broken, and says nothing about the file
            raise
        except Exception as failure:  # noqa: BLE001  hostile headers may raise anything; its words may name a patient
            message = (
                f"a file's header could not be read ({type(failure).__name__}); "
                "copy the file again from its source or remove it"
            )
            readings.append(_failed(folder, source, "error", "unreadable_header", message))
    return readings


def _failed(folder: str, source: Source, kind: str, code: str, message: str) -> Reading:
    where = f"{source.path}/{source.entry}" if source.entry else source.path
    return _reading(folder, source, kind, json.dumps([code, message, where]))


def _read_one(folder: str, source: Source, read: Callable[[int], bytes], error: Exception | None) -> Reading:
    if error is not None:
        raise error
    if not source.entry and source.path.lower().endswith(VOLUME_SUFFIXES):
        stem = volume_stem(source.path)
        return _reading(folder, source, "volume", _volume_grid(source.path), [(stem, stem)])
    from lungpipe.dicom.header import parse_header

    found = parse_header(source, read)
    if not isinstance(found, list):
        return _reading(folder, source, "other", found or "not DICOM")
    if not found:
        raise ValueError("a multi-frame image without frames")
    text = json.dumps([source.path, source.entry, pack_headers(found)])
    return _reading(folder, source, "image", text, sorted({(h.patient_id, h.series_uid) for h in found}))


def _reading(
    folder: str, source: Source, kind: str, found: str, series: list[tuple[str, str]] | None = None
) -> Reading:
    return folder, source.entry or Path(source.path).name, kind, found, series or []


def _unpack(text: str) -> list[Header]:
    path, entry, headers = json.loads(text)
    return unpack_headers(headers, Source(path, entry))


def _assemble(memory: Memory, mapper: Any) -> None:
    """Make the stacks of every series that gained, lost or changed a file, in this run or in one that was cut off."""
    doubtful: list[Series] = []
    for patient, series_uid in memory.unsettled():
        stacks: list[Series] = []
        headers: list[Header] = []
        for kind, text in memory.found(patient, series_uid):
            if kind == "image":
                headers += [h for h in _unpack(text) if (h.patient_id, h.series_uid) == (patient, series_uid)]
            else:
                stacks.append(replace(_volume_series(series_uid, text), stack=len(stacks) + 1))
        if headers:
            memory.add_terms({term for h in headers for term in h.identity})
            stacks += assemble(headers)
        memory.set_stacks(patient, series_uid, stacks)
        twins = [replace(stack, headers=()) for stack in stacks if stack.twins]
        doubtful += twins
        if not twins:
            memory.settle(patient, series_uid)
    failed = set()
    for position, outcome in mapper(settle, [stack.twins for stack in doubtful]):
        stack = doubtful[position]
        if isinstance(outcome, Exclusion):
            failed.add(stack.key[:2])
        codes = ("conflicting_slice",) if isinstance(outcome, Exclusion) else outcome
        memory.set_stack(replace(stack, codes=tuple(sorted({*stack.codes, *codes}))))
    for patient, series_uid in {stack.key[:2] for stack in doubtful} - failed:
        memory.settle(patient, series_uid)


def _volume_series(stem: str, text: str) -> Series:
    path, shape, spacing_mm, origin_mm, direction = json.loads(text)
    geometry = Geometry(tuple(shape), tuple(spacing_mm), tuple(origin_mm), tuple(direction))
    return Series(stem, stem, stem, "CT", (Source(path),), (stem,), geometry=geometry)


def _volume_grid(path: str) -> str:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        raise ValueError("a volume file must hold one 3-D image")
    direction = reader.GetDirection()
    grid = Geometry(reader.GetSize()[::-1], reader.GetSpacing()[::-1], reader.GetOrigin(), direction)
    return json.dumps([path, grid.shape, grid.spacing_mm, grid.origin_mm, grid.direction])


def _refuse_shared_names(series: list[Series], root: Path) -> None:
    if any(s.is_volume_file and s.stack > 1 for s in series):
        raise DatasetError(f"two volume files below {root} share a name; names identify series, so make them unique")


def volume_stem(path: str) -> str:
    """Name of a volume file without its suffix (``scan.nii.gz`` -> ``scan``): it identifies the series."""
    name = Path(path).name
    for suffix in sorted(VOLUME_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
