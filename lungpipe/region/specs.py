"""Which regions a nodule has: parts of it and of its surroundings, by the distance from its surface."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["nodule", "grown", "shell", "ring", "core", "band"]
Metric = Literal["ball", "cuboid"]
KINDS: tuple[Kind, ...] = ("nodule", "grown", "shell", "ring", "core", "band")


@dataclass(frozen=True, slots=True, order=True)
class ShellSpec:
    """Which part of a nodule or of its surroundings, by the distance from its surface.

    Parameters
    ----------
    kind : {"nodule", "grown", "shell", "ring", "core", "band"}
        The nodule itself; the nodule and all within ``radius_mm`` of it; the latter without the nodule; of that only what
        is further than ``inner_mm``; what of the nodule lies at least ``radius_mm`` deep; what lies within ``radius_mm`` of
        the surface on either side.
    radius_mm : float
        Distance from the surface, mm; 0 for the nodule itself and for nothing else.
    metric : {"ball", "cuboid"}
        Euclidean distance, or the published tool's cuboid of ``round(mm / spacing)`` voxels an axis (for grown regions
        and shells).
    inner_mm : float
        Where a ring begins, mm; 0 for everything else.

    Raises
    ------
    DatasetError
        If radii, kind and metric contradict each other.
    """

    kind: Kind
    radius_mm: float = 0.0
    metric: Metric = "ball"
    inner_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DatasetError(f"no kind of region {self.kind!r}; known: {', '.join(KINDS)}")
        if (self.kind == "nodule") != (self.radius_mm == 0) or not 0 <= self.radius_mm < float("inf"):
            raise DatasetError(
                f"region {self.kind!r} with radius {self.radius_mm} mm: the nodule has radius 0, "
                "every other region a positive one"
            )
        if not 0 <= self.inner_mm < max(self.radius_mm, 1e-9) or (self.inner_mm and self.kind != "ring"):
            raise DatasetError(
                f"region {self.kind!r} from {self.inner_mm} to {self.radius_mm} mm: only a ring begins away from the "
                "nodule, and ends further out than it begins"
            )
        if self.metric == "cuboid" and self.kind not in {"nodule", "grown", "shell"}:
            raise DatasetError(f"region {self.kind!r}: cuboids are grown regions or shells")


def grid_of_specs(kinds: Iterable[Kind], radii_mm: Iterable[float], metric: Metric = "ball") -> list[ShellSpec]:
    """Every region of a recipe, each once: radius 0 is the nodule, whatever the kind.

    Rings lie between one radius and the next, the first between the nodule's surface and the smallest.
    """
    radii = sorted(set(radii_mm))
    specs = {ShellSpec("nodule", 0.0, metric)} if 0 in radii else set()
    for kind in kinds:
        if kind == "ring":
            edges = sorted({0.0, *radii})
            specs |= {ShellSpec(kind, outer, metric, inner) for inner, outer in pairwise(edges)}
        else:
            specs |= {ShellSpec(kind, radius_mm, metric) for radius_mm in radii if radius_mm > 0}
    return sorted(specs, key=lambda s: (KINDS.index(s.kind), s.radius_mm))
