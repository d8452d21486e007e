"""Reader ``voc``: Pascal VOC XML, one file a slice, named by SOP instance UID (Lung-PET-CT-Dx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from data_catalog.spec import Annotations
from lungpipe.errors import DatasetError, Exclusion
from lungpipe.nodule import Nodule

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from data_catalog.spec import DatasetSpec
    from lungpipe.dicom.series import Series, SeriesTable


@dataclass(frozen=True, slots=True)
class Box:
    """A box on one slice: slice index, first and last pixel of columns (x) and rows (y), and its class."""

    k: int
    x: tuple[float, float]
    y: tuple[float, float]
    name: str

    def touches(self, other: Box) -> bool:
        """Whether two boxes of a class overlap in plane and lie on the same or neighbouring slices."""
        return (
            self.name == other.name
            and abs(self.k - other.k) <= 1
            and self.x[0] <= other.x[1]
            and other.x[0] <= self.x[1]
            and self.y[0] <= other.y[1]
            and other.y[0] <= self.y[1]
        )


def read(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read slice boxes and join those that touch into one box a lesion and series.

    Raises
    ------
    DatasetError
        If there is no XML file below ``path``.
    """
    files = sorted(path.rglob("*.xml")) if path is not None else []
    if not files:
        raise DatasetError(f"no Pascal VOC file (*.xml) below {path}; {spec.title} ships them as Annotation/<patient>/")
    slices = {uid: (scan, k) for scan in series.series for k, uid in enumerate(scan.sop_uids)}
    boxes: dict[str, list[Box]] = {}
    exclusions = []
    for file in files:
        if file.stem not in slices:
            message = "a slice with boxes is not among the indexed images"
            exclusions.append(Exclusion("annotation", "slice_not_found", message))
            continue
        scan, k = slices[file.stem]
        try:
            boxes.setdefault(scan.series_uid, []).extend(_boxes(file, k))
        except (ParseError, DefusedXmlException, ValueError) as error:
            message = f"the boxes of slice {k + 1} cannot be read ({type(error).__name__})"
            who = {"patient_id": scan.patient_id, "series_uid": scan.series_uid}
            exclusions.append(Exclusion("annotation", "unreadable_annotation", message, **who))
    known = series.by_uid()
    nodules = [
        _nodule(known[uid], group, number, spec.malignant)
        for uid, found in sorted(boxes.items())
        for number, group in enumerate(join(found), start=1)
    ]
    return Annotations(tuple(nodules), tuple(exclusions))


def _boxes(file: Path, k: int) -> list[Box]:
    root = ElementTree.parse(file).getroot()
    if root is None:
        raise ValueError("the file is empty")

    def number(node: Element, name: str) -> float:
        text = node.findtext(f"bndbox/{name}")
        if text is None:
            raise ValueError(f"an object without {name}")
        return float(text)

    return [
        Box(
            k,
            (number(item, "xmin"), number(item, "xmax")),
            (number(item, "ymin"), number(item, "ymax")),
            item.findtext("name") or "",
        )
        for item in root.findall("object")
    ]


def join(boxes: list[Box]) -> list[list[Box]]:
    """Group boxes that touch, directly or through others; groups and boxes in slice order."""
    groups: list[list[Box]] = []
    for box in sorted(boxes, key=lambda b: (b.k, b.x, b.y)):
        touching = [g for g in groups if any(box.touches(other) for other in g)]
        groups = [g for g in groups if g not in touching]
        groups.append([other for g in touching for other in g] + [box])
    return sorted(groups, key=lambda g: (g[0].k, g[0].x))


def _nodule(scan: Series, group: list[Box], number: int, malignant: int | None) -> Nodule:
    if scan.geometry is None:
        raise DatasetError(f"series {scan.series_uid} has boxes but no grid")
    low = np.array([min(b.k for b in group), min(b.y[0] for b in group), min(b.x[0] for b in group)])
    high = np.array([max(b.k for b in group), max(b.y[1] for b in group), max(b.x[1] for b in group)])
    x, y, z = scan.geometry.to_lps((low + high) / 2.0).tolist()
    depth, height, width = ((high - low + 1) * np.asarray(scan.geometry.spacing_mm)).tolist()
    return Nodule(
        scan.patient_id, scan.series_uid, f"{scan.patient_id}-{number}", (x, y, z), (width, height, depth), malignant
    )
