"""Right and left lung: which piece is which, a cut where they touch, and the closing that keeps what lies in them.

Arrays here lie as the patient does: the z index grows to the head, y to the back, x to the patient's left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from lungpipe.region.lung_air import AIR_HU, ONLY_PADDING_HU, ball, grown_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

RIGHT, LEFT = 1, 2
#: Dents in a lung that a ball of this radius, mm, does not fit into are closed.
CLOSING_MM = 12.0
#: Two pieces are the two lungs if the smaller has at least this share of the larger's volume and lies beside it.
PAIR_SHARE = 0.1
#: A piece with a smaller share of the largest is held to more: it must not hold more gas than that (share of voxels, and
#: how dark they are), nor lie so near to outside air, mm, as what is caught under the back or an arm.
SMALL_SHARE, GAS_SHARE, GAS_HU, SKIN_MM = 0.2, 0.2, -960.0, 5.0
#: Lungs that touch part at the first of these depths, mm, that leaves two cores.
PARTING_MM = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0)
#: The cut runs within this distance of the middle between the cores, mm.
CUT_REACH_MM = 45.0


def label_sides(
    hu: NDArray[np.float32],
    pieces: NDArray[np.int32],
    large: list[int],
    outside: NDArray[np.bool_],
    airways: NDArray[np.bool_],
    spacing_mm: Triple,
) -> NDArray[np.uint8]:
    """Label air of the right lung 1 and of the left lung 2.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
    pieces : ndarray of int32, shape (z, y, x)
        Components of air.
    large : list of int
        Numbers of those that are lung, the largest first; not empty.
    outside, airways : ndarray of bool, shape (z, y, x)
        Air around the patient; trachea and main bronchi, empty where they were not found.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
    """
    trachea_x = float(np.mean(np.nonzero(airways)[2])) if airways.any() else None
    boxes = _boxes(pieces)
    inside = {n: pieces[boxes[n - 1]] == n for n in large}
    sizes = {n: int(np.count_nonzero(inside[n])) for n in large}
    kept = [
        n
        for n in large
        if sizes[n] >= SMALL_SHARE * sizes[large[0]] or _is_lung_too(hu, pieces, n, outside, spacing_mm)
    ]
    spans = {n: _span(inside[n], boxes[n - 1][2].start) for n in kept}
    first = kept[0]
    middle = _between(spans, sizes, first)
    sides = np.zeros(pieces.shape, dtype=np.uint8)
    if middle is None:
        cut = _parted(inside[first], spacing_mm)
        if cut is not None:
            sides[boxes[first - 1]][inside[first]] = cut[inside[first]]
            middle = boxes[first - 1][2].start + _middle_of(cut)
            kept = kept[1:]
    if middle is None:
        box = boxes[first - 1]
        is_right = trachea_x > spans[first][1] if trachea_x is not None else _lies_right(hu, outside, box, spans[first])
        for n in kept:
            sides[boxes[n - 1]][inside[n]] = RIGHT if is_right else LEFT
        return sides
    for n in kept:
        sides[boxes[n - 1]][inside[n]] = RIGHT if spans[n][1] < middle else LEFT
    return sides


def _is_lung_too(
    hu: NDArray[np.float32], pieces: NDArray[np.int32], number: int, outside: NDArray[np.bool_], spacing_mm: Triple
) -> bool:
    box = grown_box(pieces == number, SKIN_MM, spacing_mm)
    inside = pieces[box] == number
    near = ndimage.binary_dilation(inside, ball(max(SKIN_MM, 1.5 * max(spacing_mm[1:])), spacing_mm))
    if np.any(near & outside[box] & (hu[box] > ONLY_PADDING_HU)):
        return False
    return bool(np.mean(hu[box][inside] < GAS_HU) < GAS_SHARE)


def _boxes(labels: NDArray[np.int32]) -> list[tuple[slice, slice, slice]]:
    return [(z, y, x) for z, y, x in ndimage.find_objects(labels)]


def _span(inside: NDArray[np.bool_], start: int) -> tuple[float, float, float]:
    """Where along x a piece lies: its tenth, fiftieth and ninetieth percentile."""
    share = np.cumsum(inside.sum(axis=(0, 1))) / np.count_nonzero(inside)
    low, middle, high = (float(np.searchsorted(share, p)) + start for p in (0.1, 0.5, 0.9))
    return low, middle, high


def _between(spans: dict[int, tuple[float, float, float]], sizes: dict[int, int], first: int) -> float | None:
    """Where along x the middle lies between the largest piece and the largest one beside it; None if there is none."""
    for n, (low, _, high) in spans.items():
        if n == first or sizes[n] < PAIR_SHARE * sizes[first]:
            continue
        if high < spans[first][0]:
            return (high + spans[first][0]) / 2
        if low > spans[first][2]:
            return (low + spans[first][2]) / 2
    return None


def _middle_of(cut: NDArray[np.uint8]) -> float:
    right, left = (_span(cut == side, 0) for side in (RIGHT, LEFT))
    return (right[2] + left[0]) / 2


def _parted(inside: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.uint8] | None:
    """Part a piece that is both lungs at their narrowest bridge; None if no bridge parts it into two beside each other.

    The cores are what is left after the smallest erosion that parts them; a watershed of the depth grows them back
    (Beucher and Meyer 1993, doi:10.1201/9781482277234-12).
    """
    padded = np.pad(inside, [(0, 0), (0, 0), (1, 1)])  # lung that the image cuts above or below is not thin there
    depth = ndimage.distance_transform_edt(padded, sampling=spacing_mm)[:, :, 1:-1]
    total = np.count_nonzero(inside)
    for depth_mm in PARTING_MM:
        labels, count = ndimage.label(depth > depth_mm)
        if count < 2:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        largest = np.argsort(-sizes, kind="stable")[:2] + 1
        if sizes[largest[1] - 1] < PAIR_SHARE * total:
            continue
        spans = [_span(labels == n, 0) for n in largest]
        if spans[0][2] < spans[1][0]:
            right, left = largest
        elif spans[1][2] < spans[0][0]:
            left, right = largest
        else:
            continue
        cores = np.zeros(inside.shape, dtype=np.int32)
        cores[labels == right], cores[labels == left] = RIGHT, LEFT
        return _grown_back(inside, depth, cores, spacing_mm)
    return None


def _grown_back(
    inside: NDArray[np.bool_], depth: NDArray[np.float64], cores: NDArray[np.int32], spacing_mm: Triple
) -> NDArray[np.uint8]:
    middle = _middle_of(cores.astype(np.uint8))
    reach = CUT_REACH_MM / spacing_mm[2]
    low = max(0, int(middle - reach))
    high = min(inside.shape[2], int(np.ceil(middle + reach)) + 1)
    result = np.zeros(inside.shape, dtype=np.uint8)
    result[:, :, :low], result[:, :, high:] = RIGHT, LEFT
    slab = (slice(None), slice(None), slice(low, high))
    markers = cores[slab]
    # What leaves the slab to one side belongs to that side.
    markers[:, :, 0][inside[slab][:, :, 0]] = RIGHT
    markers[:, :, -1][inside[slab][:, :, -1]] = LEFT
    result[slab] = watershed(-depth[slab], markers, mask=inside[slab])
    rest = inside & (result == 0)
    if rest.any():  # no path within the slab reaches a core
        result[rest & (np.arange(inside.shape[2]) < middle)] = RIGHT
        result[rest & (result == 0)] = LEFT
    result[~inside] = 0
    return result


def _lies_right(
    hu: NDArray[np.float32],
    outside: NDArray[np.bool_],
    box: tuple[slice, slice, slice],
    span: tuple[float, float, float],
) -> bool:
    """Whether a single lung is the right one: outside air is nearer on its own side, and the middle holds more tissue."""
    core = tuple(slice(p.start + (p.stop - p.start) // 4, p.stop - (p.stop - p.start) // 4) for p in box[:2])
    air = np.flatnonzero(outside[core].mean(axis=(0, 1)) > 0.5)
    to_right, to_left = air[air < span[1]], air[air > span[1]]
    if len(to_right) or len(to_left):
        gap_right = span[1] - to_right.max() if len(to_right) else np.inf
        gap_left = to_left.min() - span[1] if len(to_left) else np.inf
        return bool(gap_right <= gap_left)
    tissue = (hu[box[0]] >= AIR_HU).sum(axis=(0, 1))
    return bool(tissue @ (np.arange(len(tissue)) - span[1]) >= 0)


def closed_sides(sides: NDArray[np.uint8], barred: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.uint8]:
    """Close each lung over vessels, nodules at the pleura and holes, apart from what is barred and the other lung.

    Parameters
    ----------
    sides : ndarray of uint8, shape (z, y, x)
        1 right, 2 left.
    barred : ndarray of bool, shape (z, y, x)
        What is no lung for certain.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        Tissue that both would close over is left to neither: it lies between them.
    """
    closed = [_closed(sides == side, spacing_mm) if (sides == side).any() else sides == side for side in (RIGHT, LEFT)]
    both = closed[0] & closed[1]
    result = sides.copy()
    for side, inside in zip((RIGHT, LEFT), closed, strict=True):
        result[inside & ~both & ~barred & (sides == 0)] = side
    return result


def _closed(lung: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.bool_]:
    """Closing with a ball by two distance transforms, and holes; beyond the image the lung goes on as it ends there."""
    box = grown_box(lung, CLOSING_MM, spacing_mm)
    margin = [int(np.ceil(CLOSING_MM / s)) + 1 for s in spacing_mm]
    short = [
        (m if part.start == 0 else 0, m if part.stop >= n else 0)
        for m, part, n in zip(margin, box, lung.shape, strict=True)
    ]
    inside = np.pad(lung[box], short, mode="edge")
    dilated = ndimage.distance_transform_edt(~inside, sampling=spacing_mm) <= CLOSING_MM
    if dilated.all():
        return np.ones(lung.shape, dtype=np.bool_)
    closed = inside | (ndimage.distance_transform_edt(dilated, sampling=spacing_mm) > CLOSING_MM)
    closed = closed[tuple(slice(a, n - b) for (a, b), n in zip(short, closed.shape, strict=True))]
    labels, count = ndimage.label(~closed)
    is_open = np.zeros(count + 1, dtype=np.bool_)
    for axis in range(3):
        for end in (0, -1):
            is_open[np.take(labels, end, axis=axis).ravel()] = True
    result = np.zeros(lung.shape, dtype=np.bool_)
    result[box] = closed | ~is_open[labels]
    return result
