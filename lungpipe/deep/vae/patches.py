"""What an autoencoder sees of a nodule: its axial slices, or a cube, at a spacing that is the same for all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.segment.outside.patch import Patch
from lungpipe.volume import box_around

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.volume import CTVolume, Mask

#: HU where the scan has none.
OUTSIDE_HU = -1000.0


@dataclass(frozen=True, slots=True)
class Sight:
    """The patch about a nodule's centre.

    A fixed spacing keeps the nodule's size, which latents are to tell.

    Parameters
    ----------
    dims : {2, 3}
        2 for every axial slice that the mask is in, 3 for one cube.
    voxels : int
        Along each side.
    spacing_mm : float
        Of its voxels: in the axial plane where ``dims`` is 2, else along all axes.
    window_hu : tuple of float
        HU are clipped to this and scaled to 0 to 1.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    dims: int = 2
    voxels: int = 64
    spacing_mm: float = 0.75
    window_hu: tuple[float, float] = (-1000.0, 400.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window_hu", tuple(self.window_hu))
        if self.dims not in (2, 3) or self.voxels < 1 or self.spacing_mm <= 0 or self.window_hu[0] >= self.window_hu[1]:
            raise DatasetError(
                "an autoencoder sees patches of 2 or 3 dims, 1 voxel or more, a positive spacing_mm and a window_hu that goes "
                f"upwards; found {asdict(self)}"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The one that a file of weights names."""
        return cls(**values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return (self.voxels,) * self.dims

    def box(self, mask: Mask) -> tuple[IndexTriple, IndexTriple]:
        """Voxels of the scan that its images are made of: a half-open box (start, stop), indices (z, y, x)."""
        reach_mm = (self.voxels / 2 + 1) * self.spacing_mm + max(mask.frame.spacing_mm)
        return box_around(mask.frame, *mask.bounds, reach_mm)

    def images(self, volume: CTVolume, mask: Mask) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Images of one nodule.

        Parameters
        ----------
        volume : CTVolume
            The scan, or what :meth:`box` says of it.
        mask : Mask
            The nodule, not empty.

        Returns
        -------
        images : ndarray of float32, shape (n, y, x) or (1, z, y, x)
            Values from 0 to 1.
        weights : ndarray of float, shape (n,)
            Share of the mask that is in each slice; 1 for a cube.
        """
        hu, weights = self._slices(volume, mask) if self.dims == 2 else self._cube(volume, mask)
        low, high = self.window_hu
        return ((np.clip(hu, low, high) - low) / (high - low)).astype(np.float32), weights

    def _slices(self, volume: CTVolume, mask: Mask) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        tight = mask.trimmed()
        inside = tight.voxels.sum(axis=(1, 2)).astype(np.float64)
        step = np.divide(self.spacing_mm, mask.frame.spacing_mm)
        _, y, x = mask.frame.to_index(tuple(mask.centre_mm)) - step * (self.voxels - 1) / 2
        patch = Patch(
            (float(tight.start[0]), float(y), float(x)),
            (1.0, float(step[1]), float(step[2])),
            (len(inside), self.voxels, self.voxels),
        )
        kept = inside > 0
        return patch.sample(volume, OUTSIDE_HU)[kept], inside[kept] / inside.sum()

    def _cube(self, volume: CTVolume, mask: Mask) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        x, y, z = mask.centre_mm.tolist()
        patch = Patch.around(mask.frame, (x, y, z), (self.spacing_mm,) * 3, (self.voxels,) * 3)
        return patch.sample(volume, OUTSIDE_HU)[None], np.ones(1)
