"""Read one file of LIDC-IDRI's published XML: an ``LidcReadMessage``, the four radiologists' final readings of one CT.

The format is described in "LIDC XML file documentation" (The Cancer Imaging Archive, collection LIDC-IDRI) and McNitt-Gray
et al. 2007, doi:10.1016/j.acra.2007.07.021. A radiologist outlined and rated nodules of at least 3 mm, and marked smaller
ones and what is no nodule (``nonNodule``) by a point; points are not read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from data_catalog.lidc.reading import RATING_SCALES, Annotation, Contour

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

#: Root element of readings of CT. The archive also holds readings of chest radiographs, ``IdriReadMessage``.
ROOT = "LidcReadMessage"
#: Names of the ratings in the file, where they are not those of :class:`data_catalog.lidc.reading.Annotation`.
_XML_NAMES = {"internal_structure": "internalStructure"}


class UnreadableMessageError(ValueError):
    """The file is not XML, or not in the published format; the text says how and holds nothing from the file."""


@dataclass(frozen=True, eq=False, slots=True)
class Message:
    """The readings of one CT series.

    Parameters
    ----------
    series_uid : str
        Series instance UID that the readings are filed under.
    annotations : tuple of Annotation
        The outlined and rated nodules, numbered from 1 in the file's order; radiologists are not told apart.
    unrated : int
        Outlined nodules that were left out because a rating is missing; the archive's notes name two (LIDC-IDRI-0305, 0447).
    """

    series_uid: str
    annotations: tuple[Annotation, ...]
    unrated: int = 0

    def same_readings(self, other: Message) -> bool:
        """Whether two files hold the same outlines and ratings, in whatever order."""
        return sorted(map(_content, self.annotations)) == sorted(map(_content, other.annotations))


def message_series_uid(path: Path) -> str | None:
    """Series that a file is about, from its header alone; None for XML of another kind.

    Raises
    ------
    UnreadableMessageError
        If the file is damaged before its header ends, or is a message that names no series.
    """
    try:
        with path.open("rb") as file:
            root = ""
            for event, element in ElementTree.iterparse(file, events=("start", "end")):
                root = root or _local(element)
                if root != ROOT:
                    return None
                if event == "end" and _local(element) == "ResponseHeader":
                    return _series_uid(element)
    except (ParseError, DefusedXmlException, ValueError, LookupError, OSError) as error:
        raise _unreadable(error) from None
    raise UnreadableMessageError("a message without a header")


def read_message(path: Path) -> Message:
    """Read the outlined and rated nodules of a file.

    An annotation is a nodule that was drawn as more than a point and has all nine ratings. Small nodules have no ratings,
    or only zeros and blanks, and a single point: they are passed over. A file counts wholly or not at all.

    Raises
    ------
    UnreadableMessageError
        If the file is damaged, or anything in it is not in the published format.
    """
    try:
        root = ElementTree.parse(path).getroot()
        if root is None or _local(root) != ROOT:
            raise UnreadableMessageError(f"not an {ROOT}")
        header = root.find("{*}ResponseHeader")
        if header is None:
            raise UnreadableMessageError("a message without a header")
        drawn = [_drawn(node) for node in root.iterfind("{*}readingSession/{*}unblindedReadNodule")]
        outlined = [(ratings, contours) for ratings, contours in drawn if sum(len(c.points_xy) for c in contours) > 1]
        rated = [(ratings, contours) for ratings, contours in outlined if ratings is not None]
        annotations = tuple(
            Annotation(number, 0, *ratings, contours=contours) for number, (ratings, contours) in enumerate(rated, 1)
        )
        return Message(_series_uid(header), annotations, len(outlined) - len(rated))
    except (ParseError, DefusedXmlException, ValueError, LookupError, OverflowError, OSError) as error:
        raise _unreadable(error) from None


def _drawn(node: Element) -> tuple[list[int] | None, tuple[Contour, ...]]:
    """Ratings (None unless all nine are there) and outlines of one ``unblindedReadNodule``."""
    texts = [_text(node, f"{{*}}characteristics/{{*}}{_XML_NAMES.get(name, name)}") for name in RATING_SCALES]
    # A few small nodules have ratings that are all 0 or blank.
    ratings = [int(text) for text in texts if text not in ("", "0")]
    contours = tuple(_contour(roi) for roi in node.iterfind("{*}roi"))
    return ratings if len(ratings) == len(RATING_SCALES) else None, contours


def _contour(roi: Element) -> Contour:
    """One outline: the slice, whether it bounds a lesion or a hole, and its pixels."""
    z_mm = float(_text(roi, "{*}imageZposition"))
    if not math.isfinite(z_mm):
        raise UnreadableMessageError("a slice position that is no number")
    inclusion = _text(roi, "{*}inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise UnreadableMessageError("an outline that neither includes nor excludes")
    points = [(int(_text(edge, "{*}xCoord")), int(_text(edge, "{*}yCoord"))) for edge in roi.iterfind("{*}edgeMap")]
    if not points:
        raise UnreadableMessageError("an outline without points")
    return Contour(z_mm, np.array(points, dtype=np.int64), inclusion == "TRUE", _text(roi, "{*}imageSOP_UID"))


def _series_uid(header: Element) -> str:
    """Series instance UID of a header, under either of its published spellings."""
    uid = _text(header, "{*}SeriesInstanceUid") or _text(header, "{*}SeriesInstanceUID")
    if not uid:
        raise UnreadableMessageError("a header that names no series")
    return uid


def _text(node: Element, path: str) -> str:
    """Text of a child without surrounding space; empty where it is missing."""
    return (node.findtext(path) or "").strip()


def _local(element: Element) -> str:
    """Name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _content(annotation: Annotation) -> tuple[object, ...]:
    """What an annotation says, in a form that can be sorted and compared."""
    ratings = tuple(int(getattr(annotation, name)) for name in RATING_SCALES)
    outlines = sorted((c.z_mm, c.sop_uid, c.included, c.points_xy.tobytes()) for c in annotation.contours)
    return ratings, outlines


def _unreadable(error: Exception) -> UnreadableMessageError:
    """Keep our own text, and of others the kind alone: theirs may quote the file."""
    return error if isinstance(error, UnreadableMessageError) else UnreadableMessageError(type(error).__name__)
