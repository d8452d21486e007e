"""The images that features are computed of: PyRadiomics' image types, and the parameters of its filters."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import pywt

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2.names import FILTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Image types by the names that settings use, with those of PyRadiomics' parameter files, in PyRadiomics' order.
IMAGE_TYPES: Mapping[str, str] = {
    "original": "Original",
    "log": "LoG",
    "wavelet": "Wavelet",
    "square": "Square",
    "squareroot": "SquareRoot",
    "logarithm": "Logarithm",
    "exponential": "Exponential",
    "gradient": "Gradient",
    "lbp-2d": "LBP2D",
    "lbp-3d": "LBP3D",
}
#: Image types whose values depend on the greatest absolute value of the whole image.
SCALED_BY_PEAK = frozenset({"square", "squareroot", "logarithm", "exponential"})

#: Levels of a wavelet beyond which it reaches further than a chest, and divisions of a sphere beyond which it has 10^5 points.
MOST_LEVELS, MOST_SUBDIVISIONS = 9, 6

LbpMethod = Literal["default", "ror", "uniform", "var"]


@dataclass(frozen=True, slots=True)
class FilterParameters:
    """Parameters of PyRadiomics' filters; each belongs to one image type.

    Parameters
    ----------
    sigma_mm : tuple of float
        Standard deviations of the Gaussians of ``log``, mm; one image each. PyRadiomics' ``sigma``.
    wavelet : str
        Discrete wavelet of PyWavelets, for ``wavelet``.
    level : int
        Levels of decomposition that give images.
    start_level : int
        Levels of decomposition before those.
    gradient_use_spacing : bool
        Whether ``gradient`` is per mm; else it is per voxel. ``gradientUseSpacing``.
    lbp_2d_radius : float
        Radius of the circle of ``lbp-2d``, voxels.
    lbp_2d_samples : int
        Points on that circle.
    lbp_2d_method : {"uniform", "default", "ror", "var"}
        What is made of the pattern; see scikit-image's ``local_binary_pattern``.
    lbp_3d_levels : int
        Orders of spherical harmonics of ``lbp-3d``; one image each, beside that of the kurtosis.
    lbp_3d_radius : float
        Radius of the sphere of ``lbp-3d``, voxels. ``lbp3DIcosphereRadius``.
    lbp_3d_subdivision : int
        How often the faces of the icosahedron on that sphere are divided. ``lbp3DIcosphereSubdivision``.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    sigma_mm: tuple[float, ...] = (1.0, 2.0, 3.0)
    wavelet: str = "coif1"
    level: int = 1
    start_level: int = 0
    gradient_use_spacing: bool = True
    lbp_2d_radius: float = 1.0
    lbp_2d_samples: int = 8
    lbp_2d_method: LbpMethod = "uniform"
    lbp_3d_levels: int = 2
    lbp_3d_radius: float = 1.0
    lbp_3d_subdivision: int = 1

    def __post_init__(self) -> None:
        if not self.sigma_mm or not all(0 < sigma < math.inf for sigma in self.sigma_mm):
            raise DatasetError(f"log: sigma_mm must be positive lengths in mm, found {list(self.sigma_mm)}")
        if len(set(self.sigma_mm)) < len(self.sigma_mm):
            raise DatasetError(f"log: sigma_mm holds a length twice: {list(self.sigma_mm)}")
        known = pywt.wavelist(kind="discrete")
        if self.wavelet not in known:
            raise DatasetError(
                f"wavelet: no discrete wavelet {self.wavelet!r} in PyWavelets{nearest(self.wavelet, known)}"
            )
        least = {"level": 1, "start_level": 0, "lbp_2d_samples": 1, "lbp_3d_levels": 1, "lbp_3d_subdivision": 0}
        for name, bound in least.items():
            if (found := getattr(self, name)) < bound:
                raise DatasetError(f"{name} must be at least {bound}, found {found}")
        for name in ("lbp_2d_radius", "lbp_3d_radius"):
            if not 0 < (radius := getattr(self, name)) < math.inf:
                raise DatasetError(f"{name} must be positive and finite, found {radius}")
        most = {"level": MOST_LEVELS, "start_level": MOST_LEVELS, "lbp_3d_subdivision": MOST_SUBDIVISIONS}
        for name, bound in most.items():
            if (found := getattr(self, name)) > bound:
                raise DatasetError(f"{name} must be at most {bound}, found {found}")
        if self.lbp_2d_method not in get_args(LbpMethod):
            raise DatasetError(
                f"lbp_2d_method must be one of {', '.join(get_args(LbpMethod))}; found {self.lbp_2d_method!r}"
            )


#: For each image type its own parameters, by the keys of a recipe, as fields of :class:`FilterParameters`.
PARAMETERS_OF: Mapping[str, Mapping[str, str]] = {
    "log": {"sigma_mm": "sigma_mm"},
    "wavelet": {"wavelet": "wavelet", "level": "level", "start_level": "start_level"},
    "gradient": {"use_spacing": "gradient_use_spacing"},
    "lbp-2d": {"radius": "lbp_2d_radius", "samples": "lbp_2d_samples", "method": "lbp_2d_method"},
    "lbp-3d": {"levels": "lbp_3d_levels", "radius": "lbp_3d_radius", "subdivision": "lbp_3d_subdivision"},
}


def image_type(name: str) -> str:
    """Bring the name of an image type to the form that settings use.

    Raises
    ------
    DatasetError
        If neither PyRadiomics nor IBSI-2 has one of that name, whatever the case of the letters.
    """
    wanted = name.strip().lower()
    if wanted in FILTERS:
        return wanted
    for ours, theirs in IMAGE_TYPES.items():
        if wanted in {ours, theirs.lower()}:
            return ours
    raise DatasetError(f"features.filters: no image type {name!r}{nearest(wanted, [*IMAGE_TYPES, *FILTERS])}")


def type_of(image_name: str) -> str:
    """Image type of a filtered image by the image's name (``wavelet-LLH``, ``ibsi-mean-5``)."""
    lowered = image_name.lower()
    for name in FILTERS:
        if lowered == name or lowered.startswith(f"{name}-"):
            return name
    found = [kind for kind in IMAGE_TYPES if lowered == kind or lowered.startswith(f"{kind}-")]
    if not found and lowered.startswith("wavelet"):  # wavelet2-LLH: the second level
        return "wavelet"
    if not found:
        raise DatasetError(f"no image type makes an image {image_name!r}{nearest(lowered, IMAGE_TYPES)}")
    return found[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error's message: the nearest known name, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if len(names) <= 30 else f"; known: {', '.join(names[:30])} and more"
