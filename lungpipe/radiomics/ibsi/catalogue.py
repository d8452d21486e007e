"""Names, codes and order of IBSI 1's features, as the published tables have them (``catalogue.toml``)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Families whose features tell what happened to image and region, by the stage that they describe.
DIAGNOSTIC_FAMILIES = ("initial_image", "interpolated_image", "initial_roi", "interpolated_roi", "resegmented_roi")
#: Families without a texture matrix.
WHOLE_FAMILIES = ("morphology", "local", "statistics", "histogram", "volume_histogram")
#: Families whose matrix has a direction.
DIRECTED_FAMILIES = ("cooccurrence", "runs")
#: Families whose matrix has none.
UNDIRECTED_FAMILIES = ("size_zones", "distance_zones", "tone_differences", "dependence")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How the features of slices and directions become one.

    Parameters
    ----------
    code : str
        IBSI's code.
    name : str
        As in the published tables.
    suffix : str
        What follows a feature's tag there.
    by_slice : bool
        Whether neighbours are looked for within slices only.
    merge_slices, merge_directions : bool
        Whether matrices are added before features are taken; otherwise features are averaged.
    """

    code: str
    name: str
    suffix: str
    by_slice: bool
    merge_slices: bool
    merge_directions: bool


#: Of matrices with directions (co-occurrences and runs).
DIRECTED = (
    Aggregation("BTW3", "2D, averaged", "2D_avg", True, False, False),
    Aggregation("SUJT", "2D, slice-merged", "2D_comb", True, False, True),
    Aggregation("JJUI", "2.5D, direction-merged", "2_5D_avg", True, True, False),
    Aggregation("ZW7Z", "2.5D, merged", "2_5D_comb", True, True, True),
    Aggregation("ITBB", "3D, averaged", "3D_avg", False, True, False),
    Aggregation("IAZD", "3D, merged", "3D_comb", False, True, True),
)
#: Of matrices without.
UNDIRECTED = (
    Aggregation("8QNN", "2D", "2D", True, False, True),
    Aggregation("62GR", "2.5D", "2_5D", True, True, True),
    Aggregation("KOBO", "3D", "3D", False, True, True),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A feature as the published tables name it.

    Parameters
    ----------
    tag, feature, ibsi_code : str
        A texture feature's tag includes the aggregation's suffix; a diagnostic feature has no code.
    family, family_code : str
        A texture family's name includes the aggregation, as in the tables.
    aggregation : str
        IBSI's code of it, or empty.
    """

    tag: str
    feature: str
    ibsi_code: str
    family: str
    family_code: str
    aggregation: str


@cache
def families() -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """Name and code of each feature by its tag, in the published order, by the families' own keys."""
    return {
        key: {tag: (str(entry["name"]), str(entry["code"])) for tag, entry in family["features"].items()}
        for key, family in _read().items()
    }


def family(key: str) -> tuple[str, str]:
    """Name and code of a family, by its own key."""
    return str(_read()[key]["family"]), str(_read()[key]["code"])


@cache
def entries(dimensions: tuple[str, ...], *, diagnostics: bool) -> tuple[Entry, ...]:
    """Every feature of a configuration, in the order of the published tables.

    Parameters
    ----------
    dimensions : tuple of {"2D", "3D"}
        Whether texture is taken by slice (2D and 2.5D), of the whole region (3D), or both.
    diagnostics : bool
        Whether the families that describe the preparation are among them.
    """
    found: list[Entry] = []
    for key in (*DIAGNOSTIC_FAMILIES, *WHOLE_FAMILIES):
        if diagnostics or key in WHOLE_FAMILIES:
            found += _entries(key, None)
    for keys, aggregations in ((DIRECTED_FAMILIES, DIRECTED), (UNDIRECTED_FAMILIES, UNDIRECTED)):
        for key in keys:
            for aggregation in wanted(aggregations, dimensions):
                found += _entries(key, aggregation)
    return tuple(found)


def wanted(aggregations: tuple[Aggregation, ...], dimensions: tuple[str, ...]) -> list[Aggregation]:
    """Those of the aggregations that belong to the dimensions."""
    return [one for one in aggregations if ("2D" if one.by_slice else "3D") in dimensions]


def _entries(key: str, aggregation: Aggregation | None) -> list[Entry]:
    name, code = family(key)
    if aggregation is None:
        return [Entry(tag, feature, ibsi, name, code, "") for tag, (feature, ibsi) in families()[key].items()]
    named = f"{name} ({aggregation.name})"
    return [
        Entry(f"{tag}_{aggregation.suffix}", feature, ibsi, named, code, aggregation.code)
        for tag, (feature, ibsi) in families()[key].items()
    ]


@cache
def _read() -> Mapping[str, dict[str, dict[str, dict[str, str]]]]:
    text = (resources.files("lungpipe.radiomics.ibsi") / "catalogue.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
