"""Read a mask from any file that may hold one, onto a volume's grid."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pydicom
from pydicom.filereader import read_partial
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from lungpipe.dicom.read import read_image
from lungpipe.dicom.rtstruct import StructureSet, read_rtstruct, roi_mask
from lungpipe.dicom.seg import read_seg
from lungpipe.dicom.source import VOLUME_SUFFIXES, read_each
from lungpipe.errors import AnnotationError, DatasetError, GeometryError
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lungpipe.dicom.rasterise import ContourReport
    from lungpipe.dicom.source import Source
    from lungpipe.geometry import Geometry

Kind = Literal["seg", "rtstruct", "image"]
_KINDS: dict[str, Kind] = {
    SegmentationStorage: "seg",
    "1.2.840.10008.5.1.4.1.1.66.7": "seg",  # label map segmentation
    RTStructureSetStorage: "rtstruct",
    "SEG": "seg",
    "RTSTRUCT": "rtstruct",
}
_LAST = 0x00080060  # Modality


def read_mask_file(
    path: Path,
    frame: Geometry,
    *,
    roi: str | None = None,
    series_uid: str = "",
    sop_uids: Sequence[str] = (),
    label: int | None = None,
    on_contours: Callable[[ContourReport], None] | None = None,
) -> Mask:
    """Read a DICOM SEG, an RT structure set, or a label image (NIfTI, NRRD, MetaImage) as a mask.

    The file's content says what it is, not its name. An image must be on the volume's grid within
    :data:`lungpipe.geometry.POSITION_TOLERANCE_MM`, a SEG within :data:`lungpipe.dicom.seg.FRAME_TOLERANCE` of a voxel.

    Parameters
    ----------
    path : Path
    frame : Geometry
        Grid of the volume.
    roi : str, optional
        Name or number of the ROI or segment; for an image, the value of the region. May be left out where there is
        only one; in an image, every voxel that is not zero is then inside.
    series_uid, sop_uids : str, sequence of str
        What :func:`source_uids` says of the volume; both empty to leave a file's references unchecked.
    label : int, optional
        The same as a number; ``roi`` goes first.
    on_contours : callable, optional
        Called with what became of the contours of an RT structure set.

    Returns
    -------
    Mask
        On its tight bounding box, or on the whole grid if it is empty.

    Raises
    ------
    AnnotationError
        ``unreadable_mask``, ``unsupported_mask``; ``unknown_roi``, ``ambiguous_roi``; ``wrong_series``;
        ``mask_grid_differs``; and those of :func:`lungpipe.dicom.rtstruct.read_rtstruct` and
        :func:`lungpipe.dicom.rtstruct.roi_mask`.
    """
    kind = mask_kind(path)
    which = roi.strip() if roi is not None and roi.strip() else label
    if kind == "seg":
        mask = read_seg(path, frame, which, series_uid, sop_uids)
    elif kind == "rtstruct":
        structures = read_rtstruct(path)
        if not series_uid and not sop_uids:
            series_uid, sop_uids = next(iter(structures.series_uids), ""), tuple(structures.sop_uids)
        mask, report = roi_mask(structures, _choose_roi(structures, which), frame, series_uid, sop_uids)
        if on_contours is not None:
            on_contours(report)
    else:
        mask = _read_label_image(path, frame, which)
    return mask.trimmed() if mask.n_voxels else mask


def mask_kind(path: Path) -> Kind:
    """Say what kind of mask a file holds: DICOM by its SOP class or modality, anything else is an image.

    Raises
    ------
    AnnotationError
        ``unreadable_mask`` if it cannot be opened, ``unsupported_mask`` if it is a folder or another DICOM object.
    """
    if path.is_dir():
        raise AnnotationError("unsupported_mask", "the mask is a folder; name the file in it")
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
            if head[128:] != b"DICM" and not (head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"):
                return "image"
            stream.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote values, and one may be a name
                dataset = read_partial(stream, stop_when=lambda tag, _vr, _n: tag > _LAST, force=True)
                names = [str(dataset.get("SOPClassUID", "")), str(dataset.get("Modality", ""))]
    except Exception as error:  # noqa: BLE001 - the libraries raise anything, and the text may name the patient
        raise _unreadable(error) from None
    for name in names:
        if name in _KINDS:
            return _KINDS[name]
    raise AnnotationError(
        "unsupported_mask",
        "the mask file is a DICOM object and neither a segmentation (SEG) nor a structure set (RTSTRUCT)",
    )


@lru_cache(maxsize=2)
def source_uids(files: tuple[Source, ...]) -> tuple[str, tuple[str, ...]]:
    """Series instance UID and SOP instance UIDs of a volume's files, to check a mask's references.

    Parameters
    ----------
    files : tuple of Source

    Returns
    -------
    series_uid : str
    sop_uids : tuple of str
        Both empty if the volume is no DICOM series.

    Raises
    ------
    AnnotationError
        ``unreadable_source`` if a file cannot be read.
    """
    if any((one.entry or one.path).lower().endswith(VOLUME_SUFFIXES) for one in files[:1]):
        return "", ()
    series_uid = ""
    sop_uids = []
    try:
        for content in read_each(dict.fromkeys(source.file for source in files)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(
                    io.BytesIO(content),
                    stop_before_pixels=True,
                    force=True,
                    specific_tags=["SOPInstanceUID", "SeriesInstanceUID"],
                )
                series_uid = str(dataset.SeriesInstanceUID)
                sop_uids.append(str(dataset.SOPInstanceUID))
    except Exception as error:  # noqa: BLE001 - the libraries raise anything, and the text may name the patient
        raise AnnotationError(
            "unreadable_source",
            f"a file of the series could not be read ({type(error).__name__}), so that the mask's references cannot be "
            "checked; copy it again from its source",
        ) from None
    return series_uid, tuple(sop_uids)


def _unreadable(error: Exception) -> AnnotationError:
    return AnnotationError(
        "unreadable_mask",
        f"the annotation's mask file is missing or damaged ({type(error).__name__}); restore it or correct its path",
    )


def _choose_roi(structures: StructureSet, which: str | int | None) -> str | int:
    """The ROI that is meant: by name, by number if the text is no name, or the only one."""
    if which is None:
        if len(structures.rois) == 1:
            return structures.rois[0].number
        numbers = ", ".join(str(roi.number) for roi in structures.rois[:20]) or "none"
        raise AnnotationError(
            "ambiguous_roi", f"the structure set has {len(structures.rois)} ROIs; name one, or its number: {numbers}"
        )
    if isinstance(which, str) and which.isdecimal() and all(roi.name != which for roi in structures.rois):
        return int(which)
    return which


def _read_label_image(path: Path, frame: Geometry, which: str | int | None) -> Mask:
    value = None if which is None else _number(which)
    try:
        voxels, geometry = read_image(path)
    except (DatasetError, GeometryError) as error:
        raise _unreadable(error) from None
    mismatch = geometry.mismatch(frame)
    if mismatch:
        raise AnnotationError("mask_grid_differs", f"the mask file is not on the volume's grid: {mismatch}")
    if value is None:
        return Mask(np.asarray((voxels != 0) & (voxels == voxels)), frame)  # not a number is outside
    inside = np.asarray(voxels == value)
    if not inside.any():
        present = ", ".join(f"{v:g}" for v in np.unique(voxels)[:10].astype(np.float64))
        raise AnnotationError("unknown_roi", f"the mask image has no value {value}; it holds {present}")
    return Mask(inside, frame)


def _number(which: str | int) -> int:
    try:
        return int(which)
    except ValueError:
        message = "an image has values and no names; give the whole number that marks the region"
        raise AnnotationError("unknown_roi", message) from None
