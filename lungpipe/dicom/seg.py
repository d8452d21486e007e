"""DICOM segmentation objects (PS3.3 A.51 and A.86): read one segment onto a volume's grid."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from highdicom.frame import decode_frame
from pydicom.encaps import get_frame

from lungpipe.errors import AnnotationError
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from pydicom.dataset import Dataset, FileDataset

    from lungpipe.geometry import Geometry, IndexTriple

#: Farthest that a frame's corners may lie from the voxel that they should cover, as a fraction of its sides.
FRAME_TOLERANCE = 0.1
#: Part of the maximum fractional value from which on a voxel of a fractional segment counts as inside.
FRACTION_THRESHOLD = 0.5


def read_seg(
    path: Path,
    geometry: Geometry,
    segment: str | int | None = None,
    series_uid: str = "",
    sop_uids: Sequence[str] = (),
) -> Mask:
    """Read a segment of a DICOM SEG: binary, fractional (see :data:`FRACTION_THRESHOLD`) or label map.

    Frames are decoded by highdicom. Each is put where its plane position, orientation and pixel spacing say, in whatever order the frames come;
    frames that were left out, because nothing is in them, stay empty.

    Parameters
    ----------
    path : Path
    geometry : Geometry
        Grid of the volume.
    segment : str or int, optional
        Label or number of the segment (a text that is no label may be a number); may be left out if there is one.
    series_uid, sop_uids : str, sequence of str
        Series and SOP instance UIDs of the volume; empty to leave the references unchecked.

    Returns
    -------
    Mask
        On the whole grid; empty if the segment is.

    Raises
    ------
    AnnotationError
        ``unreadable_mask``; ``unknown_roi`` or ``ambiguous_roi`` if the segment is not one; ``wrong_series`` if the
        file refers to images and not to these; ``mask_grid_differs`` if a frame with voxels does not fall on the
        grid within :data:`FRAME_TOLERANCE`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values, and one may be a name
        try:
            return _read(path, geometry, segment, series_uid, sop_uids)
        except AnnotationError:
            raise
        except Exception as error:  # noqa: BLE001 - the libraries raise anything, and the text may name the patient
            raise AnnotationError(
                "unreadable_mask",
                f"the DICOM SEG is damaged or incomplete ({type(error).__name__}); copy it again from its source",
            ) from None


def _read(path: Path, geometry: Geometry, segment: str | int | None, series_uid: str, sop_uids: Sequence[str]) -> Mask:
    image = pydicom.dcmread(path)
    if int(image.NumberOfFrames) != len(image.PerFrameFunctionalGroupsSequence):
        raise ValueError("some frames are not described, or some that are described are missing")
    series, instances = referenced(image)
    other_series = series and series_uid and series_uid not in series
    if other_series or (instances and sop_uids and instances.isdisjoint(sop_uids)):
        raise AnnotationError(
            "wrong_series", "the DICOM SEG refers to other images than the annotated series; name its own series"
        )
    labels = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")) for s in image.SegmentSequence}
    voxels = np.zeros(geometry.shape, dtype=np.bool_)
    for inside, plane in _frames(image, choose_segment(labels, segment)):
        k, j, i = locate_plane(geometry, *plane, inside.shape)
        rows, columns = inside.shape
        voxels[k, j : j + rows, i : i + columns] |= inside
    return Mask(voxels, geometry)


def referenced(dataset: Dataset) -> tuple[set[str], set[str]]:
    """Series and SOP instance UIDs that a derived image refers to, for all of it or a frame.

    PS3.3 C.12.2 (Common Instance Reference) and C.7.6.16.2.6 (Derivation Image).
    """
    series = {str(item.SeriesInstanceUID) for item in dataset.get("ReferencedSeriesSequence") or ()}
    references = list(dataset.get("SourceImageSequence") or ())
    for item in dataset.get("ReferencedSeriesSequence") or ():
        references += item.get("ReferencedInstanceSequence") or ()
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or ())]
    groups += dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for group in groups:
        for derivation in group.get("DerivationImageSequence") or ():
            references += derivation.get("SourceImageSequence") or ()
    return series, {str(item.ReferencedSOPInstanceUID) for item in references}


