"""Reader ``nnunet``: label maps in nnU-Net's layout, each connected part of each label a nodule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from data_catalog.spec import Annotations
from lungpipe.dicom.masks import read_mask_file
from lungpipe.errors import AnnotationError, DatasetError, Exclusion
from lungpipe.nodule import Nodule
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data_catalog.spec import DatasetSpec
    from lungpipe.dicom.series import Series, SeriesTable

#: What nnU-Net puts behind a case's name for its first channel.
_CHANNEL = "_0000"


def read(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read the label map of every indexed image; parts that touch, at corners too (26 neighbours), are one nodule.

    A nodule's id is the case, its label's name and a number, by first voxel (z, y, x). An image without label map, or a
    label map that does not fit its image, is an exclusion.

    Raises
    ------
    DatasetError
        If there is no readable ``dataset.json`` in the folder, or no image has a channel number.
    """
    if path is None or not path.is_dir():
        raise DatasetError(f"data set {spec.name!r} needs cohort.annotations: the folder that holds dataset.json")
    labels, ending = _dataset(path / "dataset.json")
    nodules: list[Nodule] = []
    exclusions = []
    cases = [(scan.series_uid.removesuffix(_CHANNEL), scan) for scan in series.series if _is_first_channel(scan)]
    if not cases:
        raise DatasetError("no image is called CASE_0000 and an ending; set cohort.dicom to imagesTr")
    for case, scan in cases:
        file = path / "labelsTr" / f"{case}{ending}"
        try:
            nodules += _nodules(case, scan, file, labels, spec.malignant)
        except AnnotationError as error:
            exclusions.append(Exclusion.of(error, patient_id=case, series_uid=scan.series_uid))
    return Annotations(tuple(nodules), tuple(exclusions))


def _is_first_channel(scan: Series) -> bool:
    return scan.is_volume_file and scan.geometry is not None and scan.series_uid.endswith(_CHANNEL)


def _dataset(file: Path) -> tuple[dict[int, str], str]:
    """Name of each label but the background, and the files' ending; both generations of ``dataset.json``."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        pairs = [(key, value) for key, value in values["labels"].items()]
        # Version 1 maps numbers to names, version 2 names to numbers.
        numbered = (
            {int(key): str(value) for key, value in pairs}
            if _is_numbered(pairs)
            else {int(value): str(key) for key, value in pairs}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{file} cannot be read ({type(error).__name__}); nnU-Net keeps it beside labelsTr"
        ) from error
    numbered.pop(0, None)
    if not numbered:
        raise DatasetError(f"{file} names no label but the background")
    return numbered, str(values.get("file_ending", ".nii.gz"))


def _is_numbered(pairs: list[tuple[str, Any]]) -> bool:
    return all(key.isdigit() for key, _ in pairs)


def _nodules(case: str, scan: Series, file: Path, labels: dict[int, str], malignant: int | None) -> list[Nodule]:
    if not file.is_file():
        raise AnnotationError("no_label_map", "labelsTr has no label map of this image")
    found = []
    for value, name in sorted(labels.items()):
        try:
            mask = read_mask_file(file, scan.geometry, label=value) if scan.geometry else None
        except AnnotationError as error:
            if error.code == "unknown_roi":
                continue  # a case need not have every label
            raise
        for number, part in enumerate(_parts(mask) if mask else (), start=1):
            nodule_id = f"{case}-{name}-{number}"
            found.append(Nodule(case, scan.series_uid, nodule_id, None, malignant=malignant, raters=(part,)))
    if not found:
        raise AnnotationError("empty_annotation", "the label map holds none of the labels of dataset.json")
    return found


def _parts(mask: Mask) -> Iterator[Mask]:
    """Connected parts of a mask, each on its tight box."""
    found, _ = ndimage.label(mask.voxels, structure=np.ones((3, 3, 3), dtype=bool))
    for number, box in enumerate(ndimage.find_objects(found), start=1):
        z, y, x = (int(edge.start) + start for edge, start in zip(box, mask.start, strict=True))
        yield Mask(found[box] == number, mask.frame, (z, y, x))
