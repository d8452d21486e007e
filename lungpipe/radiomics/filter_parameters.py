"""From a recipe's tables of filter parameters to settings, with every name and kind checked."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi_filters import IbsiFilter, is_ibsi
from lungpipe.radiomics.image_types import PARAMETERS_OF, FilterParameters, image_type, nearest
from lungpipe.radiomics.texture import Norm, TextureSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Kinds of texture settings whose default is None.
_KINDS: Mapping[str, type] = {"bin_count": int, "bin_origin": float, "weighting": str}


def parameters_from(
    tables: Mapping[str, Mapping[str, Any]], filters: Sequence[str], texture: TextureSettings
) -> tuple[FilterParameters, tuple[tuple[str, TextureSettings], ...], tuple[IbsiFilter, ...]]:
    """Read what a recipe says of single image types.

    Parameters
    ----------
    tables : mapping
        Image type to its parameters: those of its filter by the keys of
        :data:`lungpipe.radiomics.image_types.PARAMETERS_OF`, and fields of TextureSettings that differ for it.
    filters : sequence of str
        Image types of the recipe.
    texture : TextureSettings
        What holds for the others.

    Returns
    -------
    FilterParameters
    tuple
        Pairs of an image type and its own TextureSettings, for ``RadiomicsSettings.overrides``.
    tuple of IbsiFilter
        IBSI-2's filters among them, with their parameters.

    Raises
    ------
    DatasetError
        If a name is unknown, a value of the wrong kind, or an image type not among the filters.
    """
    asked = list(dict.fromkeys(image_type(name) for name in filters))
    texture_keys = [field.name for field in fields(TextureSettings)]
    of_ibsi: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    of_filters: dict[str, Any] = {}
    overrides: list[tuple[str, TextureSettings]] = []
    for name, table in tables.items():
        kind, where = image_type(name), f"features.filter_parameters.{name}"
        if kind not in asked:
            raise DatasetError(f"{where}: {kind!r} is not among features.filters")
        if kind in seen:
            raise DatasetError(f"{where}: {kind!r} has a table already, under another spelling; join the two")
        seen.add(kind)
        own = PARAMETERS_OF.get(kind, {})
        of_texture = {}
        for key, value in table.items():
            if is_ibsi(kind) and key not in texture_keys:
                of_ibsi.setdefault(kind, {})[key] = value
            elif key in own:
                of_filters[own[key]] = _checked(f"{where}.{key}", value, FilterParameters(), own[key])
            elif key in texture_keys:
                of_texture[key] = _checked(f"{where}.{key}", value, texture, key)
            else:
                raise DatasetError(f"unknown key '{where}.{key}'{nearest(key, [*own, *texture_keys])}")
        if of_texture:
            overrides.append((kind, replace(texture, **of_texture)))
    ibsi = tuple(IbsiFilter.of(kind, of_ibsi.get(kind, {})) for kind in asked if is_ibsi(kind))
    return FilterParameters(**of_filters), tuple(overrides), ibsi


def _checked(where: str, value: Any, defaults: FilterParameters | TextureSettings, name: str) -> Any:
    """A value as the settings hold it, if it is of the kind of its default."""
    default = getattr(type(defaults)(), name)
    kind = _KINDS.get(name, type(default))
    if kind is float and type(value) in {int, float}:
        return float(value)
    if kind is tuple and isinstance(value, list | tuple):
        item = type(default[0])
        if value and all(type(one) is item or (item is float and type(one) is int) for one in value):
            return tuple(item(one) for one in value)
    elif type(value) is kind and (name != "weighting" or value in get_args(Norm)):
        return value
    like = list(get_args(Norm)) if name == "weighting" else list(default) if kind is tuple else default
    raise DatasetError(f"{where}: expected a value like {like!r}, found {value!r}")
