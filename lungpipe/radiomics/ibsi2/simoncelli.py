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

    The n coefficients of an axis stand at n frequencies evenly spaced from -1 to 1, both ends included; so do those
    of IBSI's reference values, two of which the transform's own frequencies ``2 k / n`` miss (8.A, quartile coefficient
    of dispersion: -315 for -441 +- 29; 9.B, minimum: -599 for -605 +- 2). Of an even number none is zero and they are not
    symmetric, so that the filter has an imaginary part, which is left out as IBSI does.

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
        # Leaving out the imaginary part means the mean of the gains of a frequency and of its opposite.
        there, back = self._squares(values.shape, opposite=False), self._squares(values.shape, opposite=True)
        for z in range(len(values)):
            gains = [self.gain(np.sqrt(depth[z] + plane)) for depth, plane in (there, back)]
            spectrum[z] *= (gains[0] + gains[1]) / 2
        shape = [values.shape[axis] for axis in axes]
        return np.asarray(fft.irfftn(spectrum, s=shape, axes=axes, overwrite_x=True))

    def gain(self, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        """The filter's gain at frequencies given as fractions of the Nyquist frequency."""
        scaled = fraction * 2.0 ** (self.level - 1)
        held = (scaled > 0.25) & (scaled <= 1)
        return np.where(held, np.cos(np.pi / 2 * np.log2(2 * np.where(held, scaled, 0.5))), 0.0)

    def _squares(self, shape: tuple[int, ...], *, opposite: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Squared frequencies along z, and of the half plane (y, x) that a real transform keeps."""
        rows, columns = (nyquist_fractions(count, opposite=opposite) ** 2 for count in shape[1:])
        plane = rows[:, None] + columns[None, : shape[2] // 2 + 1]
        depth = nyquist_fractions(shape[0], opposite=opposite) ** 2 if self.dimensions == 3 else np.zeros(shape[0])
        return depth, plane


def nyquist_fractions(count: int, *, opposite: bool = False) -> NDArray[np.float64]:
    """Frequencies at which the coefficients of an axis stand, as fractions of the Nyquist frequency.

    Parameters
    ----------
    count : int
        Voxels along the axis.
    opposite : bool
        Whether to give each coefficient the frequency of its opposite, ``-k`` for ``k``.

    Returns
    -------
    ndarray, shape (count,)
        In the order of a discrete Fourier transform.
    """
    spaced = np.asarray(fft.ifftshift(np.linspace(-1, 1, count)) if count > 1 else np.zeros(1))
    return np.roll(spaced[::-1], 1) if opposite else spaced
