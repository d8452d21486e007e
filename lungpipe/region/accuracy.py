"""How far the volume of a region may be off, by its thickness and the scan's slices; measured, not promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lungpipe.geometry import Triple
    from lungpipe.region.specs import ShellSpec

#: Regions thinner than this, mm, are thin.
THIN_MM = 4.0
#: By the largest voxel side, mm: relative error of thin and of thicker regions that none of the balls and ellipsoids of
#: ``benchmarks/regions.py`` exceeds on average over positions within the voxel (objects of 3 to 20 mm radius).
LIMITS = ((1.25, 0.05, 0.02), (2.5, 0.10, 0.05), (3.0, 0.10, 0.07), (5.0, 0.35, 0.15))


def expected_error(spec: ShellSpec, spacing_mm: Triple) -> float:
    """Relative error of a region's volume before clipping that is to be reckoned with.

    Parameters
    ----------
    spec : ShellSpec
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    float
        0 for the nodule itself, whose voxels are given; NaN on voxels that were not measured and for cuboids, which are
        1.6 to 2.2 times as large as their radius says.
    """
    if spec.kind == "nodule":
        return 0.0
    if spec.metric == "cuboid":
        return float("nan")
    thin = spec.radius_mm - spec.inner_mm < THIN_MM
    for largest_mm, of_thin, of_thick in LIMITS:
        if max(spacing_mm) <= largest_mm + 1e-3:
            return of_thin if thin else of_thick
    return float("nan")
