"""Local binary patterns on a box, with the values that PyRadiomics has for all of the image.

In two dimensions the values are scikit-image's, as in PyRadiomics. In three, PyRadiomics needs a function that SciPy no longer
has and then leaves the images out without a word, so they are computed here from the definition: the image is sampled on a
sphere round a voxel, compared with the voxel, and the pattern of zeros and ones is developed in spherical harmonics, whose
strength by order does not change as the sphere turns.

References
----------
.. [1] Ojala, Pietikainen and Harwood, A comparative study of texture measures with classification based on feature
   distributions, Pattern Recognition 29(1), 1996.
.. [2] Banerjee, Moelker, Niessen and van Walsum, 3D LBP-based rotationally invariant region description, ACCV 2012
   Workshops, LNCS 7728, 2013.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, stats
from scipy.special import sph_harm_y

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.radiomics.image_types import FilterParameters
    from lungpipe.radiomics.settings import RadiomicsSettings

#: Voxels after which the cubic spline's prefilter (0.268 a voxel) is below double precision.
_SPLINE_REACH = 28

#: Products of samples and harmonics that are held at a time.
_PRODUCTS = 1 << 20


def reach_2d(radius: float) -> int:
    """Voxels past a voxel that the circle and bilinear interpolation look at."""
    return math.ceil(radius) + 1


def reach_3d(radius: float) -> int:
    """Voxels past a voxel that the sphere and the spline look at."""
    return math.ceil(radius) + 2 + _SPLINE_REACH


def pattern_2d(
    values: NDArray[Any], start: IndexTriple, window: tuple[slice, ...], settings: RadiomicsSettings
) -> tuple[str, NDArray[Any]]:
    """Patterns in the planes at right angles to the axis of ``force_2d_axis``, in the type of the image.

    scikit-image rounds a sample's place differently at different places of the plane, which decides where neighbours are equal:
    the support is therefore laid where it is in the image, as far as rows and columns before it go.
    """
    from skimage.feature import local_binary_pattern

    parameters, axis = settings.parameters, settings.texture_of("lbp-2d").force_2d_axis
    planes = np.swapaxes(values, 0, axis)  # as PyRadiomics turns them: codes of some methods depend on it
    order = [0, 1, 2]
    order[0], order[axis] = order[axis], order[0]
    rows, columns = start[order[1]], start[order[2]]
    out = np.zeros_like(values)
    with warnings.catch_warnings():
        # PyRadiomics takes patterns of images of real numbers too.
        warnings.filterwarnings("ignore", "Applying `local_binary_pattern` to floating-point", UserWarning)
        for plane, into in zip(planes, np.swapaxes(out, 0, axis), strict=True):
            placed = np.pad(plane, ((rows, 0), (columns, 0)))
            codes = local_binary_pattern(
                placed, P=parameters.lbp_2d_samples, R=parameters.lbp_2d_radius, method=parameters.lbp_2d_method
            )
            into[...] = codes[rows:, columns:]
    return "lbp-2D", out[window]


def patterns_3d(
    values: NDArray[Any], window: tuple[slice, ...], inside: NDArray[np.bool_], parameters: FilterParameters
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Strength of each order of the pattern round a voxel, and the kurtosis of the samples on its sphere."""
    directions, harmonics, orders = _sphere(
        parameters.lbp_3d_levels, parameters.lbp_3d_radius, parameters.lbp_3d_subdivision
    )
    own_type = values.dtype
    spline = ndimage.spline_filter(values.astype(np.float64), order=3, output=np.float64)
    places = np.argwhere(inside) + [part.start for part in window]
    strengths = np.empty((len(places), parameters.lbp_3d_levels))
    kurtosis = np.empty(len(places))
    block = max(1, _PRODUCTS // harmonics.size)
    for first in range(0, len(places), block):
        part = slice(first, first + block)
        at = places[part, None, :] + directions
        samples = np.empty(at.shape[:2], dtype=own_type)
        ndimage.map_coordinates(spline, np.moveaxis(at, -1, 0), output=samples, order=3, prefilter=False)
        kurtosis[part] = _kurtosis(samples)
        pattern = samples >= values[tuple(places[part].T)][:, None]
        coefficients = (pattern[:, :, None] * harmonics).sum(axis=1)
        developed = np.stack(
            [_of_order(n, coefficients, harmonics, orders) for n in range(strengths.shape[1])], axis=-1
        )
        strengths[part] = np.sqrt(np.sum(developed**2, axis=1)).real
    for order in range(parameters.lbp_3d_levels):
        yield f"lbp-3D-m{order + 1}", _spread(strengths[:, order], inside)
    yield "lbp-3D-k", _spread(kurtosis, inside)


def _of_order(
    order: int, coefficients: NDArray[np.complex128], harmonics: NDArray[np.complex128], orders: NDArray[np.int64]
) -> NDArray[np.complex128]:
    """The part of a pattern that one order of harmonics makes up, at each point of the sphere."""
    mine = orders == order
    return np.asarray((coefficients[:, None, mine] * harmonics[:, mine]).sum(axis=2))


def _kurtosis(samples: NDArray[Any]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        # Where all samples are the same there is no kurtosis: NaN, as in PyRadiomics.
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        return np.asarray(stats.kurtosis(samples, axis=1))


def _spread(values: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    out = np.zeros(inside.shape)
    out[inside] = values
    return out


@cache
def _sphere(
    levels: int, radius: float, subdivision: int
) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.int64]]:
    """Points of the sphere, shape (n, 3), harmonics there, shape (n, levels squared), and the order of each.

    As in PyRadiomics, the polar angle stands where SciPy's old function took the azimuth, and the other way round.
    """
    from trimesh.creation import icosphere

    directions = np.array(icosphere(subdivision, radius).vertices)
    polar = np.arccos(directions[:, 2] / radius)
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    pairs = [(n, m) for n in range(levels) for m in range(-n, n + 1)]
    harmonics = np.column_stack([sph_harm_y(n, m, azimuth, polar) for n, m in pairs])
    return directions, harmonics, np.array([n for n, _ in pairs])
