"""Separable wavelets, undecimated: Haar, Daubechies and Coiflets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pywt

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2.boundary import check_boundary, local_reach
from lungpipe.radiomics.ibsi2.convolve import centred, half
from lungpipe.radiomics.ibsi2.fields import one_of, whole
from lungpipe.radiomics.ibsi2.rotation import POOLINGS, pooled_separable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.boundary import Boundary
    from lungpipe.radiomics.ibsi2.rotation import Pooling

#: Wavelets that IBSI names, as PyWavelets calls them.
WAVELETS: tuple[str, ...] = ("haar", *pywt.wavelist("db"), *pywt.wavelist("coif"))


@dataclass(frozen=True, slots=True)
class SeparableWavelet:
    """Separable wavelet filter (IBSI 25BO), undecimated and pooled over rotations.

    At level j the image has passed j - 1 times through the low-pass filter of every axis, and the filters of the level
    carry ``2**(j - 1) - 1`` zeros between their taps (the *à trous* algorithm). All levels of an axis together are one
    kernel, with which the image is convolved once.

    Parameters
    ----------
    wavelet : str
        ``"haar"``, ``"db3"``, ``"coif1"`` ... : a name of PyWavelets, whose decomposition filters are used unscaled.
    band : str
        Low-pass ``L`` or high-pass ``H`` along x, y and z as IBSI writes them: ``"LLH"`` in the volume, ``"LH"`` slice
        by slice.
    level : int
        Level of decomposition (IBSI GCEK), from 1.
    pooling : {"mean", "max", "min"} or None
        Over the right-angle rotations of the kernel; None for the kernel as it is.
    boundary : {"mirror", "zero", "nearest", "periodic"}

    Raises
    ------
    DatasetError
        If a parameter makes no sense.
    """

    recipe_name: ClassVar[str] = "ibsi-wavelet"

    wavelet: str
    band: str
    level: int = 1
    pooling: Pooling | None = "mean"
    boundary: Boundary = "mirror"

    def __post_init__(self) -> None:
        if self.wavelet not in WAVELETS:
            raise DatasetError(
                f"{self.recipe_name}: wavelet must be haar, db1 to db38 (Daubechies) or coif1 to coif17 (Coiflet), the "
                f"ones that IBSI names; found {self.wavelet!r}"
            )
        if not isinstance(self.band, str) or not re.fullmatch("[LH]{2,3}", self.band):
            raise DatasetError(
                f'{self.recipe_name}: band must be two (by slice) or three (in the volume) of L and H, as in "LLH"; '
                f"found {self.band!r}"
            )
        whole(self.recipe_name, "level", self.level, 1)
        one_of(self.recipe_name, "pooling", self.pooling, (*POOLINGS, None))
        check_boundary(self.recipe_name, self.boundary)

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        return f"wavelet-{self.wavelet}-{self.band}-level{self.level}"

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """Voxels that must surround a region for the whole image's values."""
        return local_reach(max(half(kernel) for kernel in self._taps()), self.boundary)

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Wavelet coefficients, one a voxel, shape (z, y, x)."""
        return pooled_separable(values, self._taps(), self.pooling, self.boundary)

    def _taps(self) -> list[NDArray[np.float64]]:
        """Kernels along (z,) y, x."""
        return [level_kernel(self.wavelet, letter == "H", self.level) for letter in reversed(self.band)]


@lru_cache(maxsize=64)
def level_kernel(wavelet: str, high: bool, level: int) -> NDArray[np.float64]:
    """Centred kernel of one axis that does the work of all levels up to ``level``."""
    bank = pywt.Wavelet(wavelet)
    low = np.asarray(bank.dec_lo, dtype=np.float64)
    last = np.asarray(bank.dec_hi, dtype=np.float64) if high else low
    kernel, centre = np.ones(1), 0
    for step in range(level):
        taps = last if step == level - 1 else low
        spread = np.zeros((len(taps) - 1) * 2**step + 1)
        spread[:: 2**step] = taps
        kernel = np.convolve(kernel, spread)
        centre += (len(taps) // 2) * 2**step
    made = centred(kernel, centre)
    made.flags.writeable = False
    return made
