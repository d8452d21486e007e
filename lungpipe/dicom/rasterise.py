"""Contours to a mask: voxel centres inside closed planar contours, on any grid."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry

#: Farthest that a point may lie from its slice's plane, as a fraction of the distance between slices.
PLANE_TOLERANCE = 0.1
#: A voxel centre this close to an edge, in voxels, lies on it: far above rounding, far below what was drawn.
EDGE_TOLERANCE = 1e-6
#: Coordinates beyond this many mm are damage; they would overflow the arithmetic.
FARTHEST_MM = 1e6
#: Crossings of edges and rows held at once, so that memory does not grow with a contour's points.
CROSSINGS_AT_ONCE = 1 << 20

#: Contour geometric types that enclose an area (DICOM PS3.3 C.8.8.6.1, C.8.8.6.3).
CLOSED = "CLOSED_PLANAR"
CLOSED_XOR = "CLOSEDPLANAR_XOR"

#: Why a contour was not used.
UNUSED = {
    "malformed": "its coordinates are not a list of numbers, three a point",
    "other_image": "it was drawn on an image that is not of this series",
    "not_closed": "it is a point or an open line and encloses nothing",
    "not_finite": "a coordinate is not finite or absurdly large",
    "degenerate": "its points lie on one line",
    "outside": "it lies outside the volume",
    "off_plane": "it is not parallel to the slices or lies between two",
    "duplicate": "it was stored twice",
}
#: Why a contour that was used needs a look.
WARNED = {
    "count_differs": "it holds another number of points than it announces",
    "partly_outside": "it leaves the volume and was cut off",
    "overlapping": "it crosses another contour of its slice; what both enclose was left out",
    "no_voxel": "it encloses no voxel centre",
}


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """One contour of an ROI.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        LPS points (x, y, z), mm; the last is joined to the first.
    kind : str
        Contour geometric type.
    sop_uids : tuple of str
        Images that it was drawn on; may be empty.
    fault : str
        ``"malformed"`` (it then has no points), ``"count_differs"`` or empty.
    """

    points_mm: NDArray[np.float64]
    kind: str = CLOSED
    sop_uids: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ContourReport:
    """What became of the contours of one ROI.

    Parameters
    ----------
    used : int
        Contours in the mask.
    unused : dict of str to int
        Contours left out, by key of :data:`UNUSED`.
    warned : dict of str to int
        Contours used that need a look, by key of :data:`WARNED`.
    gaps : tuple of int
        Slices without a contour between slices that have one; they are left empty.
    """

    used: int
    unused: dict[str, int] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    gaps: tuple[int, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """What needs a look, as codes of a nodule (``contours_off_plane``, ``contours_gap``), sorted."""
        reasons = {*self.unused, *self.warned, *(("gap",) if self.gaps else ())}
        return tuple(sorted(f"contours_{reason}" for reason in reasons))


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A contour on its slice: points (row, column), shape (n, 2), and the half-open box of centres it can reach."""

    slice: int
    points: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]


def rasterise(contours: Iterable[Contour], geometry: Geometry) -> tuple[Mask, ContourReport]:
    """Mark the voxels whose centres lie inside the contours.

    Inside is decided by the even-odd rule over all contours of a slice, so that an inner contour is a hole, as DICOM
    says of ``CLOSEDPLANAR_XOR`` and as ``CLOSED_PLANAR`` is commonly meant; the channel of a keyhole contour is passed
    twice and cancels. A centre on an edge is inside if the region continues from there to the higher column, or, on an
    edge along a row, to the higher row. Regions that share an edge thus share no voxel and leave none out. (PS3.3
    C.8.8.6.3 counts every edge as inside, by which they would overlap.)

    Parameters
    ----------
    contours : iterable of Contour
    geometry : Geometry
        Grid of the image; it may be oblique.

    Returns
    -------
    mask : Mask
        On the box that the contours reach; one empty voxel if there are none.
    report : ContourReport
    """
    unused: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    placed: list[_Placed] = []
    seen: set[bytes] = set()
    for contour in contours:
        found = _place(contour, geometry)
        if isinstance(found, _Placed) and contour.kind == CLOSED:
            outline = _outline(found)
            found = "duplicate" if outline in seen else found
            seen.add(outline)
        if isinstance(found, str):
            unused[found] += 1
            continue
        placed.append(found)
        warned["count_differs"] += contour.fault == "count_differs"
        warned["partly_outside"] += bool(np.any(found.points < -0.5) or np.any(found.points > _last(geometry) + 0.5))
    slices = sorted({c.slice for c in placed})
    gaps = tuple(sorted(set(range(slices[0], slices[-1])) - set(slices))) if slices else ()
    mask = _fill(placed, geometry, warned)
    return mask, ContourReport(len(placed), dict(unused), dict(+warned), gaps)


