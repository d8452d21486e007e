"""Where in a lung a lesion can lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from lungpipe.errors import RegionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.synthesis.shape import SignedDistance
    from lungpipe.volume import CTVolume, Mask

#: Room is looked for on voxels of about this side, mm.
COARSE_MM = 2.0
#: A place is clear of vessels if no voxel of this density, HU, lies in the ball about the shape.
VESSEL_HU = -500.0


def random_place(
    volume: CTVolume,
    lung: Mask,
    shape: SignedDistance,
    *,
    seed: int,
    margin_mm: float = 5.0,
    clear_of_vessels: bool = False,
) -> Triple:
    """Draw a place for a lesion, each as likely as any other where there is room for it.

    Parameters
    ----------
    volume : CTVolume
        Read only to find vessels.
    lung : Mask
        Both lungs with their vessels, or one of them, on the volume's grid.
    shape : SignedDistance
        The ball about its centre that holds it has to lie in the lung.
    seed : int
        Same seed, same place.
    margin_mm : float
        Least distance between that ball and what is not lung: wall, mediastinum, the image's border.
    clear_of_vessels : bool
        Whether no vessel may run through the ball either.

    Returns
    -------
    tuple of float
        LPS point (x, y, z), mm.

    Raises
    ------
    RegionError
        ``no_room`` if there is no such place; the message says how much room there is.
    """
    spacing = np.asarray(lung.frame.spacing_mm)
    step = np.maximum(1, (COARSE_MM / spacing).astype(int))
    lattice = tuple(slice(None, None, k) for k in step.tolist())
    inside = lung.voxels[lattice]
    coarse = np.pad(inside, 1)
    # Of each block of voxels the first stands for all: the others lie within its diagonal.
    blind_mm = float(np.linalg.norm((step - 1) * spacing))
    needed_mm = shape.reach_mm + margin_mm + blind_mm
    inner = tuple(slice(1, -1) for _ in range(3))
    room_mm = ndimage.distance_transform_edt(coarse, sampling=step * spacing)[inner]
    fits = room_mm > needed_mm
    if clear_of_vessels and fits.any():
        dense = _any_denser(volume.crop(lung.start, lung.stop).hu, step.tolist())
        if dense.any():
            clear_mm = ndimage.distance_transform_edt(~dense, sampling=step * spacing)
            fits &= clear_mm > shape.reach_mm + blind_mm
    places = np.flatnonzero(fits)
    if not len(places):
        raise RegionError(
            "no_room",
            f"no place in the lung has {needed_mm:.1f} mm to the wall all round ({shape.reach_mm:.1f} mm for the lesion and "
            f"a margin of {margin_mm:g} mm){' and no vessel in it' if clear_of_vessels else ''}; the deepest has "
            f"{float(room_mm.max(initial=0.0)):.1f} mm: take a smaller shape or margin",
        )
    chosen = int(places[np.random.default_rng(seed).integers(len(places))])
    index = np.asarray(np.unravel_index(chosen, fits.shape)) * step + lung.start
    x, y, z = lung.frame.to_lps(index).tolist()
    return x, y, z


def _any_denser(hu: NDArray[Any], step: list[int]) -> NDArray[np.bool_]:
    """Whether each block of voxels (z, y, x) holds one that is as dense as a vessel."""
    dense = np.zeros([-(-n // k) for n, k in zip(hu.shape, step, strict=True)], dtype=np.bool_)
    for first in np.ndindex(*step):
        part = hu[tuple(slice(start, None, k) for start, k in zip(first, step, strict=True))] > VESSEL_HU
        dense[tuple(slice(0, n) for n in part.shape)] |= part
    return dense
