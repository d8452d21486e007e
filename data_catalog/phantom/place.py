"""Find room for the nodules in a simulated lung."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog.phantom.anatomy import Chest
    from data_catalog.phantom.shapes import Shape
    from lungpipe.geometry import Geometry, Triple

#: Least distance from a nodule's surface to the edge of the volume, mm.
EDGE_MM = 13.5
#: Least distance to the pleura, mm; for a few nodules it is drawn from the second range, and they lie at the wall.
PLEURA_MM, NEAR_WALL_MM, NEAR_WALL_SHARE = 9.0, (3.0, 6.0), 0.12
#: Distance wanted between two nodules' surfaces, mm; halved again and again where there is no room.
APART_MM = 26.0
TRIALS = 4000


def place_nodules(rng: np.random.Generator, grid: Geometry, chest: Chest, shapes: Sequence[Shape]) -> list[Triple]:
    """Draw a place for every nodule.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the places.
    grid : Geometry
        The patient's grid.
    chest : Chest
        The lung.
    shapes : sequence of Shape
        The nodules.

    Returns
    -------
    list of tuple
        LPS centre (x, y, z) of each nodule's box, mm.

    Raises
    ------
    DatasetError
        If a nodule is too large for the grid.
    """
    low = np.asarray(grid.origin_mm)
    high = low + (np.asarray(grid.shape) - 1)[::-1] * np.asarray(grid.spacing_mm)[::-1]
    places: list[Triple] = []
    for number, shape in enumerate(shapes):
        near_wall = rng.random() < NEAR_WALL_SHARE
        gap_mm = rng.uniform(*NEAR_WALL_MM)
        margin = EDGE_MM + np.asarray(shape.size_mm) / 2
        points = rng.uniform(low + margin, high - margin, (TRIALS, 3))
        depth = -chest.depth_mm(points[:, 0], points[:, 1]) - shape.radius_mm
        lateral = chest.lateral * (points[:, 0] - chest.centre_mm[0]) > 0.6 * chest.half_mm[0]
        at_wall = lateral & (np.abs(depth - gap_mm) < 1.0)
        fits = at_wall if near_wall and at_wall.any() else depth > PLEURA_MM
        for apart_mm in (APART_MM, APART_MM / 2, APART_MM / 4):
            clear = fits.copy()
            for other, place in zip(shapes[:number], places, strict=False):
                gap = np.linalg.norm(points - np.asarray(place), axis=1) - other.radius_mm - shape.radius_mm
                clear &= gap > apart_mm
            if clear.any():
                x, y, z = points[int(clear.argmax())].tolist()
                places.append((x, y, z))
                break
        else:
            raise DatasetError(
                f"no room for nodule {number + 1} of {len(shapes)} in a simulated lung; use another seed"
            )
    return places