def _place(contour: Contour, geometry: Geometry) -> _Placed | str:
    """Find a contour's slice, or the reason why it has none."""
    points_mm = contour.points_mm
    if contour.fault == "malformed":
        return "malformed"
    if contour.kind not in (CLOSED, CLOSED_XOR):
        return "not_closed"
    if not (np.abs(points_mm) < FARTHEST_MM).all():
        return "not_finite"
    if not len(points_mm):
        return "degenerate"
    index = geometry.to_index(points_mm)
    near = np.rint(index)
    index = np.where(np.abs(index - near) < EDGE_TOLERANCE, near, index)
    depth, points = index[:, 0], index[:, 1:]
    if _on_one_line(points):
        return "off_plane" if np.ptp(depth) > PLANE_TOLERANCE else "degenerate"
    k = round(float(depth.mean()))
    if depth.max() < -0.5 or depth.min() > geometry.shape[0] - 0.5:
        return "outside"
    if np.abs(depth - k).max() > PLANE_TOLERANCE:
        return "off_plane"
    if np.any(points.max(axis=0) < -0.5) or np.any(points.min(axis=0) > _last(geometry) + 0.5):
        return "outside"
    size = np.asarray(geometry.shape[1:])
    low = np.clip(_first_centre(points.min(axis=0)), 0, size)
    high = np.clip(_first_centre(points.max(axis=0)), 0, size)
    return _Placed(k, points, low, high)


def _last(geometry: Geometry) -> NDArray[np.int64]:
    """Index of the last (row, column)."""
    return np.asarray(geometry.shape[1:]) - 1


def _first_centre(at: NDArray[np.float64]) -> NDArray[np.int64]:
    """First voxel centre that is not before a coordinate."""
    return np.ceil(at - EDGE_TOLERANCE).astype(np.int64)


def _on_one_line(points: NDArray[np.float64]) -> bool:
    offset = points - points[0]
    length = np.hypot(offset[:, 0], offset[:, 1])
    far = offset[int(length.argmax())]
    width = np.abs(offset[:, 0] * far[1] - offset[:, 1] * far[0])
    return bool(width.max() <= EDGE_TOLERANCE * length.max())


def _edges(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges (row, column, row, column), shape (n, 4), each from its lower to its higher end.

    An edge that two contours share, or one passes twice, thus gives the same crossings to the last bit.
    """
    ends = np.roll(points, -1, axis=0)
    backwards = (ends[:, 0] < points[:, 0]) | ((ends[:, 0] == points[:, 0]) & (ends[:, 1] < points[:, 1]))
    return np.where(backwards[:, None], np.hstack([ends, points]), np.hstack([points, ends]))


def _outline(contour: _Placed) -> bytes:
    """Name a contour by its slice and edges, wherever it begins and whichever way it turns."""
    edges = _edges(contour.points)
    edges = np.unique(edges[np.any(edges[:, :2] != edges[:, 2:], axis=1)], axis=0)
    return hashlib.sha256(contour.slice.to_bytes(8, "little") + edges.tobytes()).digest()


def _fill(placed: list[_Placed], geometry: Geometry, warned: Counter[str]) -> Mask:
    """XOR the contours into one mask, larger ones first, so that each lies wholly inside or outside what was there."""
    if not placed:
        return Mask(np.zeros((1, 1, 1), dtype=np.bool_), geometry)
    start = np.array([min(c.slice for c in placed), *np.min([c.low for c in placed], axis=0)])
    start = np.minimum(start, np.asarray(geometry.shape) - 1)
    stop = np.array([max(c.slice for c in placed) + 1, *np.max([c.high for c in placed], axis=0)])
    voxels = np.zeros(np.maximum(stop - start, 1), dtype=np.bool_)
    for contour in sorted(placed, key=lambda c: -float(np.prod(np.ptp(c.points, axis=0)))):
        inside = _inside(contour)
        y, x = contour.low - start[1:]
        target = voxels[contour.slice - start[0], y : y + inside.shape[0], x : x + inside.shape[1]]
        size, common = int(np.count_nonzero(inside)), int(np.count_nonzero(inside & target))
        warned["no_voxel"] += size == 0
        warned["overlapping"] += 0 < common < size
        target ^= inside
    z, y, x = start.tolist()
    return Mask(voxels, geometry, (z, y, x))


def _inside(contour: _Placed) -> NDArray[np.bool_]:
    """Voxel centres inside one contour by the even-odd rule, on the contour's box (row, column)."""
    height, width = (contour.high - contour.low).tolist()
    parity = np.zeros(height * (width + 1), dtype=np.bool_)
    for row, at in _crossings(contour):
        column = np.clip(_first_centre(at) - contour.low[1], 0, width)
        cell = (row - contour.low[0]) * (width + 1) + column
        parity ^= (np.bincount(cell, minlength=parity.size) & 1).astype(np.bool_)
    return np.logical_xor.accumulate(parity.reshape(height, width + 1), axis=1)[:, :width]


def _crossings(contour: _Placed) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Rows of the contour's box, and the columns where edges cross them; an edge holds its lower end only."""
    edges = _edges(contour.points)
    first = np.clip(np.ceil(edges[:, 0]).astype(np.int64), contour.low[0], contour.high[0])
    rows = np.clip(np.ceil(edges[:, 2]).astype(np.int64), contour.low[0], contour.high[0]) - first
    crossing = rows > 0
    edges, first, rows = edges[crossing], first[crossing], rows[crossing]
    total = np.cumsum(rows)
    begin = 0
    while begin < len(edges):
        done = total[begin] - rows[begin]
        end = max(begin + 1, int(np.searchsorted(total, done + CROSSINGS_AT_ONCE, side="right")))
        part = slice(begin, end)
        edge = np.repeat(np.arange(begin, end), rows[part])
        row = np.arange(edge.size) - np.repeat(total[part] - rows[part] - done, rows[part]) + first[edge]
        y0, x0, y1, x1 = edges[edge].T
        yield row, x0 + (row - y0) * (x1 - x0) / (y1 - y0)
        begin = end
