"""A de-identified copy of a cohort's series, and an account of what was changed in it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom

from lungpipe.dicom import deidentify as profile
from lungpipe.dicom.deidentify import Change, ExportError
from lungpipe.dicom.leftover import identity_of, leftovers
from lungpipe.dicom.source import read_each
from lungpipe.errors import DatasetError, Exclusion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lungpipe.dicom.pseudonymise import Pseudonymiser
    from lungpipe.dicom.series import Series
    from lungpipe.dicom.source import Source

ACCOUNT = "account.json"
#: Folders of patients and studies without an id, which have no pseudonym either.
NO_PATIENT, NO_STUDY = "P-UNKNOWN", "T-UNKNOWN"
_WRITE_EVERY_S = 30.0


def export_cohort(
    series: Iterable[Series], out: Path, pseudonym: Pseudonymiser, advance: Callable[[], object] = lambda: None
) -> tuple[dict[str, Any], list[Exclusion]]:
    """Copy series without identity to ``OUT/<patient>/<study>/<series>/0001.dcm`` and account for it.

    A series that an earlier run copied whole, from the same images and by the same rules, is skipped.

    Parameters
    ----------
    series : iterable of Series
        The accepted ones.
    out : Path
        Folder of the copy; made if missing.
    pseudonym : Pseudonymiser
    advance : callable, optional
        Called after each series.

    Returns
    -------
    account : dict
        What ``OUT/account.json`` holds: the profile, the library, the key's fingerprint, and for each series its
        pseudonyms, its new UID, and how often each attribute was removed, emptied, replaced, remapped or kept.
    exclusions : list of Exclusion
        Series that were not copied, under their pseudonyms.

    Raises
    ------
    DatasetError
        If the folder holds a copy under another key, or an account that is none.
    OSError
        If nothing can be written.
    """
    head = {
        "profile": f"DICOM PS3.15 {profile.EDITION}, table E.1-1, Basic Application Level Confidentiality Profile",
        "library": profile.METHOD[1],
        "key_fingerprint": pseudonym.fingerprint,
    }
    done = _earlier(out, head)
    out.mkdir(parents=True, exist_ok=True)
    exclusions = []
    written = time.monotonic()
    try:
        for one in series:
            place = _place(one, pseudonym)
            earlier = done.pop(place, None)
            try:
                if earlier is not None and _is_complete(out / place, earlier, one, pseudonym):
                    done[place] = earlier
                else:
                    done[place] = export_series(one, out, pseudonym)
            except ExportError as error:
                patient, series_name = place.split("/")[0], pseudonym("series", one.series_uid)
                exclusions.append(Exclusion.of(error, patient_id=patient, series_uid=series_name))
            if time.monotonic() - written > _WRITE_EVERY_S:
                _write_account(out, head, done)
                written = time.monotonic()
            advance()
    finally:
        account = _write_account(out, head, done)
    return account, exclusions


def export_series(series: Series, out: Path, pseudonym: Pseudonymiser) -> dict[str, Any]:
    """Copy one series without identity; its folder appears whole or not at all.

    Parameters
    ----------
    series : Series
    out : Path
    pseudonym : Pseudonymiser

    Returns
    -------
    dict
        The series' part of the account.

    Raises
    ------
    ExportError
        If a file cannot be read or de-identified, or its copy still holds something of its identity.
    OSError
        If nothing can be written.
    """
    if series.is_volume_file:
        raise ExportError("not_dicom", "the series is a volume file; only DICOM series are exported")
    folder = out / _place(series, pseudonym)
    part = folder.with_name(f".{folder.name}.part")
    for old in (part, folder):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        changes, files = _copy_files(series, part, pseudonym)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _remove_empty(folder.parent, out)
    return {
        "patient": folder.parent.parent.name,
        "study": folder.parent.name,
        "series": folder.name,
        "series_uid": pseudonym.uid(series.series_uid),
        "files": files,
        "instances": _instances(series, pseudonym),
        "attributes": [
            {"path": c.path, "tag": c.tag, "keyword": c.keyword, "action": c.action, "count": n}
            for c, n in sorted(changes.items())
        ],
    }


def _copy_files(series: Series, part: Path, pseudonym: Pseudonymiser) -> tuple[Counter[Change], int]:
    changes: Counter[Change] = Counter()
    number = 0
    for content in _contents(_files(series)):
        number += 1
        with _refusing(
            "not_deidentified", f"file {number} could not be de-identified; repair it or leave out the series"
        ):
            copy, identity, done = _copy(content, series, pseudonym)
        changes.update(done)
        path = part / f"{number:04d}.dcm"
        path.write_bytes(copy)
        with _refusing("unreadable_copy", f"the copy of file {number} cannot be read again"):
            left = leftovers(identity, path.read_bytes())
        if left:
            path.unlink()
            raise ExportError(
                "identity_left",
                f"the copy of file {number} still held its source's {' and '.join(left)}, where the profile changes nothing, "
                "and was deleted; look at the source's manufacturer, codes and pixels",
            )
    return changes, number


@contextmanager
def _refusing(code: str, message: str) -> Iterator[None]:
    """Turn any error into an exclusion without its text and cause: pydicom's messages quote values."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # noqa: BLE001  a damaged file may raise anything, and the other series go on
        raise ExportError(code, f"{message} ({type(error).__name__})") from None


