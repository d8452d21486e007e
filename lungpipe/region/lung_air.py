"""Air of a chest CT told apart: outside air, gas and foam that are no lung, and candidates for lung.

Arrays here lie as the patient does: the z index grows to the head, y to the back, x to the patient's left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Lung lies below this, soft tissue above.
AIR_HU = -400.0
#: An area of a slice that reaches the image's edge is outside air if this share of it is so dark (the rest is blur, cloth
#: and foam); lung is not, unless it is emphysema.
OUTSIDE_AIR_HU, OUTSIDE_SHARE = -935.0, 0.4
#: A component is gas if its middle value is darker than the first; a lung full of emphysema may be, so one of at least so
#: many ml that the image does not cut is gas only if it is darker than the last.
GAS_HU, BOWEL_ML, LARGE_GAS_HU = -940.0, 300.0, -980.0
#: At or below this a block of voxels holds nothing but scanner padding.
ONLY_PADDING_HU = -1023.0
#: Components smaller than this are not lung by themselves.
MIN_LUNG_ML = 20.0
#: Sheets of tissue up to twice this thick, mm, such as a table's shell, do not count as body.
SHELL_MM = 2.5
#: Share of a component's rim that must be body where it is wrapped in tissue.
BODY_SHARE = 0.5
#: Neighbours within an axial slice.
FACES_IN_PLANE = ndimage.generate_binary_structure(3, 1).copy()
FACES_IN_PLANE[[0, 2]] = False


def ball(radius_mm: float, spacing_mm: Triple) -> NDArray[np.bool_]:
    """Voxels (z, y, x) whose centres lie within a radius, mm; a single voxel where the spacing is larger."""
    reach = [int(radius_mm / s + 1e-6) for s in spacing_mm]
    z, y, x = np.meshgrid(
        *[np.arange(-n, n + 1) * s for n, s in zip(reach, spacing_mm, strict=True)], indexing="ij", sparse=True
    )
    return np.asarray(z**2 + y**2 + x**2 <= radius_mm**2 + 1e-6)


def outside_air(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Air around the patient, slice by slice, so that an open mouth does not join it to the lungs.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)

    Returns
    -------
    ndarray of bool, shape (z, y, x)
        Areas of air in an axial slice that touch its edge, or padding, and are as dark as air alone; lung that a narrow
        image cuts is not. Padding and the blocks beside it count too.
    """
    padding = _padding(hu)
    labels, count = ndimage.label((hu < AIR_HU) & ~padding, FACES_IN_PLANE)
    beside = _at_edge(labels, count)
    beside[labels[ndimage.binary_dilation(padding, FACES_IN_PLANE)]] = True
    beside[0] = False
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count + 1)
    dark = np.bincount(flat[hu.ravel() < OUTSIDE_AIR_HU], minlength=count + 1) >= OUTSIDE_SHARE * sizes
    return np.asarray((beside & dark)[labels] | padding)


def _padding(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Blocks of padding that reach the image's edge within a slice, and those beside them, which may be half padding."""
    only = hu <= ONLY_PADDING_HU
    if not only.any():
        return only
    labels, count = ndimage.label(only, FACES_IN_PLANE)
    square = np.ones((1, 3, 3), dtype=np.bool_)
    return np.asarray(ndimage.binary_dilation(_at_edge(labels, count)[labels], square))


def _at_edge(labels: NDArray[np.signedinteger], count: int) -> NDArray[np.bool_]:
    """Which labels touch the edge of an axial slice."""
    touching = np.zeros(count + 1, dtype=np.bool_)
    for side in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        touching[side.ravel()] = True
    touching[0] = False
    return touching


def lung_pieces(
    hu: NDArray[np.float32], air: NDArray[np.bool_], spacing_mm: Triple
) -> tuple[NDArray[np.int32], list[int], float]:
    """Components of air that look like lung.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
    air : ndarray of bool, shape (z, y, x)
        Without outside air and large airways.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    labels : ndarray of int32, shape (z, y, x)
        Components, numbered from 1.
    large : list of int
        Numbers of those that are lung, the largest first. Smaller pieces become lung if a lung closes over them.
    largest_ml : float
        Volume of the largest component of any kind, ml.
    """
    found, count = ndimage.label(air)
    labels = np.asarray(found, dtype=np.int32)
    size_ml = np.bincount(labels.ravel(), minlength=count + 1) * float(np.prod(spacing_mm)) / 1000.0
    size_ml[0] = 0.0
    order = np.argsort(-size_ml, kind="stable")
    boxes = ndimage.find_objects(labels)
    is_large = (size_ml >= BOWEL_ML) & ~_at_edge(labels, count)
    large: list[int] = []
    for number in (int(n) for n in order if size_ml[n] >= MIN_LUNG_ML):
        box = boxes[number - 1]
        inside = labels[box] == number
        if float(np.median(hu[box][inside])) < (LARGE_GAS_HU if is_large[number] else GAS_HU):
            continue
        if _wrapped_in_body(hu, labels, number, spacing_mm):
            large.append(number)
    return labels, large, float(size_ml.max(initial=0.0))


def _wrapped_in_body(hu: NDArray[np.float32], labels: NDArray[np.int32], number: int, spacing_mm: Triple) -> bool:
    """Whether the tissue around a component is thick: foam in a table has a shell around it, lung has a chest wall."""
    box = grown_box(labels == number, 4 * SHELL_MM, spacing_mm)
    inside = labels[box] == number
    tissue = hu[box] >= AIR_HU
    rim = ndimage.binary_dilation(inside, ball(1.5 * max(spacing_mm[1:]), spacing_mm)) & tissue
    if not rim.any():
        return True
    # The border of the image is no end of the body: a cropped chest wall is thick.
    body = ndimage.binary_dilation(
        ndimage.binary_erosion(tissue, ball(SHELL_MM, spacing_mm), border_value=1), ball(1.5 * SHELL_MM, spacing_mm)
    )
    return bool(np.count_nonzero(rim & body) >= BODY_SHARE * np.count_nonzero(rim))


def grown_box(inside: NDArray[np.bool_], margin_mm: float, spacing_mm: Triple) -> tuple[slice, slice, slice]:
    """Box of a mask (z, y, x) that is not empty, and a margin in mm and one voxel, as far as the array reaches."""
    box = []
    for axis in range(3):
        held = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(margin_mm / spacing_mm[axis])) + 1
        box.append(slice(max(0, int(held[0]) - margin), int(held[-1]) + margin + 1))
    return box[0], box[1], box[2]
