"""Laws' kernels and their texture energy images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2.boundary import check_boundary, local_reach
from lungpipe.radiomics.ibsi2.convolve import half
from lungpipe.radiomics.ibsi2.fields import one_of, whole
from lungpipe.radiomics.ibsi2.mean import box_mean
from lungpipe.radiomics.ibsi2.rotation import POOLINGS, pooled_separable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.boundary import Boundary
    from lungpipe.radiomics.ibsi2.rotation import Pooling


def _unit(*taps: int) -> NDArray[np.float64]:
    kernel = np.asarray(taps, dtype=np.float64)
    return np.asarray(kernel / np.linalg.norm(kernel))


#: Level, edge, spot, wave and ripple of 3 or 5 voxels, each of Euclidean norm 1.
KERNELS: Mapping[str, NDArray[np.float64]] = {
    "L3": _unit(1, 2, 1),
    "E3": _unit(-1, 0, 1),
    "S3": _unit(-1, 2, -1),
    "L5": _unit(1, 4, 6, 4, 1),
    "E5": _unit(-1, -2, 0, 2, 1),
    "S5": _unit(-1, 0, 2, 0, -1),
    "W5": _unit(-1, 2, 0, -2, 1),
    "R5": _unit(1, -4, 6, -4, 1),
}


@dataclass(frozen=True, slots=True)
class Laws:
    """Laws kernels (IBSI JTXT), pooled over rotations, and the energy of their response (IBSI PQSD).

    Pooling comes before the energy: the other way round, the mean of the published configuration 4.A is missed by eight
    times its tolerance.

    Parameters
    ----------
    kernels : str
        One kernel an axis, along x, y and z as IBSI writes them: ``"L5E5E5"`` in the volume, ``"L5E5"`` slice by slice.
    energy_distance : int
        Chebyshev distance (IBSI delta), in voxels, within which the mean of the absolute response is taken; 0 for the
        response itself.
    pooling : {"max", "mean", "min"} or None
        Over the right-angle rotations of the kernel, before the energy; None for the kernel as it is.
    boundary : {"mirror", "zero", "nearest", "periodic"}

    Raises
    ------
    DatasetError
        If a parameter makes no sense.
    """

    recipe_name: ClassVar[str] = "ibsi-laws"

    kernels: str
    energy_distance: int = 7
    pooling: Pooling | None = "max"
    boundary: Boundary = "mirror"

    def __post_init__(self) -> None:
        names = re.findall("..", self.kernels) if isinstance(self.kernels, str) else []
        if "".join(names) != self.kernels or len(names) not in (2, 3) or not set(names) <= set(KERNELS):
            raise DatasetError(
                f"{self.recipe_name}: kernels must be two (by slice) or three (in the volume) of {', '.join(KERNELS)} "
                f'without a break, as in "L5E5E5"; found {self.kernels!r}'
            )
        whole(self.recipe_name, "energy_distance", self.energy_distance, 0)
        one_of(self.recipe_name, "pooling", self.pooling, (*POOLINGS, None))
        check_boundary(self.recipe_name, self.boundary)

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        energy = f"-energy{self.energy_distance}" if self.energy_distance else ""
        return f"laws-{self.kernels}{energy}"

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """Voxels that must surround a region for the whole image's values."""
        return local_reach(max(half(kernel) for kernel in self._taps()) + self.energy_distance, self.boundary)

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Response, or its energy, shape (z, y, x)."""
        taps = self._taps()
        found = pooled_separable(values, taps, self.pooling, self.boundary)
        if not self.energy_distance:
            return found
        np.abs(found, out=found)
        return box_mean(found, 2 * self.energy_distance + 1, 2 if len(taps) == 2 else 3, self.boundary)

    def _taps(self) -> list[NDArray[np.float64]]:
        """Kernels along (z,) y, x."""
        return [KERNELS[name] for name in reversed(re.findall("..", self.kernels))]
