"""From a recipe's words to filters: ``ibsi-log`` with ``sigma_mm = 1.5`` is an image, its reach and a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.geometry import Triple
from lungpipe.radiomics.ibsi2 import (
    FilterSpec,
    Gabor,
    LaplacianOfGaussian,
    Laws,
    Mean,
    SeparableWavelet,
    Simoncelli,
    response,
)
from lungpipe.radiomics.ibsi2.fields import positive

if TYPE_CHECKING:
    import numpy as np

ImageFilter = tuple[str, int | None, Callable[[NDArray[Any], Triple], NDArray[Any]]]

#: Filters by the names that recipes give them.
FILTERS: Mapping[str, type[FilterSpec]] = {
    spec.recipe_name: spec for spec in (Mean, LaplacianOfGaussian, Laws, Gabor, SeparableWavelet, Simoncelli)
}
#: Key beside a filter's own parameters: voxel sides (z, y, x), mm, of the finest grid on which it will run.
SPACING = "spacing_mm"
#: Voxel sides that a reach in voxels is stated for where nothing else is said: the recipe's default resampling.
DEFAULT_SPACING_MM: Triple = (1.0, 1.0, 1.0)
#: A word for what TOML cannot write.
NONE = "none"


def image_filters(name: str, parameters: Mapping[str, Any]) -> list[ImageFilter]:
    """Images that a recipe's filter asks for.

    Parameters
    ----------
    name : str
        A key of :data:`FILTERS`.
    parameters : mapping
        The filter's parameters; a list asks for one image for each of its values. ``pooling = "none"`` takes one
        orientation. ``spacing_mm``, optional, tells the voxel sides (z, y, x) of the grid, which a reach in voxels of
        a scale in mm depends on; 1 mm otherwise.

    Returns
    -------
    list of (str, int or None, callable)
        For each image its name in the feature table, the voxels round a region that its filter reads (None: the whole
        image), and the function from values (z, y, x) and voxel sides (z, y, x), mm, to the response.

    Raises
    ------
    DatasetError
        If there is no such filter or parameter, or a value makes no sense.
    """
    if name not in FILTERS:
        raise DatasetError(f"there is no filter {name!r}; IBSI's are {', '.join(FILTERS)}{_nearest(name, FILTERS)}")
    spacing_mm = _spacing(name, parameters.get(SPACING, DEFAULT_SPACING_MM))
    made: list[ImageFilter] = []
    for spec in _specs(FILTERS[name], {key: value for key, value in parameters.items() if key != SPACING}):
        reach = spec.reach_voxels(spacing_mm)
        made.append((image_name(spec), reach, partial(_respond, spec, reach)))
    return made


def image_name(spec: FilterSpec) -> str:
    """Name of a filtered image in a feature table: no dot and no underscore, and every parameter that is not the default.

    Examples
    --------
    >>> image_name(Laws("L5E5E5"))
    'laws-L5E5E5-energy7'
    >>> image_name(LaplacianOfGaussian(1.5, dimensions=2))
    'log-1-5mm-2D'
    """
    parts = [spec.label()]
    for field in fields(spec):  # type: ignore[arg-type]  # every filter is a dataclass, which a Protocol cannot say
        value = getattr(spec, field.name)
        if field.name in _WORDS and value != field.default:
            parts.append(_WORDS[field.name](value))
    return "-".join(parts).replace(".", "-")


#: How a parameter that is not the filter's default is told in a name.
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "cutoff": lambda value: f"cutoff{value:.12g}",
    "gamma": lambda value: f"gamma{value:.12g}",
    "theta_deg": lambda value: f"theta{value:.12g}",
    "step_deg": lambda value: f"step{value:.12g}",
    "pooling": lambda value: value or "unpooled",
    "dimensions": lambda value: f"{value}D",
    "boundary": str,
}


def _specs(kind: type[FilterSpec], parameters: Mapping[str, Any]) -> list[FilterSpec]:
    """Every combination of listed parameters, in the order in which the filter names them."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    name = kind.recipe_name
    for key in parameters:
        if key not in known:
            listed = ", ".join((*known, SPACING))
            raise DatasetError(f"{name} has no parameter {key!r}; it has {listed}{_nearest(key, known)}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in parameters]
    if missing:
        raise DatasetError(f"{name} needs {', '.join(missing)}; found {', '.join(parameters) or 'no parameter'}")
    keys = [key for key in known if key in parameters]
    lists = [_choices(name, key, parameters[key]) for key in keys]
    return [kind(**dict(zip(keys, values, strict=True))) for values in product(*lists)]


def _choices(name: str, key: str, value: object) -> list[object]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise DatasetError(f"{name}: {key} is an empty list; give a value, or leave {key} out")
    return [None if key == "pooling" and found == NONE else found for found in values]


def _spacing(name: str, value: object) -> Triple:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise DatasetError(f"{name}: {SPACING} must be three voxel sides (z, y, x) in mm; found {value!r}")
    for side in value:
        positive(name, SPACING, side)
    return float(value[0]), float(value[1]), float(value[2])


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(word, known, n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def _respond(spec: FilterSpec, stated: int | None, values: NDArray[Any], spacing_mm: Triple) -> NDArray[np.float64]:
    """Response on a grid for which the stated reach is enough."""
    reach = spec.reach_voxels(spacing_mm)
    if stated is not None and (reach is None or reach > stated):
        sides = " x ".join(f"{side:g}" for side in spacing_mm)
        raise GeometryError(
            f"{spec.recipe_name}: {stated} voxels round the region were asked for, but on voxels of {sides} mm (z, y, x) "
            f"the filter reads {reach}, so a crop would change its values; pass {SPACING} with the filter's parameters"
        )
    return response(values, spacing_mm, spec)