def _copy(content: bytes, series: Series, pseudonym: Pseudonymiser) -> tuple[bytes, Any, Counter[Change]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        if str(dataset.get("SeriesInstanceUID", "")).strip() != series.series_uid:
            raise ExportError("file_changed", "a file belongs to another series than when it was indexed; index again")
        _check_pixels(dataset)
        identity = identity_of(dataset)
        changes = profile.deidentify(dataset, pseudonym, pseudonym("patient", series.patient_id))
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue(), identity, changes


def _check_pixels(dataset: pydicom.Dataset) -> None:
    """Refuse a truncated file: pydicom takes what is there for the whole."""
    stored = len(dataset.get("PixelData") or b"")
    needed = 1
    if not pydicom.uid.UID(
        dataset.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
    ).is_compressed:
        # Each through int: a damaged value of many numbers times another would fill the memory.
        bits = math.prod(int(dataset[name].value) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))
        needed = bits * int(dataset.get("NumberOfFrames") or 1) // 8
    if stored < needed:
        raise ExportError(
            "truncated_pixels", f"a file holds {stored} of {needed} bytes of pixels; copy it again from its source"
        )


def _contents(files: Sequence[Source]) -> Iterator[bytes]:
    with _refusing("unreadable_file", "a file could not be read; copy it again from its source"):
        yield from read_each(files)


def _files(series: Series) -> list[Source]:
    """Each file once, in slice order, also one of many frames."""
    return list(dict.fromkeys(source.file for source in series.files))


def _place(series: Series, pseudonym: Pseudonymiser) -> str:
    patient = pseudonym("patient", series.patient_id) or NO_PATIENT
    study = pseudonym("study", series.study_uid) or NO_STUDY
    name = pseudonym("series", series.series_uid) + (f"-{series.stack}" if series.stack > 1 else "")
    return f"{patient}/{study}/{name}"


def _instances(series: Series, pseudonym: Pseudonymiser) -> str:
    """Hash of the copy's SOP instance UIDs in order: tells whether a copy was made from the same images."""
    uids = dict.fromkeys(uid.partition("#")[0] for uid in series.sop_uids)
    return hashlib.sha256("\n".join(map(pseudonym.uid, uids)).encode()).hexdigest()


def _is_complete(folder: Path, earlier: dict[str, Any], series: Series, pseudonym: Pseudonymiser) -> bool:
    same = bool(earlier["instances"] == _instances(series, pseudonym))
    return same and len(list(folder.glob("*.dcm"))) == earlier["files"] == len(_files(series))


def _earlier(out: Path, head: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Series of an earlier run's account by place; none if it followed other rules."""
    path = out / ACCOUNT
    if not path.is_file():
        return {}
    try:
        account = json.loads(path.read_bytes())
        same_key = account["key_fingerprint"] == head["key_fingerprint"]
        done = {f"{s['patient']}/{s['study']}/{s['series']}": s for s in account["series"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no account of an export; choose an empty folder or remove the file") from error
    if not same_key:
        raise DatasetError(
            f"{out} holds a copy under another key, which would give a patient two names; choose another folder"
        )
    return done if all(account.get(key) == value for key, value in head.items()) else {}


def _write_account(out: Path, head: dict[str, str], done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    account = {**head, "series": [done[place] for place in sorted(done)]}
    temporary = out / f".{ACCOUNT}.{os.getpid()}"
    temporary.write_text(json.dumps(account, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out / ACCOUNT)
    return account


def _remove_empty(folder: Path, above: Path) -> None:
    while folder != above and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
