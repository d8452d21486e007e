"""How noisy an image is, read off its own finest detail.

References
----------
.. [1] Chang, Yu and Vetterli, Adaptive wavelet thresholding for image denoising and compression, IEEE Transactions on Image
   Processing 9(9), 2000.
.. [2] Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 81(3), 1994.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pywt
from scipy import ndimage, special

from lungpipe.volume import PADDING_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Median of the absolute value of a standard normal variable.
MEDIAN_ABSOLUTE = float(special.ndtri(0.75))
#: Detail below this, HU, is a constant patch, which has no noise.
FLAT_HU = 1e-6


def noise_level_hu(hu: NDArray[Any]) -> float:
    """Standard deviation of the noise of an image, HU: median absolute diagonal detail, slice by slice, over 0.6745 [1]_ [2]_.

    Detail is the image filtered by the high-pass filter of the first coiflet along rows and columns, without decimation; the
    filter's norm is 1, so white noise keeps its standard deviation. Edges are few, and the median does not see them.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        What the filter reaches of the padding outside the field of view does not count.

    Returns
    -------
    float
        0 where every slice is flat, or smaller than the filter.
    """
    filtered = np.asarray(pywt.Wavelet("coif1").dec_hi)
    half = len(filtered) // 2
    if min(hu.shape[1:]) < len(filtered):
        return 0.0
    detail = hu.astype(np.float64)
    for axis in (1, 2):
        detail = ndimage.correlate1d(detail, filtered, axis=axis, mode="nearest")
    beside = ndimage.maximum_filter(hu == PADDING_HU, size=(1, len(filtered) + 1, len(filtered) + 1))
    inner = np.s_[:, half:-half, half:-half]
    size = np.abs(detail[inner])[~beside[inner]]
    seen = size[size > FLAT_HU]
    return float(np.median(seen) / MEDIAN_ABSOLUTE) if seen.size else 0.0
