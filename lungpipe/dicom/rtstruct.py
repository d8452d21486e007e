"""Read RT structure sets: the ROIs, their contours, and the images that they were drawn on."""

from __future__ import annotations

import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import RTStructureSetStorage

from lungpipe.dicom.data_set import open_data_set
from lungpipe.dicom.rasterise import Contour, ContourReport, rasterise
from lungpipe.dicom.source import Source
from lungpipe.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydicom.dataset import Dataset

    from lungpipe.geometry import Geometry
    from lungpipe.volume import Mask

#: Largest file that is read, bytes, and as large once inflated.
MAX_BYTES = 128 * 1024 * 1024
#: Most points of all contours together.
MAX_POINTS = 5_000_000
#: Most sequence items (a contour has two or more); they need more memory than the points.
MAX_ITEMS = 250_000

_SOP_UID, _SERIES_UID, _FRAME_UID = 0x00081155, 0x0020000E, 0x00200052
_GEOMETRIC_TYPE, _NUMBER_OF_POINTS, _CONTOUR_DATA = 0x30060042, 0x30060046, 0x30060050
_UNDEFINED = 0xFFFFFFFF
_NUMBER = re.compile(rb"(?:^|\\)([^\\]*)")


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """One region of interest. Its name is free text that may name a patient: keep it out of messages and files."""

    number: int
    name: str
    contours: tuple[Contour, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StructureSet:
    """The content of one RT structure set; identifiers are the archive's own.

    Parameters
    ----------
    rois : tuple of Roi
        In the order of the file; numbers are unique, names need not be.
    series_uids, sop_uids : frozenset of str
        Series and images that the structure set or its contours refer to.
    frame_of_reference_uid : str
        Empty if the file gives none, or several.
    """

    rois: tuple[Roi, ...]
    series_uids: frozenset[str]
    sop_uids: frozenset[str]
    frame_of_reference_uid: str

    def roi(self, which: str | int) -> Roi:
        """Find an ROI by its name or number.

        Raises
        ------
        AnnotationError
            ``unknown_roi`` or, for a name that several ROIs have, ``ambiguous_roi``.
        """
        found = [roi for roi in self.rois if which == (roi.number if isinstance(which, int) else roi.name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise AnnotationError(
                "ambiguous_roi",
                f"{len(found)} ROIs have that name; ask by number: {_numbers(found)}",
            )
        raise AnnotationError(
            "unknown_roi",
            f"the structure set has {len(self.rois)} ROIs and none of that name or number; "
            f"their numbers are: {_numbers(self.rois)}",
        )


def read_rtstruct(source: Source | Path) -> StructureSet:
    """Read an RT structure set (DICOM PS3.3 A.19).

    Parameters
    ----------
    source : Source or Path

    Returns
    -------
    StructureSet
        With every contour of the file; what is wrong with one is said by :func:`roi_mask`.

    Raises
    ------
    AnnotationError
        ``not_rtstruct``, ``unreadable_rtstruct``, or ``rtstruct_too_large`` beyond :data:`MAX_BYTES`,
        :data:`MAX_POINTS` or :data:`MAX_ITEMS`.
    """
    where = Source(str(source)) if isinstance(source, Path) else source
    try:
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, and values identify patients
            return _structure_set(_dataset(_content(where)))
    except AnnotationError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises anything, and its text may name the patient
        raise AnnotationError(
            "unreadable_rtstruct",
            f"the RT structure set could not be read ({type(error).__name__}); it is missing, truncated or damaged: "
            "copy it again from its source",
        ) from None


def roi_mask(
    structure_set: StructureSet, roi: str | int, geometry: Geometry, series_uid: str, sop_uids: Sequence[str]
) -> tuple[Mask, ContourReport]:
    """Rasterise one ROI on the image that it was drawn on.

    Parameters
    ----------
    structure_set : StructureSet
    roi : str or int
        Name or number.
    geometry : Geometry
        Grid of the series.
    series_uid : str
        Series instance UID.
    sop_uids : sequence of str
        SOP instance UIDs of the series, in any order, copies that were put aside included. A contour that names its
        images and none of these is not used.

    Returns
    -------
    mask : Mask
        On its tight bounding box.
    report : ContourReport

    Raises
    ------
    AnnotationError
        ``wrong_series`` if the structure set or all contours of the ROI refer to other images; ``unknown_roi``,
        ``ambiguous_roi``; ``empty_annotation`` if no voxel centre lies inside.
    """
    images = frozenset(sop_uids)
    if series_uid not in structure_set.series_uids and images.isdisjoint(structure_set.sop_uids):
        raise AnnotationError(
            "wrong_series",
            "the structure set refers neither to this series nor to its images; name the series it is of",
        )
    contours = structure_set.roi(roi).contours
    own = [c for c in contours if not c.sop_uids or not images.isdisjoint(c.sop_uids)]
    if contours and not own:
        raise AnnotationError("wrong_series", "the ROI was drawn on images of another series; name that series")
    mask, report = rasterise(own, geometry)
    if len(own) < len(contours):
        unused = {"other_image": len(contours) - len(own), **report.unused}
        report = ContourReport(report.used, unused, report.warned, report.gaps)
    if not mask.n_voxels:
        reasons = ", ".join(f"{n} {key}" for key, n in {**report.unused, **report.warned}.items()) or "it has none"
        raise AnnotationError(
            "empty_annotation", f"no voxel centre lies inside the ROI's {len(contours)} contours ({reasons})"
        )
    return mask.trimmed(), report


def _numbers(rois: Sequence[Roi]) -> str:
    shown = ", ".join(str(roi.number) for roi in rois[:20])
    return f"{shown}, ..." if len(rois) > 20 else shown or "none"


def _too_large(what: str, limit: int) -> AnnotationError:
    return AnnotationError(
        "rtstruct_too_large", f"the structure set has more than {limit} {what}; split it into several"
    )


def _content(source: Source) -> bytes:
    if source.entry:
        with zipfile.ZipFile(source.path) as archive:
            size = archive.getinfo(source.entry).file_size
    else:
        size = Path(source.path).stat().st_size
    if size > MAX_BYTES:
        raise _too_large("bytes", MAX_BYTES)
    return source.read()


def _dataset(content: bytes) -> Dataset:
    """Parse the data set, after a look at how many bytes and items that would make."""
    opened = open_data_set(content, MAX_BYTES + 1)
    if opened is None:
        raise AnnotationError("not_rtstruct", "expected an RT structure set, found a file that is not DICOM")
    content = opened.stream.getvalue()
    if len(content) > MAX_BYTES:
        raise _too_large("bytes", MAX_BYTES)
    if content.count(b"\xfe\xff\x00\xe0" if opened.little else b"\xff\xfe\xe0\x00") > MAX_ITEMS:
        raise _too_large("items", MAX_ITEMS)
    dataset = read_dataset(opened.stream, opened.implicit, opened.little)
    for element in dataset.values():
        # pydicom takes a value that ends with the file for whole, and contours would go missing.
        if isinstance(element, RawDataElement) and element.length not in (len(element.value or b""), _UNDEFINED):
            raise EOFError
    return dataset


def _structure_set(dataset: Dataset) -> StructureSet:
    if str(dataset.get("SOPClassUID", "") or dataset.get("Modality", "")) not in (RTStructureSetStorage, "RTSTRUCT"):
        raise AnnotationError(
            "not_rtstruct", "expected an RT structure set, found another DICOM object; correct the annotation"
        )
    names = {
        int(item.ROINumber): str(item.get("ROIName", "")).strip() for item in _items(dataset, "StructureSetROISequence")
    }
    if len(names) < len(_items(dataset, "StructureSetROISequence")):
        raise AnnotationError(
            "unreadable_rtstruct", "several ROIs have the same number, so that contours have no owner"
        )
    contours: dict[int, list[Contour]] = {number: [] for number in names}
    room = MAX_POINTS
    for group in _items(dataset, "ROIContourSequence"):
        drawn = contours.setdefault(int(group.ReferencedROINumber), [])
        for item in _items(group, "ContourSequence"):
            drawn.append(_contour(item, room))
            room -= len(drawn[-1].points_mm)
    frames, series, images = _references(dataset)
    images.update(uid for drawn in contours.values() for contour in drawn for uid in contour.sop_uids)
    return StructureSet(
        rois=tuple(Roi(number, names.get(number, ""), tuple(drawn)) for number, drawn in contours.items()),
        series_uids=frozenset(series),
        sop_uids=frozenset(images),
        frame_of_reference_uid=frames.pop() if len(frames) == 1 else "",
    )


def _references(dataset: Dataset) -> tuple[set[str], set[str], set[str]]:
    """Frames of reference, series and images that a structure set names (PS3.3 C.8.8.5)."""
    frames: set[str] = set()
    series: set[str] = set()
    images: set[str] = set()
    for frame in _items(dataset, "ReferencedFrameOfReferenceSequence"):
        frames.update(_uids([frame], _FRAME_UID))
        for study in _items(frame, "RTReferencedStudySequence"):
            for one in _items(study, "RTReferencedSeriesSequence"):
                series.update(_uids([one], _SERIES_UID))
                images.update(_uids(_items(one, "ContourImageSequence"), _SOP_UID))
    return frames or set(_uids([dataset], _FRAME_UID)), series, images


def _contour(item: Dataset, room: int) -> Contour:
    kind = _raw(item, _GEOMETRIC_TYPE).decode("ascii", "replace")
    images = tuple(_uids(_items(item, "ContourImageSequence"), _SOP_UID))
    text = _raw(item, _CONTOUR_DATA)
    n_numbers = text.count(b"\\") + 1 if text else 0
    if n_numbers > 3 * room:
        raise _too_large("points", MAX_POINTS)
    try:
        numbers = np.fromiter((float(m[1]) for m in _NUMBER.finditer(text)), np.float64, n_numbers)
        points = numbers.reshape(-1, 3)
    except ValueError:
        return Contour(np.empty((0, 3)), kind, images, "malformed")
    announced = _raw(item, _NUMBER_OF_POINTS)
    return Contour(points, kind, images, "count_differs" if announced not in (b"", b"%d" % len(points)) else "")


def _raw(dataset: Dataset, tag: int) -> bytes:
    """An element's own bytes: pydicom's conversion is slow, and makes an object of 200 bytes for every coordinate."""
    value = dataset.get_item(tag).value if tag in dataset else b""
    return value.strip(b"\0 ") if isinstance(value, bytes) else b""


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    value = dataset.get(keyword)
    if value is None:
        return ()
    if not isinstance(value, DicomSequence):
        raise TypeError(keyword)
    return value


def _uids(items: Iterable[Dataset], tag: int) -> Iterator[str]:
    return (uid.decode("ascii", "replace") for item in items if (uid := _raw(item, tag)))
