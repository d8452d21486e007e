"""Noise as a scanner makes it: of a given strength, and as much as a smaller dose would add.

References
----------
.. [1] Kijewski and Judy, The noise power spectrum of CT images, Physics in Medicine and Biology 32(5), 1987,
   doi:10.1088/0031-9155/32/5/003.
.. [2] Brooks and Di Chiro, Statistical limitations in x-ray reconstructive tomography, Medical Physics 3(4), 1976.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.radiomics.perturb_noise import noise_level_hu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Spatial frequency at which the kernel that shapes the noise lets half of the amplitude through, 1/mm: between the softest
#: and the sharpest kernels of chest CT.
HALF_PER_MM = 0.45


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
    s sqrt(1/share - 1). Its s is read off the image (:func:`lungpipe.radiomics.perturb_noise.noise_level_hu`): the finest
    detail of smooth kernels has less noise than the whole, and theirs is therefore underestimated. Electronic noise and the
    streaks of photon starvation are left out.

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
    return with_noise(hu, spacing_mm, noise_level_hu(hu) * math.sqrt(1.0 / share - 1.0), rng)
