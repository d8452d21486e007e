"""Group the images of a series into stacks, in order of position, without ever mixing two."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.dicom.quality import POSITION_ERROR_MM, check_headers, kind_code
from lungpipe.dicom.series import Header, Series
from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from lungpipe.dicom.source import Source

#: Images whose direction cosines differ by more than this are not parallel.
ORIENTATION_TOLERANCE = 5e-3

Twin = tuple["Source", "Source", str]


def assemble(headers: Sequence[Header]) -> list[Series]:
    """Make the stacks of one series, the largest first.

    Images are divided by orientation; localizers, screen shots and dose sheets are set apart. A stack with several images
    at its positions is divided by acquisition where that leaves one at each.

    Parameters
    ----------
    headers : sequence of Header
        All images of one series of one patient.

    Returns
    -------
    list of Series
        With quality codes of the headers; twins (two images in one place) keep their codes open, see
        :func:`lungpipe.dicom.twins.settle`.
    """
    kinds: dict[str, list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: h.source):
        kinds[kind_code(header)].append(header)
    groups = _by_orientation(kinds.pop("", []))
    stacks: list[tuple[list[Header], str]] = []
    for group in groups:
        acquired = _by_acquisition(group)
        reason = "orientation" if len(groups) > 1 else "acquisition" if len(acquired) > 1 else ""
        stacks += [(part, reason) for part in acquired]
    stacks.sort(key=lambda stack: (-len(stack[0]), stack[0][0].source))
    stacks += [(kinds[kind], "kind" if len(kinds) > 1 or groups else "") for kind in sorted(kinds)]
    return [_stack(group, number, reason) for number, (group, reason) in enumerate(stacks, start=1)]


def _by_orientation(images: list[Header]) -> list[list[Header]]:
    """Groups of parallel images; those without orientation make one."""
    groups: list[list[Header]] = []
    for image in images:
        group = next((g for g in groups if _parallel(g[0].orientation, image.orientation)), None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)
    return groups


def _parallel(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= ORIENTATION_TOLERANCE


def _by_acquisition(group: list[Header]) -> list[list[Header]]:
    """The group's acquisitions if they are several volumes of one place, else the group as it is."""
    parts: dict[str, list[Header]] = defaultdict(list)
    for header in group:
        parts[header.acquisition].append(header)
    if len(parts) < 2 or not _shares_places(group) or any(len(p) < 2 or _shares_places(p) for p in parts.values()):
        return [group]
    return list(parts.values())


def _shares_places(group: Iterable[Header]) -> bool:
    """Whether two images of different instances lie in the same place."""
    places = {h.sop_uid: h.position_mm for h in group}
    known = [tuple(round(v, 2) for v in place) for place in places.values() if place is not None]
    return len(set(known)) < len(known)


def _stack(group: list[Header], number: int, split_by: str) -> Series:
    ordered, twins = _order(group)
    first = ordered[0]
    geometry = stack_geometry(ordered)
    return Series(
        patient_id=first.patient_id,
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        modality=first.modality,
        files=tuple(h.source for h in ordered),
        sop_uids=tuple(h.sop_uid.partition("#")[0] for h in ordered),
        headers=tuple(ordered),
        codes=check_headers(ordered, geometry, split_by),
        frame_of_reference_uid=first.frame_of_reference_uid,
        geometry=geometry,
        scanner={**dict(first.scanner), "transfer_syntax": first.transfer_syntax},
        simulated=any("simulated" in h.marks for h in ordered),
        stack=number,
        split_by=split_by,
        twins=twins,
    )


def _order(group: list[Header]) -> tuple[list[Header], tuple[Twin, ...]]:
    """Images by position along the normal, one in each place, and the pairs of which one was left out."""
    twins: list[Twin] = []
    once: dict[str, Header] = {}
    for header in sorted(group, key=lambda h: h.source):
        first = once.setdefault(header.sop_uid, header)
        if first is not header:
            twins.append((first.source, header.source, "sop"))
    normal = normal_of(group[0])
    if normal is None or any(h.position_mm is None for h in once.values()):
        return sorted(once.values(), key=lambda h: h.source), tuple(twins)
    depth = {name: float(np.dot(normal, h.position_mm or ())) for name, h in once.items()}
    ordered = sorted(once.values(), key=lambda h: (depth[h.sop_uid], h.sop_uid))
    kept = ordered[:1]
    for header in ordered[1:]:
        if depth[header.sop_uid] - depth[kept[-1].sop_uid] < POSITION_ERROR_MM:
            twins.append((kept[-1].source, header.source, "position"))
        else:
            kept.append(header)
    return kept, tuple(twins)


def normal_of(header: Header) -> NDArray[np.float64] | None:
    """Unit normal of an image's plane, LPS; None where the orientation is missing or no pair of unit vectors."""
    if header.orientation is None:
        return None
    row, column = np.asarray(header.orientation[:3]), np.asarray(header.orientation[3:])
    if max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) > 1e-3:
        return None
    return np.asarray(np.cross(row, column))


def stack_geometry(ordered: Sequence[Header]) -> Geometry | None:
    """Grid of a stack of slices, DICOM PS3.3 C.7.6.2.1.1; None where the headers do not define one."""
    first, last = ordered[0], ordered[-1]
    normal = normal_of(first)
    if normal is None or first.orientation is None or first.position_mm is None or first.pixel_spacing_mm is None:
        return None
    if len(ordered) < 2 or last.position_mm is None or any(h.position_mm is None for h in ordered):
        return None
    through_mm = np.subtract(last.position_mm, first.position_mm) @ normal
    matrix = np.stack([first.orientation[:3], first.orientation[3:], normal], axis=1)
    spacing_y_mm, spacing_x_mm = first.pixel_spacing_mm
    x, y, z = first.position_mm
    try:
        return Geometry(
            (len(ordered), *first.size),
            (round(float(through_mm) / (len(ordered) - 1), 9), spacing_y_mm, spacing_x_mm),
            (x, y, z),
            tuple(matrix.ravel().tolist()),
        )
    except GeometryError:
        return None
