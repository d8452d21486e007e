"""Random fields that have the standard deviation and the correlation of what lies in a scan: its noise, its tissue.

A stationary Gaussian field is told by its autocovariance alone. It is measured over the voxels of one tissue, whatever their
outline, and white noise is given its spectrum: the asymptotic discrete spot noise of Galerne, Gousseau and Morel (2011,
doi:10.1109/TIP.2010.2052822), here in 3-D and from an exemplar with holes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple

#: Correlation is measured up to this distance, mm, and at most so many voxels; it is tapered to nothing there.
REACH_MM, REACH_VOXELS = 8.0, 12
#: A correlation needs this many pairs of voxels; at lags that have fewer it is taken as none.
LEAST_PAIRS = 200
#: Median of the absolute value of a standard normal variable.
MEDIAN_ABSOLUTE = float(ndtri(0.75))


@dataclass(frozen=True, eq=False, slots=True)
class Texture:
    """A stationary Gaussian field of zero mean.

    Parameters
    ----------
    sd_hu : float
        Its standard deviation, HU.
    correlation : ndarray, shape (2a+1, 2b+1, 2c+1)
        Correlation of two voxels by their distance in voxels along (z, y, x); that of none in the middle, 1.
    """

    sd_hu: float
    correlation: NDArray[np.floating]

    @property
    def lag(self) -> IndexTriple:
        """Voxels (z, y, x) up to which there is correlation."""
        a, b, c = (n // 2 for n in self.correlation.shape)
        return a, b, c

    @property
    def neighbours(self) -> Triple:
        """Correlation of neighbours along (z, y, x); 0 along an axis of which none is known."""
        a, b, c = self.lag
        z, y, x = (
            float(self.correlation[tuple(m + (k == axis) for k, m in enumerate((a, b, c)))]) if lag else 0.0
            for axis, lag in enumerate((a, b, c))
        )
        return z, y, x

    def grid_for(self, shape: IndexTriple) -> IndexTriple:
        """Shape (z, y, x) of a periodic grid on which the ends of an array of this shape do not touch."""
        z, y, x = (fft.next_fast_len(n + lag, real=True) for n, lag in zip(shape, self.lag, strict=True))
        return z, y, x

    def power(self, grid: IndexTriple) -> NDArray[np.float32]:
        """Spectrum of the field of unit variance on a periodic grid, half of it as ``scipy.fft.rfftn`` has it."""
        kernel = np.zeros(grid, dtype=np.float32)
        places = [np.arange(-lag, lag + 1) % n for lag, n in zip(self.lag, grid, strict=True)]
        np.add.at(kernel, np.ix_(*places), self.correlation.astype(np.float32))
        power = np.maximum(fft.rfftn(kernel).real, 0)  # what was measured need not be a covariance
        return np.asarray(power / fft.irfftn(power, grid)[0, 0, 0], dtype=np.float32)

    def draw(self, rng: np.random.Generator, shape: IndexTriple) -> NDArray[np.float32]:
        """Draw the field, HU, shape (z, y, x)."""
        if self.sd_hu == 0:
            return np.zeros(shape, dtype=np.float32)
        grid = self.grid_for(shape)
        white = fft.rfftn(rng.standard_normal(grid, dtype=np.float32))
        field = fft.irfftn(white * np.sqrt(self.power(grid)), grid)
        z, y, x = shape
        return np.asarray(self.sd_hu * field[:z, :y, :x], dtype=np.float32)


def gaussian_texture(sd_hu: float, length_mm: float, spacing_mm: Triple) -> Texture:
    """White noise smoothed by a Gaussian of the standard deviation ``length_mm``, on a grid (z, y, x)."""
    axes = []
    for spacing in spacing_mm:
        lag = int(np.ceil(4 * length_mm / spacing))
        axes.append(np.exp(-((np.arange(-lag, lag + 1) * spacing / (2 * length_mm)) ** 2)))
    z, y, x = axes
    return Texture(sd_hu, z[:, None, None] * y[:, None] * x)


def texture_of(values: NDArray[np.floating], inside: NDArray[np.bool_], spacing_mm: Triple) -> Texture:
    """Measure the texture of what lies inside.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        HU less their slow part.
    inside : ndarray of bool, shape (z, y, x)
        Voxels of the one tissue; not empty.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    Texture
        Its standard deviation is the median absolute deviation over 0.6745, which a few vessels do not raise.
    """
    middle = float(np.median(values[inside]))
    sd_hu = float(np.median(np.abs(values[inside] - middle))) / MEDIAN_ABSOLUTE
    if sd_hu == 0:
        return Texture(0.0, np.ones((1, 1, 1)))
    lag = [min(int(REACH_MM / s), REACH_VOXELS, (n - 1) // 2) for s, n in zip(spacing_mm, values.shape, strict=True)]
    grid = [fft.next_fast_len(n + m, real=True) for n, m in zip(values.shape, lag, strict=True)]
    # A value far out counts as one at four deviations: single dense voxels would say that the field is rough.
    known = np.where(inside, np.clip(values - middle, -4 * sd_hu, 4 * sd_hu), 0.0)
    products, pairs = (_correlated(array, grid, lag) for array in (known, inside.astype(np.float64)))
    covariance = np.where(pairs > LEAST_PAIRS, products / np.maximum(pairs, 1), 0.0)
    a, b, c = lag
    correlation = covariance / covariance[a, b, c]
    for axis, m in enumerate(lag):
        taper = np.cos(np.arange(-m, m + 1) * np.pi / (2 * (m + 1))) ** 2
        correlation = correlation * np.expand_dims(taper, tuple(k for k in range(3) if k != axis))
    return Texture(sd_hu, correlation)


def _correlated(values: NDArray[np.floating], grid: list[int], lag: list[int]) -> NDArray[np.float64]:
    """Sum of the products of an array's values by their distance, up to a lag in voxels along (z, y, x)."""
    spectrum = fft.rfftn(values, grid)
    sums = fft.irfftn(np.abs(spectrum) ** 2, grid)
    return np.asarray(np.roll(sums, lag, axis=(0, 1, 2))[tuple(slice(0, 2 * m + 1) for m in lag)])


def slow_part(
    hu: NDArray[np.floating], inside: NDArray[np.bool_], length_mm: float, spacing_mm: Triple
) -> NDArray[np.float64]:
    """Mean of the voxels inside, weighted by a Gaussian of their distance: everywhere, with no regard to what is outside.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
    inside : ndarray of bool, shape (z, y, x)
        Voxels that count.
    length_mm : float
        Standard deviation of the Gaussian, mm.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    ndarray, shape (z, y, x)
        Where none lies within eight deviations, the mean of all inside.
    """
    overall = float(hu[inside].mean())
    sigma = [length_mm / s for s in spacing_mm]
    sums, weights = (
        ndimage.gaussian_filter(part, sigma, mode="constant", truncate=8)
        for part in (np.where(inside, hu - overall, 0.0), inside.astype(np.float64))
    )
    return np.asarray(overall + np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 1e-12))
