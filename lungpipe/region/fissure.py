"""The fissure near a nodule, where the scan shows one: a thin sheet a little brighter than lung."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.region.ridges import curvatures, sheetness
from lungpipe.region.vessels import ALL_NEIGHBOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.region.isotropic import Isotropic

#: Standard deviation of the Gaussian under which sheets are looked for, mm.
SCALE_MM = 1.2
#: Curvature (HU, normalised by the scale) at which a sheet stands out of the lung's noise.
CONTRAST_HU = 25.0
#: Sheetness, 0 to 1, of a fissure's voxels.
SHEET = 0.45
#: A fissure is no brighter than this; vessels and walls are.
BRIGHTEST_HU = -500.0
#: It is looked for this far from vessels, nodule and the lung's surface, mm, which have sheets of their own.
CLEAR_MM = 2.0
#: Smallest visible part that counts, mm2, and its largest thickness: standard deviation off its plane, mm.
SMALLEST_MM2, FLAT_MM = 200.0, 2.5


def fissure_voxels(crop: Isotropic, lung: NDArray[np.bool_], solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the fissures that an isotropic crop shows; none where none can be seen.

    A sheet filter on the eigenvalues of the Hessian, then large flat pieces. On thick slices fissures are blurred away.

    Parameters
    ----------
    crop : Isotropic
    lung, solid : ndarray of bool, shape (z, y, x)
        The lung; and nodule, vessels and airways in it.
    """
    clear = CLEAR_MM / crop.step_mm
    deep = ndimage.distance_transform_edt(lung) > clear
    if solid.any():
        deep &= ndimage.distance_transform_edt(~solid) > clear
    sheets = np.zeros(crop.shape, dtype=np.bool_)
    if not deep.any():
        return sheets
    candidates = deep & (crop.hu < BRIGHTEST_HU) & (crop.hu > np.median(crop.hu[deep]))
    if not candidates.any():
        return sheets
    answer = sheetness(curvatures(crop.hu, SCALE_MM, crop.step_mm, candidates), CONTRAST_HU)
    sheets[candidates] = answer >= SHEET
    labels, n = ndimage.label(sheets, ALL_NEIGHBOURS)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    kept = np.zeros(n + 1, dtype=np.bool_)
    # A sheet is one to three cubes thick.
    for number in np.flatnonzero(sizes * crop.step_mm**2 >= SMALLEST_MM2):
        if number:
            kept[number] = _is_flat(crop.place_mm(np.argwhere(labels == number).astype(np.float64)))
    return np.asarray(kept[labels])


def _is_flat(places_mm: NDArray[np.float64]) -> bool:
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(places_mm.T)), 0.0))
    return bool(spread[0] <= FLAT_MM and spread[1] >= 2.5 * spread[0])
