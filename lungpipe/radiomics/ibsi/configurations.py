"""The five ways in which IBSI prepares its CT phantom, and the one without any preparation (manual, chapter 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Bins:
    """How intensities become grey levels (manual, section 2.7).

    Parameters
    ----------
    kind : {"none", "width", "count"}
        ``"none"`` takes whole-numbered intensities as they are.
    size : float
        Width of a bin in HU, or number of bins.
    """

    kind: Literal["none", "width", "count"]
    size: float = 1.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """How image and region are prepared before features are taken.

    Parameters
    ----------
    name : str
    dimensions : tuple of {"2D", "3D"}
        Whether texture is taken by slice (2D and 2.5D), of the whole region (3D), or both.
    spacing_mm : tuple of float, optional
        New voxel sides along (z, y, x), mm; None keeps an axis, or all.
    order : int
        Spline order of the interpolation of intensities.
    range_hu : tuple of float, optional
        Closed range of intensities that stay in the intensity mask.
    outlier_sigma : float, optional
        Intensities farther from the region's mean than so many standard deviations leave the intensity mask.
    texture, volume_histogram : Bins
        Discretisation for the texture matrices and the intensity histogram, and for the intensity-volume histogram.
    """

    name: str
    dimensions: tuple[Literal["2D", "3D"], ...]
    spacing_mm: tuple[float | None, float | None, float | None] | None = None
    order: int = 1
    range_hu: tuple[float, float] | None = None
    outlier_sigma: float | None = None
    texture: Bins = Bins("none")
    volume_histogram: Bins = Bins("none")


_2MM = (2.0, 2.0, 2.0)

#: By the names that ``profile_rows`` takes.
CONFIGURATIONS: Mapping[str, Configuration] = {
    one.name: one
    for one in (
        Configuration("ibsi-A", ("2D",), range_hu=(-500, 400), texture=Bins("width", 25)),
        Configuration("ibsi-B", ("2D",), (None, 2.0, 2.0), range_hu=(-500, 400), texture=Bins("count", 32)),
        Configuration(
            "ibsi-C",
            ("3D",),
            _2MM,
            range_hu=(-1000, 400),
            texture=Bins("width", 25),
            volume_histogram=Bins("width", 2.5),
        ),
        Configuration("ibsi-D", ("3D",), _2MM, outlier_sigma=3, texture=Bins("count", 32)),
        Configuration(
            "ibsi-E",
            ("3D",),
            _2MM,
            order=3,
            range_hu=(-1000, 400),
            outlier_sigma=3,
            texture=Bins("count", 32),
            volume_histogram=Bins("count", 1000),
        ),
    )
}
#: For an image that is made of grey levels, as IBSI's digital phantom is.
UNPREPARED = Configuration("unprepared", ("2D", "3D"))


def configuration(name: str) -> Configuration:
    """Find a configuration by its name.

    Raises
    ------
    DatasetError
        If there is none of that name.
    """
    if name not in CONFIGURATIONS:
        raise DatasetError(f"no IBSI profile is called {name!r}; there are {', '.join(CONFIGURATIONS)}")
    return CONFIGURATIONS[name]
