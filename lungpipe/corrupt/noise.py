"""Noise as a scanner makes it: of a given strength, and as much as a smaller dose would add.

References
----------
.. [1] Kijewski and Judy, The noise power spectrum of CT images, Physics in Medicine and Biology 32(5), 1987,
   doi:10.1088/0031-9155/32/5/003.
.. [2] Brooks and Di Chiro, Statistical limitations in x-ray reconstructive tomography, Medical Physics 3(4), 1976.
.. [3] Christianson, Winslow, Frush and Samei, Automated technique to measure noise in clinical CT examinations, American Journal
   of Roentgenology 205(1), 2015, doi:10.2214/AJR.14.13613.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Spatial frequency at which the kernel that shapes the noise lets half of the amplitude through, 1/mm: between the softest
#: and the sharpest kernels of chest CT.
HALF_PER_MM = 0.45
#: Side of the windows in which the noise of an image is read off, mm; a window of less deviation than this, HU, has none.
WINDOW_MM, LEAST_HU = 6.0, 0.5
#: Bins of the logarithm of the deviations, and by how many their counts are smoothed.
BINS, SMOOTHED = 60, 2.0


def with_noise(
    hu: NDArray[np.float32], spacing_mm: Triple, sigma_hu: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add noise.

    Its power spectrum in the slice is that of filtered back projection: the ramp's, f, times the square of the kernel's
    transfer [1]_, here a Gaussian that is one half at :data:`HALF_PER_MM`. So it holds nothing at frequency zero, and the
    mean of every slice stays. Slices are independent.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    sigma_hu : float
        Standard deviation, HU.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    shape = (hu.shape[1], hu.shape[2])
    fy, fx = (np.fft.fftfreq(n, step) for n, step in zip(shape, spacing_mm[1:], strict=True))
    frequency = np.hypot(fy[:, None], fx)
    response = np.sqrt(frequency) * np.exp(-math.log(2) * (frequency / HALF_PER_MM) ** 2)
    gain = math.sqrt(float(np.mean(response**2)))  # Parseval: what the filter leaves of the deviation of white noise
    if gain == 0:  # a slice of one voxel
        return hu.copy()
    half = response[:, : shape[1] // 2 + 1] * (sigma_hu / gain)
    noisy = np.empty_like(hu, dtype=np.float32)
    for k, plane in enumerate(hu):
        white = np.fft.rfft2(rng.standard_normal(shape))
        noisy[k] = plane + np.fft.irfft2(white * half, s=shape)
    return noisy


def at_dose(hu: NDArray[np.float32], spacing_mm: Triple, share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of the same scan at a share of its dose.

    The variance of quantum noise goes with one over the dose [2]_, so an image of standard deviation s lacks
    s sqrt(1/share - 1). Its s is read off the image (:func:`noise_of`). Electronic noise and the streaks of photon starvation are
    left out.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    share : float
        Of the dose, above 0 and at most 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        As it is where the image has no noise.
    """
    return with_noise(hu, spacing_mm, noise_of(hu, spacing_mm) * math.sqrt(1.0 / share - 1.0), rng)


def noise_of(hu: NDArray[np.float32], spacing_mm: Triple) -> float:
    """Standard deviation of the noise of an image, HU: the most frequent one in windows of the slices [3]_.

    Most windows hold one tissue; those that hold an edge deviate more, and differ from each other. There the windows of soft
    tissue count, here all, as surroundings of a nodule have little of it.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    float
        0 where every window is flat, or a slice smaller than two.
    """
    sides = [max(3, round(WINDOW_MM / step)) for step in spacing_mm[1:]]
    if any(n < 2 * side for n, side in zip(hu.shape[1:], sides, strict=True)):
        return 0.0
    values = hu.astype(np.float64)
    mean = ndimage.uniform_filter(values, (1, *sides))
    variance = ndimage.uniform_filter(values**2, (1, *sides)) - mean**2
    pixels = sides[0] * sides[1]
    (y, x) = (side // 2 + 1 for side in sides)
    deviation = np.sqrt(np.maximum(variance[:, y:-y, x:-x], 0) * pixels / (pixels - 1))
    seen = np.log(deviation[deviation > LEAST_HU])
    if not seen.size:
        return 0.0
    counts, edges = np.histogram(seen, BINS)
    most = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(np.float64), SMOOTHED)))
    return float(np.exp((edges[most] + edges[most + 1]) / 2))