def choose_segment(labels: dict[int, str], segment: str | int | None) -> int:
    """Number of the segment that is meant, among labels by number.

    Raises
    ------
    AnnotationError
        ``unknown_roi`` or ``ambiguous_roi``; the message names numbers, since labels are free text.
    """
    known = {number: label for number, label in labels.items() if number > 0}  # a label map may describe its background
    numbers = ", ".join(map(str, sorted(known))) or "none"
    if segment is None:
        matches = list(known)
    elif isinstance(segment, int):
        matches = [n for n in known if n == segment]
    else:
        matches = [n for n, label in known.items() if label == segment]
        if not matches and segment.isdecimal():
            matches = [n for n in known if n == int(segment)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        found = ", ".join(map(str, sorted(matches)))
        raise AnnotationError("ambiguous_roi", f"segments {found} of the DICOM SEG fit; give the number of one")
    raise AnnotationError("unknown_roi", f"the DICOM SEG has no such segment; its numbers: {numbers}")


def _frames(
    image: FileDataset, number: int
) -> Iterator[tuple[NDArray[np.bool_], tuple[ArrayLike, ArrayLike, ArrayLike]]]:
    """Voxels (rows, columns) of each frame of a segment that is not empty, and its place (see `plane_of`)."""
    label_map = image.SegmentationType == "LABELMAP"
    fractional = image.SegmentationType == "FRACTIONAL"
    threshold = FRACTION_THRESHOLD * int(image.MaximumFractionalValue) if fractional else 1
    for index in range(len(image.PerFrameFunctionalGroupsSequence)):
        if not label_map:
            identity: Any = functional_group(image, index, "SegmentIdentificationSequence")
            if int(identity.ReferencedSegmentNumber) != number:
                continue
        stored = _stored_values(image, index)
        inside = stored == number if label_map else stored >= threshold
        if inside.any():
            yield inside, plane_of(image, index)


def _stored_values(image: FileDataset, index: int) -> NDArray[Any]:
    """Stored values (rows, columns) of one frame; frames of one bit a pixel need not begin at a byte (PS3.5 8.1.1)."""
    syntax = image.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        value = get_frame(image.PixelData, index, number_of_frames=int(image.NumberOfFrames))
    else:
        bits = image.Rows * image.Columns * image.BitsAllocated
        value = image.PixelData[index * bits // 8 : ((index + 1) * bits + 7) // 8]
    return decode_frame(
        value,
        syntax,
        rows=image.Rows,
        columns=image.Columns,
        samples_per_pixel=1,
        bits_allocated=image.BitsAllocated,
        bits_stored=image.BitsStored,
        photometric_interpretation=image.PhotometricInterpretation,
        index=index,
    )


def functional_group(image: Dataset, index: int, name: str) -> Dataset:
    """Item of a functional group for a frame: its own, or the one that all frames share (PS3.3 C.7.6.16)."""
    own = image.PerFrameFunctionalGroupsSequence[index]
    group = own if name in own else image.SharedFunctionalGroupsSequence[0]
    item: Dataset = group[name].value[0]
    return item


def plane_of(image: Dataset, index: int) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Image position (LPS, mm), orientation (six cosines) and pixel spacing (row, column; mm) of a frame."""
    return (
        functional_group(image, index, "PlanePositionSequence").ImagePositionPatient,
        functional_group(image, index, "PlaneOrientationSequence").ImageOrientationPatient,
        functional_group(image, index, "PixelMeasuresSequence").PixelSpacing,
    )


def locate_plane(
    geometry: Geometry, position_mm: ArrayLike, orientation: ArrayLike, spacing_mm: ArrayLike, size: tuple[int, ...]
) -> IndexTriple:
    """Index (z, y, x) of the voxel on which a plane's first pixel falls.

    Parameters
    ----------
    geometry : Geometry
    position_mm, orientation, spacing_mm : array_like
        As :func:`plane_of` gives them.
    size : tuple of int
        Rows and columns.

    Raises
    ------
    AnnotationError
        ``mask_grid_differs`` if the plane's corners are off the grid by more than :data:`FRAME_TOLERANCE`, or the plane
        leaves it.
    """
    rows, columns = size
    origin = np.asarray(position_mm, dtype=np.float64)
    along_row, along_column = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    between_rows_mm, between_columns_mm = np.asarray(spacing_mm, dtype=np.float64)
    corners = origin + np.array(
        [np.zeros(3), columns * between_columns_mm * along_row, rows * between_rows_mm * along_column]
    )
    found = geometry.to_index(corners)
    start = np.rint(found[0])
    expected = start + np.array([[0, 0, 0], [0, 0, columns], [0, rows, 0]])
    off = float(np.abs(found - expected).max())
    if not off <= FRAME_TOLERANCE:
        raise AnnotationError(
            "mask_grid_differs",
            f"a plane lies {off:.2g} voxels off the volume's grid (tolerance {FRAME_TOLERANCE:g}); "
            "resample the mask to the series, or name the series that it was drawn on",
        )
    if np.any(start < 0) or np.any(np.add(start, (1, rows, columns)) > geometry.shape):
        raise AnnotationError(
            "mask_grid_differs", "a plane lies outside the volume; name the series that it was drawn on"
        )
    k, j, i = start.astype(int).tolist()
    return k, j, i
