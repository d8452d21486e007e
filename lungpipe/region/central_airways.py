"""Trachea and main bronchi: a chain of dark discs in the upper slices, and what grows from it without a leak.

Arrays here lie as the patient does: the z index grows to the head, y to the back, x to the patient's left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.region.lung_air import FACES_IN_PLANE, ball, grown_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: A section of trachea is darker than this at every voxel, and its darkest quarter, clear of its wall's blur, holds air
#: alone: darker than the second. Lung is not, unless it is emphysema.
SECTION_HU, LUMEN_HU = -650.0, -930.0
#: Its area, mm2, and the least ratio of its axes.
SECTION_MM2, ROUNDNESS = (40.0, 700.0), 0.35
#: What lies around it, up to this far, mm, is tissue: at least this share of it is brighter than :data:`SECTION_HU`.
AROUND_MM, AROUND_SHARE = 4.0, 0.6
#: From slice to slice the middle moves by no more than a constant, mm, and a share of the slices' distance.
SHIFT_MM, SHIFT_SHARE = 3.0, 0.7
#: From slice to slice the area changes by no more than this factor.
AREA_FACTOR = 2.0
#: A chain of sections shorter than this, mm, or than so many slices is no trachea.
MIN_CHAIN_MM, MIN_CHAIN_SLICES = 25.0, 3
#: The trachea starts no lower than this share of the height of the air in the patient, from below.
LOWEST_START = 0.5
#: Growing takes the first of these thresholds, HU, at which no more than so many ml come to the chain.
GROWTH_HU, GROWTH_ML = (-650.0, -700.0, -750.0, -800.0, -850.0, -900.0, -940.0), 45.0
#: Bronchi thinner than about twice this, mm, stay with the lung.
THIN_MM = 2.5
#: Main bronchi reach no further from the chain than this, mm.
REACH_MM = 80.0


@dataclass(frozen=True, slots=True)
class Section:
    """A dark disc of one slice: its number, its middle along (y, x) in mm, and its area."""

    number: int
    y_mm: float
    x_mm: float
    area_mm2: float

    def follows(self, above: Section, slice_mm: float) -> bool:
        """Whether it may be the same tube as a section of the slice above."""
        shift_mm = float(np.hypot(self.y_mm - above.y_mm, self.x_mm - above.x_mm))
        factor = self.area_mm2 / above.area_mm2
        return shift_mm <= SHIFT_MM + SHIFT_SHARE * slice_mm and 1 / AREA_FACTOR <= factor <= AREA_FACTOR


def central_airways(hu: NDArray[np.float32], air: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.bool_]:
    """Lumen of the trachea and the main bronchi.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        On voxels of about 2 mm.
    air : ndarray of bool, shape (z, y, x)
        Air inside the patient.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    ndarray of bool, shape (z, y, x)
        Empty where no trachea is found.
    """
    result = np.zeros(hu.shape, dtype=np.bool_)
    heights = np.flatnonzero(air.any(axis=(1, 2)))
    if not len(heights):
        return result
    labels, count = ndimage.label(air & (hu < SECTION_HU), FACES_IN_PLANE)
    lowest_start = int(heights[0] + LOWEST_START * (heights[-1] - heights[0]))
    chain = _longest_chain(_sections(labels, count, hu, spacing_mm), lowest_start, spacing_mm[0])
    if not chain:
        return result
    chosen = np.zeros(count + 1, dtype=np.bool_)
    chosen[chain] = True
    seed = chosen[labels]
    box = grown_box(seed, REACH_MM, spacing_mm)
    result[box] = _grown(hu[box], air[box], seed[box], spacing_mm)
    return result


def _sections(
    labels: NDArray[np.signedinteger], count: int, hu: NDArray[np.float32], spacing_mm: Triple
) -> list[list[Section]]:
    """Round dark discs wrapped in tissue, slice by slice."""
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    areas_mm2 = np.bincount(labels.ravel(), minlength=count + 1) * pixel_mm2
    boxes = ndimage.find_objects(labels)
    margin = [int(np.ceil(AROUND_MM / s)) for s in spacing_mm[1:]]
    near = ball(AROUND_MM, (2 * AROUND_MM, *spacing_mm[1:]))[0]
    found: list[list[Section]] = [[] for _ in range(len(hu))]
    for number in np.flatnonzero((areas_mm2 >= SECTION_MM2[0]) & (areas_mm2 <= SECTION_MM2[1])).tolist():
        if number == 0:
            continue
        z, rows, columns = boxes[number - 1]
        top, left = max(0, rows.start - margin[0]), max(0, columns.start - margin[1])
        window = (slice(top, rows.stop + margin[0]), slice(left, columns.stop + margin[1]))
        values, inside = hu[z.start][window], labels[z.start][window] == number
        if float(np.quantile(values[inside], 0.25)) > LUMEN_HU or _roundness(inside, spacing_mm) < ROUNDNESS:
            continue
        around = ndimage.binary_dilation(inside, near) & ~inside
        if float(np.mean(values[around] > SECTION_HU)) < AROUND_SHARE:
            continue
        y, x = np.nonzero(inside)
        middle = ((float(y.mean()) + top) * spacing_mm[1], (float(x.mean()) + left) * spacing_mm[2])
        found[z.start].append(Section(number, *middle, float(areas_mm2[number])))
    return found


def _roundness(inside: NDArray[np.bool_], spacing_mm: Triple) -> float:
    """Short over long axis of an area, by its second moments."""
    points = np.argwhere(inside) * spacing_mm[1:]
    spread = np.linalg.eigvalsh(np.cov(points.T) + np.diag(np.square(spacing_mm[1:])) / 12)
    return float(np.sqrt(spread[0] / spread[1]))


def _longest_chain(sections: list[list[Section]], lowest_start: int, slice_mm: float) -> list[int]:
    """Numbers of the longest chain of sections that starts no lower than a slice; empty if none is long enough."""
    best: dict[int, tuple[int, int]] = {}  # by number: sections up to it, and the number above
    above: list[Section] = []
    for z in range(len(sections) - 1, -1, -1):
        for one in sections[z]:
            joined = [
                (best[other.number][0] + 1, other.number)
                for other in above
                if other.number in best and one.follows(other, slice_mm)
            ]
            if joined:
                best[one.number] = max(joined)
            elif z >= lowest_start:
                best[one.number] = (1, 0)
        above = sections[z]
    last = max(best, key=lambda number: best[number][0], default=0)
    if not last or best[last][0] < max(MIN_CHAIN_SLICES, MIN_CHAIN_MM / slice_mm):
        return []
    chain = []
    while last:
        chain.append(last)
        last = best[last][1]
    return chain


def _grown(
    hu: NDArray[np.float32], air: NDArray[np.bool_], seed: NDArray[np.bool_], spacing_mm: Triple
) -> NDArray[np.bool_]:
    """What is joined to the seed by more than a thin bronchus, at the first threshold that does not leak."""
    most = np.count_nonzero(seed) + GROWTH_ML * 1000.0 / float(np.prod(spacing_mm))
    thin = ball(max(THIN_MM, min(spacing_mm)), spacing_mm)
    for threshold_hu in GROWTH_HU:
        dark = (air & (hu < threshold_hu)) | seed
        labels, count = ndimage.label(ndimage.binary_erosion(dark, thin, border_value=1) | seed)
        chosen = np.zeros(count + 1, dtype=np.bool_)
        chosen[labels[seed]] = True
        chosen[0] = False
        kept = chosen[labels]
        if np.count_nonzero(kept) > most:
            continue
        grown = ndimage.binary_dilation(kept, thin) & dark
        if np.count_nonzero(grown) <= most:
            return np.asarray(grown)
    return seed
