"""Series of a workspace as NIfTI: the CT, and its masks beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import SimpleITK as sitk

from lungpipe.dicom.export_masks import write_nifti_mask
from lungpipe.dicom.read import to_sitk
from lungpipe.errors import CaseError, Exclusion
from lungpipe.store.contents import stored_mask, stored_nodules, stored_series, volume_name
from lungpipe.store.volumes import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from lungpipe.store.place import Place
    from lungpipe.volume import CTVolume

STAGE = "export"


def export_nifti(
    place: Place, out: Path, only: Collection[str] = (), progress: Callable[[int, int], None] | None = None
) -> tuple[list[Path], list[Exclusion]]:
    """Write ``out/<series>/ct.nii.gz`` for every series that has a volume, and ``<nodule>_<segmenter>.nii.gz`` beside it.

    Masks are named as :func:`lungpipe.dicom.export_masks.export_masks` names them.

    Parameters
    ----------
    place : Place
        The workspace.
    out : Path
        A local folder.
    only : collection of str
        Pseudonyms of the series wanted; all if empty.
    progress : callable, optional
        Called with the number of series done and of all, after each series.

    Returns
    -------
    written : list of Path
        Volumes and masks.
    exclusions : list of Exclusion
        One for each volume or mask that was not written.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.store.contents.stored_series`.
    """
    rows, nodules = stored_series(place, only), stored_nodules(place)
    written: list[Path] = []
    exclusions: list[Exclusion] = []
    for done, row in enumerate(rows, start=1):
        uid, who = str(row["series_uid"]), {"patient_id": str(row["patient_id"]), "series_uid": str(row["series_uid"])}
        try:
            path = out / uid / "ct.nii.gz"
            write_nifti_volume(
                path, read_volume(place, volume_name(row["volume_id"])), f"{row['intensities']} intensities"
            )
            written.append(path)
        except CaseError as error:
            exclusions.append(Exclusion(STAGE, error.code, error.message, **who))
        for one in nodules.get(uid, []):
            try:
                path = out / uid / f"{one['nodule_id']}_{one['segmenter']}.nii.gz"
                write_nifti_mask(path, stored_mask(place, one))
                written.append(path)
            except CaseError as error:
                message = f"{one['segmenter']}: {error.message}"
                exclusions.append(Exclusion(STAGE, error.code, message, **who, nodule_id=str(one["nodule_id"])))
        if progress is not None:
            progress(done, len(rows))
    return written, exclusions


def write_nifti_volume(path: Path, volume: CTVolume, description: str) -> None:
    """Write a volume as NIfTI, int16 HU, whole or not at all.

    Both affines of the header, sform and qform, lead from an index (i, j, k) = (x, y, z) to RAS mm, the frame of NIfTI-1.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``.
    volume : CTVolume
    description : str
        Header field ``descrip``: the first 79 bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = to_sitk(volume.hu, volume.geometry)
    image.SetMetaData("ITK_FileNotes", description[:79])
    temporary = path.with_name(f".partial-{path.name}")
    sitk.WriteImage(image, str(temporary))
    temporary.replace(path)
