"""Masks out of a workspace: DICOM SEG over the source series, and NIfTI."""

from __future__ import annotations

import io
import json
import uuid
import warnings
from typing import TYPE_CHECKING, Literal

import pydicom
import SimpleITK as sitk

from lungpipe.dicom.read import to_sitk
from lungpipe.dicom.source import read_each
from lungpipe.dicom.write_seg import write_seg
from lungpipe.errors import AnnotationError, CaseError, DatasetError, Exclusion
from lungpipe.store.contents import stored_mask
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pydicom.dataset import Dataset

    from lungpipe.dicom.series import Series
    from lungpipe.store.place import Place
    from lungpipe.volume import Mask

Format = Literal["seg", "nifti"]
SUFFIXES: Mapping[Format, str] = {"seg": ".dcm", "nifti": ".nii.gz"}
STAGE = "export"


def export_masks(
    place: Place,
    series: Mapping[str, Series],
    out: Path,
    formats: Sequence[Format] = ("nifti",),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, tuple[Exclusion, ...]]:
    """Write every mask of a workspace to ``out/<series>/<nodule>_<segmenter>`` as ``.dcm``, ``.nii.gz`` or both.

    A NIfTI mask holds no identifier but the pseudonyms in its path. **A SEG carries the identifiers of its source
    series** (patient, study, dates), as it must for a viewer to find it, and so ties them to the pseudonyms in its path:
    keep it where the archive is kept. It is not written into a workspace.

    Parameters
    ----------
    place : Place
        The workspace.
    series : mapping of str to Series
        Source series by pseudonym, for SEG.
    out : Path
    formats : sequence of str
        ``"seg"``, ``"nifti"`` or both.
    progress : callable, optional
        Called with the number of masks done and of all, after each mask.

    Returns
    -------
    written : int
        Number of files.
    exclusions : tuple of Exclusion
        One for each file that was not written, pseudonymous: ``no_source_series``, ``unreadable_source``,
        ``damaged_mask``, ``stale_mask`` or a code of :func:`lungpipe.dicom.write_seg.write_seg`.

    Raises
    ------
    DatasetError
        If a format is unknown, the folder is no workspace, or SEG is asked for without a source series or into the
        workspace.
    """
    unknown = set(formats) - set(SUFFIXES)
    if unknown or not formats:
        raise DatasetError(f"no mask format {', '.join(sorted(unknown)) or 'given'}; choose from {', '.join(SUFFIXES)}")
    if "seg" in formats and not series:
        raise DatasetError("DICOM SEG needs the source series: give the folder of their DICOM files, or choose nifti")
    if "seg" in formats and place.local is not None and out.resolve().is_relative_to(place.local):
        raise DatasetError(f"{out} lies in the workspace, and a DICOM SEG names its patient; choose another folder")
    rows = read_table(place, "tables/nodules.parquet").to_dict("records")
    versions = _versions(place)
    exclusions: list[Exclusion] = []
    headers: tuple[str, tuple[Dataset, ...]] = ("", ())
    written = 0
    for done, row in enumerate(rows, start=1):
        uid, nodule, segmenter = (str(row[name]) for name in ("series_uid", "nodule_id", "segmenter"))
        who = {"patient_id": str(row["patient_id"]), "series_uid": uid, "nodule_id": nodule}
        for name in dict.fromkeys(formats):
            path = out / uid / f"{nodule}_{segmenter}{SUFFIXES[name]}"
            try:
                mask = stored_mask(place, row)
                if name == "nifti":
                    write_nifti_mask(path, mask)
                else:
                    if headers[0] != uid:
                        headers = (uid, _source_headers(series.get(uid)))
                    write_seg(
                        path,
                        mask,
                        headers[1],
                        label=f"{nodule} {segmenter}",
                        tracking_id=nodule,
                        tracking_uid=_tracking_uid(uid, nodule),
                        algorithm_name=segmenter,
                        algorithm_version=versions.get(segmenter, "unknown"),
                    )
                written += 1
            except CaseError as error:
                message = f"{segmenter}, {name}: {error.message}"
                exclusions.append(Exclusion(STAGE, error.code, message, **who))
        if progress is not None:
            progress(done, len(rows))
    return written, tuple(exclusions)


def write_nifti_mask(path: Path, mask: Mask) -> None:
    """Write a mask as NIfTI, uint8 on the whole grid, atomically.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``.
    mask : Mask
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = mask.within((0, 0, 0), mask.frame.shape)
    temporary = path.with_name(f".partial-{path.name}")
    sitk.WriteImage(to_sitk(whole.voxels.astype("uint8"), mask.frame), str(temporary))
    temporary.replace(path)


def _tracking_uid(series: str, nodule: str) -> str:
    """A UID from the pseudonyms (PS3.5 B.2), so that a nodule has the same one in every export under the same key."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, f'lungpipe:{series}/{nodule}').int}"


def _versions(place: Place) -> dict[str, str]:
    """Version of each segmenter as the run recorded it."""
    try:
        plugins = json.loads(place.read("run.json"))["plugins"]
        return {name: str(plugin["version"]) for name, plugin in plugins["segmenters"].items()}
    except (OSError, ValueError, KeyError):
        return {}


def _source_headers(source: Series | None) -> tuple[Dataset, ...]:
    if source is None or source.is_volume_file:
        raise AnnotationError(
            "no_source_series",
            "the DICOM files of the series were not found; name the folder that holds them, or nifti",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, and one may be a name
            files = dict.fromkeys(one.file for one in source.files)
            return tuple(pydicom.dcmread(io.BytesIO(c), stop_before_pixels=True, force=True) for c in read_each(files))
    except Exception as error:  # noqa: BLE001 - the libraries raise anything, and the text may name the patient
        raise AnnotationError(
            "unreadable_source", f"a file of the series could not be read ({type(error).__name__}); restore it"
        ) from None
