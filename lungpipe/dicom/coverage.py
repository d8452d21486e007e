"""Where the lung lies in a scan, coarsely: enough to say whether all of it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.volume import PADDING_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.volume import CTVolume

#: Voxels are averaged, or slices left out, up to about this side, mm; noise is averaged away and thin shells vanish.
BLOCK_MM = 4.0
#: Mean HU of a block of aerated lung: air in bowel and airways is darker, everything else brighter.
LUNG_HU = (-950.0, -500.0)
#: Mean HU of a block of the body.
BODY_HU = -300.0
#: A block is inside the body if the body lies in at least so many of the four directions along its rows and columns, and
#: in one along its row. Table pads, blankets and hair have lung's HU, but the body above or below them, or on one side; a
#: lung at the edge of the image has it on three.
ENCLOSED_SIDES = 3
#: A component smaller than this is not lung, ml; as for the lung mask.
MIN_LUNG_ML = 20.0
#: With less air than this share along the edge of what was reconstructed, the patient goes on beyond it.
EDGE_AIR_CUT = 0.5
#: With less than this, the image lies wholly inside the patient, and may show nothing but lung.
EDGE_AIR_INSIDE = 0.2


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is seen of the lung.

    Parameters
    ----------
    lung_ml : float
        Volume of the lung blocks, less than the lung's own because their outermost layer is left out; 0 without lung.
    end_share : float
        Lung area in the first or last slice, the larger, as a share of the largest area in any slice.
    cut_mm2 : float
        Area of lung at the edge of the image or of the reconstructed circle, mm2.
    """

    lung_ml: float
    end_share: float
    cut_mm2: float


def find_lung(volume: CTVolume) -> Coverage:
    """Look for the lung on a grid of about 4 mm.

    Blocks with the HU of lung, without their outermost layer (the skin's half-filled voxels), that the body encloses.

    Parameters
    ----------
    volume : CTVolume
        HU; padding is -1024.
    """
    mean, outside, block_mm = _blocks(volume)
    aerated = (mean > LUNG_HU[0]) & (mean < LUNG_HU[1]) & ~outside
    inner = ndimage.binary_erosion(aerated | outside, border_value=1) & aerated
    edge_air = _edge_air(mean, outside)
    lung = _large(inner & _enclosed(mean > BODY_HU, outside & (edge_air < EDGE_AIR_CUT)), block_mm)
    if not lung.any() and edge_air < EDGE_AIR_INSIDE:
        lung = _large(inner, block_mm)
    area = np.count_nonzero(lung, axis=(1, 2))
    if not area.any():
        return Coverage(0.0, 0.0, 0.0)
    end_share = float(max(area[0], area[-1]) / area.max())
    return Coverage(float(area.sum() * np.prod(block_mm)) / 1000.0, end_share, _cut_mm2(lung, outside, block_mm))


def _blocks(volume: CTVolume) -> tuple[NDArray[np.float32], NDArray[np.bool_], Triple]:
    """Mean HU of each block, shape (z, y, x); where no slice has pixels, shape (y, x); the blocks' sides, mm."""
    hu, spacing = volume.hu, volume.frame.spacing_mm
    kz, ky, kx = (min(n, max(1, round(BLOCK_MM / s))) for n, s in zip(hu.shape, spacing, strict=True))
    ny, nx = hu.shape[1] // ky, hu.shape[2] // kx
    whole = hu[:, : ny * ky, : nx * kx]
    # Padding, and air that a scanner clipped to -1024, is the same in every slice; noise never is.
    empty = whole.max(axis=0) <= PADDING_HU
    outside = empty.reshape(ny, ky, nx, kx).any(axis=(1, 3))
    total = sum(whole[kz // 2 :: kz, y::ky, x::kx].astype(np.int32) for y in range(ky) for x in range(kx))
    mean = np.asarray(total, dtype=np.float32) / np.float32(ky * kx)
    return mean, outside, (kz * spacing[0], ky * spacing[1], kx * spacing[2])


def _enclosed(tissue: NDArray[np.bool_], beyond: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Blocks between parts of the body, where it goes on ``beyond`` (y, x) the circle too, and beside one that is seen."""
    labels, count = ndimage.label(tissue)
    if not count:
        return tissue
    body = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    beside = np.logical_or(*_behind(body, 2))
    body |= beyond
    sides = sum(side.astype(np.int8) for axis in (1, 2) for side in _behind(body, axis))
    return np.asarray((sides >= ENCLOSED_SIDES) & beside)


def _behind(body: NDArray[np.bool_], axis: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Blocks that have the body before them, and after them, along an axis."""
    after = np.flip(np.logical_or.accumulate(np.flip(body, axis), axis=axis), axis)
    return np.logical_or.accumulate(body, axis=axis), after


def _large(mask: NDArray[np.bool_], block_mm: Triple) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) * np.prod(block_mm) / 1000.0 >= MIN_LUNG_ML
    keep[0] = False
    return np.asarray(keep[labels])


def _edge_air(mean: NDArray[np.float32], outside: NDArray[np.bool_]) -> float:
    """Share of air among the blocks next to the edge of the image, or of the reconstructed circle."""
    edge = ~outside & ~ndimage.binary_erosion(~outside)
    return float((mean[:, edge] <= LUNG_HU[0]).mean()) if edge.any() else 1.0


def _cut_mm2(lung: NDArray[np.bool_], outside: NDArray[np.bool_], block_mm: Triple) -> float:
    """Area of the faces between lung and what the image does not show, within slices, mm2."""
    beyond = np.pad(np.broadcast_to(outside, lung.shape), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    dz, dy, dx = block_mm
    across_y = np.count_nonzero(lung & beyond[:, :-2, 1:-1]) + np.count_nonzero(lung & beyond[:, 2:, 1:-1])
    across_x = np.count_nonzero(lung & beyond[:, 1:-1, :-2]) + np.count_nonzero(lung & beyond[:, 1:-1, 2:])
    return float(dz * (dx * across_y + dy * across_x))
