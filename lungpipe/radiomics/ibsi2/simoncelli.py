"""Simoncelli's non-separable wavelets, in the Fourier domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import fft

from lungpipe.radiomics.ibsi2.convolve import DIMENSIONS, axes_of
from lungpipe.radiomics.ibsi2.fields import one_of, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.convolve import Dimensions


@dataclass(frozen=True, slots=True)
class Simoncelli:
    """Non-separable wavelet filter of Simoncelli (IBSI PRT7): isotropic bands of frequency.

    With the frequency r as a fraction of the Nyquist frequency and j the level::

        g(r) = cos(pi / 2 * log2(2 * 2^(j - 1) r))   for 1/4 < 2^(j - 1) r <= 1, else 0

    The filter lives in the Fourier domain, so the image is periodic and every voxel bears on every other: there is no
    crop that gives the whole image's values, and ``reach_voxels`` is None.

    Parameters
    ----------
    level : int
        Level of decomposition (IBSI GCEK), from 1: the band below the Nyquist frequency.
    dimensions : {3, 2}
        In the volume, or slice by slice.

    Raises
    ------
    DatasetError
        If a parameter makes no sense.
    """

    recipe_name: ClassVar[str] = "ibsi-simoncelli"

    level: int
    dimensions: Dimensions = 3

    def __post_init__(self) -> None:
        whole(self.recipe_name, "level", self.level, 1)
        one_of(self.recipe_name, "dimensions", self.dimensions, DIMENSIONS)

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        return f"simoncelli-level{self.level}"

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """None: the whole image is needed."""
        return None

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Band of the image, shape (z, y, x)."""
        axes = axes_of(self.dimensions)
        spectrum = fft.rfftn(values, axes=axes)
        squared = [_nyquist_fractions(values.shape[axis], half=axis == 2) ** 2 for axis in axes]
        plane = squared[-2][:, None] + squared[-1][None, :]
        depth = squared[0] if self.dimensions == 3 else np.zeros(len(values))
        for z, along_z in enumerate(depth):
            spectrum[z] *= self.gain(np.sqrt(plane + along_z))
        return np.asarray(fft.irfftn(spectrum, s=[values.shape[axis] for axis in axes], axes=axes, overwrite_x=True))

    def gain(self, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """The filter's gain at frequencies given as fractions of the Nyquist frequency."""
        scaled = fraction * 2.0 ** (self.level - 1)
        held = (scaled > 0.25) & (scaled <= 1)
        return np.where(held, np.cos(np.pi / 2 * np.log2(2 * np.where(held, scaled, 0.5))), 0.0)


def _nyquist_fractions(count: int, *, half: bool) -> NDArray[np.float64]:
    """Frequencies of a transform's coefficients, as fractions of the Nyquist frequency."""
    return np.asarray(2.0 * (fft.rfftfreq(count) if half else fft.fftfreq(count)))
