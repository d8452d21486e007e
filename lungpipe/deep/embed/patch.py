"""What an embedder sees of a scan: a cube about the lesion, or slices of the whole chest at its height.

The two are those of the studies that hold lesion-centric against chest-region models: 64 x 64 x 64 voxels of 1 mm about the
nodule, and eight neighbouring axial slices of 512 x 512.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.segment.outside.patch import Patch
from lungpipe.volume import PADDING_HU

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.volume import CTVolume, Mask

Kind = Literal["lesion", "chest_region"]
#: Voxels (z, y, x) and spacing (z, y, x), mm, of the cube about a lesion.
LESION: IndexTriple = (64, 64, 64)
LESION_SPACING_MM: Triple = (1.0, 1.0, 1.0)
#: Slices of the chest, and voxels along each side of one.
SLICES, SIDE = 8, 512


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """A patch of a scan with its place.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
        :data:`lungpipe.volume.PADDING_HU` where the scan has nothing.
    geometry : Geometry
        Grid of the patch.
    """

    hu: NDArray[np.float32]
    geometry: Geometry

    def scaled(self, window_hu: tuple[float, float]) -> NDArray[np.float32]:
        """HU clipped to a window and scaled to 0 to 1, shape (z, y, x)."""
        low, high = window_hu
        return ((np.clip(self.hu, low, high) - low) / (high - low)).astype(np.float32)


def lesion(volume: CTVolume, mask: Mask, shape: IndexTriple = LESION, spacing_mm: Triple = LESION_SPACING_MM) -> Sight:
    """A patch about the centroid of a nodule, along the image's axes, by linear interpolation.

    Parameters
    ----------
    volume : CTVolume
    mask : Mask
        Not empty.
    shape : tuple of int
        Voxels (z, y, x).
    spacing_mm : tuple of float
        Of the patch, along (z, y, x).
    """
    x, y, z = mask.centre_mm.tolist()
    return _seen(volume, Patch.around(volume.frame, (x, y, z), spacing_mm, shape))


def chest_region(volume: CTVolume, mask: Mask) -> Sight:
    """Axial slices of the whole field of view at the height of a nodule, shape (8, 512, 512).

    Slices are the scan's own, those nearest to the nodule's centroid. In the plane the longer side of the image is spread over
    512 voxels: an image of 512 x 512 is taken as it is.

    Parameters
    ----------
    volume : CTVolume
    mask : Mask
        Not empty.
    """
    frame = volume.frame
    height = float(frame.to_index(mask.centre_mm)[0])
    sides_mm = np.multiply(frame.shape[1:], frame.spacing_mm[1:])
    step_y, step_x = (float(sides_mm.max() / SIDE / spacing) for spacing in frame.spacing_mm[1:])
    first_y, first_x = (
        (n - 1) / 2 - step * (SIDE - 1) / 2 for n, step in zip(frame.shape[1:], (step_y, step_x), strict=True)
    )
    first_z = float(np.rint(height - (SLICES - 1) / 2))
    return _seen(volume, Patch((first_z, first_y, first_x), (1.0, step_y, step_x), (SLICES, SIDE, SIDE)))


def sight(
    kind: Kind,
    volume: CTVolume,
    mask: Mask,
    shape: IndexTriple = LESION,
    spacing_mm: Triple = LESION_SPACING_MM,
) -> Sight:
    """A patch by its kind; ``shape`` and ``spacing_mm`` are those of a lesion's."""
    return lesion(volume, mask, shape, spacing_mm) if kind == "lesion" else chest_region(volume, mask)


def check_kind(name: str, kind: str) -> None:
    """Refuse a kind of patch that there is not.

    Raises
    ------
    DatasetError
        With those that there are.
    """
    if kind not in ("lesion", "chest_region"):
        raise DatasetError(f"{name}: patch is lesion or chest_region, found {kind!r}")


def export(path: Path, volume: CTVolume, mask: Mask) -> None:
    """Write both patches of a nodule as one ``.npz``, for networks that are trained elsewhere.

    It holds ``lesion`` (64, 64, 64) and ``chest_region`` (8, 512, 512), HU as int16, arrays (z, y, x), and for each
    ``*_spacing_mm`` (z, y, x), ``*_origin_mm`` (LPS x, y, z of the first voxel) and ``*_direction`` (nine cosines, row by row).

    Parameters
    ----------
    path : Path
        Its name must tell nothing of the patient.
    volume : CTVolume
    mask : Mask
        Not empty.
    """
    content: dict[str, Any] = {}
    for kind, seen in (("lesion", lesion(volume, mask)), ("chest_region", chest_region(volume, mask))):
        content[kind] = np.rint(seen.hu).astype(np.int16)
        content[f"{kind}_spacing_mm"] = np.array(seen.geometry.spacing_mm)
        content[f"{kind}_origin_mm"] = np.array(seen.geometry.origin_mm)
        content[f"{kind}_direction"] = np.array(seen.geometry.direction)
    np.savez_compressed(path, **content)


def _seen(volume: CTVolume, patch: Patch) -> Sight:
    frame = volume.frame
    z, y, x = np.multiply(patch.step, frame.spacing_mm).tolist()
    first_x, first_y, first_z = frame.to_lps(patch.first).tolist()
    geometry = Geometry(patch.shape, (z, y, x), (first_x, first_y, first_z), frame.direction)
    return Sight(patch.sample(volume, PADDING_HU), geometry)
