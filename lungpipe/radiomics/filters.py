"""PyRadiomics' image types on a box of an image, with the values that filtering all of the image gives.

A filter reaches only so far, so a box of the image, wider by that much on every side, is what PyRadiomics' own filter is
run on. How far follows from the filter (measured against the filtered whole image):

- Laplacian of Gaussian: the recursive Gaussian's answer dies away like exp(-1.7 d / sigma). From 16 sigma on, a value in a
  hundred differs, by the last bit of float32, in which ITK works.
- Wavelet: half the filter's length for each level, rounded up; exact. The transform is periodic: near the image's end it
  takes values from the other end, and so an axis is then read whole.
- Gradient: one voxel; exact.
- Local binary patterns: the radius, and what interpolation between voxels needs; see :mod:`lungpipe.radiomics.lbp`.
- Square, square root, logarithm and exponential do not reach, but are scaled by the greatest absolute value of the image.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pywt
import SimpleITK as sitk
from radiomics import imageoperations

from lungpipe.radiomics import lbp
from lungpipe.radiomics.ibsi_filters import is_ibsi
from lungpipe.radiomics.image_types import IMAGE_TYPES, SCALED_BY_PEAK
from lungpipe.radiomics.laplacian import LEAST_VOXELS, laplacian_of_gaussian
from lungpipe.radiomics.whole import grown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.radiomics.ibsi_filters import IbsiFilter
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.whole import Box, Whole

    Named = tuple[str, NDArray[Any]]

#: A reach past the end of every image: filters that work on all of it have this one.
EVERYTHING = 1 << 20
#: Standard deviations after which the recursive Gaussian's answer is below the last bit of float32.
GAUSSIAN_REACH = 16.0


def reach_of(kind: str, settings: RadiomicsSettings, spacing_mm: Triple) -> IndexTriple:
    """How many voxels along (z, y, x) an image type looks past a voxel."""
    parameters = settings.parameters
    if is_ibsi(kind):
        return _ibsi_reach(kind, settings, spacing_mm)
    if kind == "log":
        return _gaussian_reach(max(parameters.sigma_mm), spacing_mm)
    if kind == "gradient":
        return 1, 1, 1
    reach = [0, 0, 0]
    texture = settings.texture_of(kind)
    if kind == "wavelet":
        levels = parameters.start_level + parameters.level
        reach = [levels * math.ceil(pywt.Wavelet(parameters.wavelet).dec_len / 2)] * 3
        if texture.force_2d:
            reach[texture.force_2d_axis] = 0
    elif kind == "lbp-2d":
        reach = [lbp.reach_2d(parameters.lbp_2d_radius)] * 3
        reach[texture.force_2d_axis] = 0
    elif kind == "lbp-3d":
        reach = [lbp.reach_3d(parameters.lbp_3d_radius)] * 3
    return reach[0], reach[1], reach[2]


def _ibsi_reach(kind: str, settings: RadiomicsSettings, spacing_mm: Triple) -> IndexTriple:
    reaches = [reach for _, reach, _ in _ibsi(kind, settings).images(spacing_mm)]
    known = [reach for reach in reaches if reach is not None]
    most = max(known, default=0) if len(known) == len(reaches) else EVERYTHING
    return most, most, most


def _ibsi(kind: str, settings: RadiomicsSettings) -> IbsiFilter:
    return next(one for one in settings.ibsi if one.name == kind)


def support_of(kind: str, settings: RadiomicsSettings, box: Box, whole: Whole) -> Box:
    """The box of an image that an image type needs to be exact on a box."""
    return grown(box, reach_of(kind, settings, whole.spacing_mm), whole.shape, periodic=kind == "wavelet")


def filtered(
    kind: str, settings: RadiomicsSettings, box: Box, whole: Whole, inside: NDArray[np.bool_]
) -> Iterator[Named]:
    """Make the images of an image type on a box.

    Parameters
    ----------
    kind : str
        Of the settings' filters.
    settings : RadiomicsSettings
    box : tuple
        Half-open box of the image's grid (start, stop), (z, y, x).
    whole : Whole
    inside : ndarray of bool, shape (z, y, x)
        Voxels of the box that count; elsewhere values may be left out (0).

    Yields
    ------
    str, ndarray of shape (z, y, x)
        PyRadiomics' name of the image, and values in the type that PyRadiomics gives them; IBSI-2's in double precision.
    """
    if kind == "original":
        yield "original", whole.read(*box)
    elif kind in SCALED_BY_PEAK:
        yield kind, _scaled(kind, whole.read(*box).astype(np.float64), whole.peak())
    elif kind == "log":
        yield from _laplacians(settings, box, whole)
    elif is_ibsi(kind):
        for name, reach, respond in _ibsi(kind, settings).images(whole.spacing_mm):
            far = EVERYTHING if reach is None else reach
            support = grown(box, (far, far, far), whole.shape)
            part = tuple(slice(a - s, b - s) for a, b, s in zip(*box, support[0], strict=True))
            yield name, respond(whole.read(*support).astype(np.float64), whole.spacing_mm)[part]
    else:
        support = support_of(kind, settings, box, whole)
        window = tuple(slice(a - s, b - s) for a, b, s in zip(*box, support[0], strict=True))
        values = whole.read(*support)
        if kind == "lbp-2d":
            yield lbp.pattern_2d(values, support[0], window, settings)
        elif kind == "lbp-3d":
            yield from lbp.patterns_3d(values, window, inside, settings.parameters)
        else:
            yield from _of_pyradiomics(kind, values, window, settings, whole.spacing_mm)


def _laplacians(settings: RadiomicsSettings, box: Box, whole: Whole) -> Iterator[Named]:
    """The Laplacians of Gaussians, each from what its own standard deviation reaches.

    PyRadiomics leaves one out where the image that it filters is too thin for it.
    """
    for sigma_mm in settings.parameters.sigma_mm:
        least = [max(LEAST_VOXELS, math.ceil(sigma_mm / side) + 1) for side in whole.spacing_mm]
        if any(n < fewest for n, fewest in zip(whole.shape, least, strict=True)):
            continue
        support = grown(box, _gaussian_reach(sigma_mm, whole.spacing_mm), whole.shape)
        z, y, x = (slice(a - s, b - s) for a, b, s in zip(*box, support[0], strict=True))
        values = whole.read(*support)
        if values.dtype == np.float64:  # ITK then works in double precision
            one = replace(settings, parameters=replace(settings.parameters, sigma_mm=(sigma_mm,)))
            yield from _of_pyradiomics("log", values, (z, y, x), one, whole.spacing_mm)
            continue
        found = laplacian_of_gaussian(values.astype(np.float32), whole.spacing_mm, sigma_mm, (z, y, x))
        yield f"log-sigma-{str(sigma_mm).replace('.', '-')}-mm-3D", found


def _gaussian_reach(sigma_mm: float, spacing_mm: Triple) -> IndexTriple:
    z, y, x = (max(math.ceil(GAUSSIAN_REACH * sigma_mm / side), LEAST_VOXELS) for side in spacing_mm)
    return z, y, x


def _of_pyradiomics(
    kind: str, values: NDArray[Any], window: tuple[slice, ...], settings: RadiomicsSettings, spacing_mm: Triple
) -> Iterator[Named]:
    """Run PyRadiomics' own filter on a support and keep a window of it."""
    parameters, texture = settings.parameters, settings.texture_of(kind)
    words = {
        "sigma": list(parameters.sigma_mm),
        "wavelet": parameters.wavelet,
        "level": parameters.level,
        "start_level": parameters.start_level,
        "gradientUseSpacing": parameters.gradient_use_spacing,
        "force2D": texture.force_2d,
        "force2Ddimension": texture.force_2d_axis,
    }
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(tuple(float(side) for side in spacing_mm[::-1]))
    for made, name, _ in getattr(imageoperations, f"get{IMAGE_TYPES[kind]}Image")(image, None, **words):
        yield name, sitk.GetArrayFromImage(made)[window]


def _scaled(kind: str, values: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """A function of the values that keeps the image's greatest absolute value (van Griethuysen et al. 2017).

    With p that value: square x^2 / p, square root sign(x) sqrt(p |x|), logarithm sign(x) log(|x| + 1) p / log(p + 1),
    exponential exp(x log(p) / p). An image of zeros has no scale: all of it but the square root is then not a number.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.float64(peak)
        if kind == "square":
            return np.asarray(((1 / np.sqrt(p)) * values) ** 2)
        if kind == "squareroot":
            return np.copysign(np.sqrt(np.abs(values) * p), values)
        if kind == "logarithm":
            return np.asarray(np.copysign(np.log(np.abs(values) + 1), values) * (p / np.log(p + 1)))
        return np.asarray(np.exp((np.log(p) / p) * values))
