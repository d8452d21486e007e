"""Reader ``structures``: RT structure sets and DICOM SEG beside the images that they were drawn on (NSCLC-Radiomics)."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom

from data_catalog.spec import Annotations
from lungpipe.dicom.masks import mask_kind
from lungpipe.dicom.rtstruct import read_rtstruct
from lungpipe.dicom.seg import referenced
from lungpipe.errors import AnnotationError, DatasetError, Exclusion
from lungpipe.nodule import Nodule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from data_catalog.spec import DatasetSpec
    from lungpipe.dicom.masks import Kind
    from lungpipe.dicom.series import SeriesTable

#: An RT structure set is what was drawn; a SEG beside it was made from it.
_ORDER: dict[Kind, int] = {"rtstruct": 0, "seg": 1}


@dataclass(frozen=True, slots=True)
class _Regions:
    """A file, the series that it was drawn on, and the number and name of each region in it."""

    path: Path
    kind: Kind
    series_uids: tuple[str, ...]
    names: tuple[tuple[int, str], ...]


def read(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Find the structure sets and segmentations below a folder; each region whose name fits is a lesion of its own.

    A region's id is the patient and its name. Of several files for one series, the RT structure set is read, else the
    SEG; the others are passed over.

    Raises
    ------
    DatasetError
        If the path is no folder, or there is no structure set or segmentation below it.
    """
    if path is None or not path.is_dir():
        raise DatasetError(f"data set {spec.name!r} needs cohort.annotations: the folder of its RTSTRUCT or SEG files")
    found, exclusions = [], []
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        try:
            kind = mask_kind(file)
            if kind in _ORDER:
                found.append(_regions(file, kind))
        except AnnotationError as error:
            if error.code != "unsupported_mask":  # images lie in the same tree
                exclusions.append(Exclusion.of(error))
    if not found:
        raise DatasetError(f"no RT structure set or DICOM SEG below {path}; {spec.title} ships them beside the CT")
    known, read_of = series.by_uid(), set()
    nodules = []
    for regions in sorted(found, key=lambda one: (_ORDER[one.kind], one.path)):
        uid = next((one for one in regions.series_uids if one in known), None)
        if uid is None:
            message = f"a {regions.kind} names no series that is among the indexed images"
            exclusions.append(Exclusion("annotation", "series_not_found", message))
            continue
        if uid in read_of:
            continue
        read_of.add(uid)
        patient = known[uid].patient_id
        chosen = [(number, name) for number, name in regions.names if re.fullmatch(spec.rois, name, re.IGNORECASE)]
        if not chosen:
            message = f"none of the {len(regions.names)} regions of a {regions.kind} is called like {spec.rois!r}"
            exclusions.append(Exclusion("annotation", "unknown_roi", message, patient, uid))
        nodules += [
            Nodule(
                patient,
                uid,
                f"{patient}-{name}",
                None,
                malignant=spec.malignant,
                mask_path=regions.path,
                mask_roi=str(number),
            )
            for number, name in _unique(chosen)
        ]
    return Annotations(tuple(nodules), tuple(exclusions))


def _unique(chosen: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Regions with names that differ: a repeated name gets its number."""
    seen: set[str] = set()
    named = []
    for number, name in chosen:
        named.append((number, name if name.casefold() not in seen else f"{name} #{number}"))
        seen.add(name.casefold())
    return named


def _regions(file: Path, kind: Kind) -> _Regions:
    if kind == "rtstruct":
        structures = read_rtstruct(file)
        names = tuple((roi.number, roi.name) for roi in structures.rois)
        return _Regions(file, kind, tuple(sorted(structures.series_uids)), names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values, and one may be a name
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            series_uids, _ = referenced(dataset)
            names = tuple((int(one.SegmentNumber), str(one.SegmentLabel)) for one in dataset.SegmentSequence)
        except Exception as error:  # noqa: BLE001  pydicom raises anything on a damaged file
            raise AnnotationError(
                "unreadable_mask", f"a segmentation cannot be read ({type(error).__name__}); copy it again"
            ) from None
    return _Regions(file, kind, tuple(sorted(series_uids)), names)
