"""Decide which radiologists' outlines show the same nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from data_catalog.lidc.reading import Annotation, Scan

#: Four radiologists read each scan, so a cluster of more outlines holds more than one nodule.
RATERS_PER_SCAN = 4
#: What the tolerance is multiplied by while some cluster holds more outlines than there are radiologists.
SHRINK_FACTOR = 0.9
#: The search for a tolerance ends below this, mm; the clusters found last are then kept as they are.
MIN_TOLERANCE_MM = 0.1


def cluster_annotations(scan: Scan, annotations: Sequence[Annotation]) -> list[list[Annotation]]:
    """Group the outlines of one scan into nodules.

    Two outlines belong together when the nearest two of their points lie no further apart than a tolerance, directly or
    through others. The tolerance starts at the pixel spacing and shrinks until no group has more than four outlines.
    This is the documented rule of pylidc (Hancock and Magnan 2016, doi:10.1117/1.JMI.3.4.044504), with distances in mm.
    Starting at the slice thickness instead, as that package's code does, joins a few more small nodules.

    Parameters
    ----------
    scan : Scan
        The scan, for its pixel spacing.
    annotations : sequence of Annotation
        All annotations of that scan.

    Returns
    -------
    list of list of Annotation
        The nodules, by increasing mean z position. Fourteen groups in the whole data set keep more than four.
    """
    if not annotations:
        return []
    points = [_points_mm(annotation, scan.pixel_spacing_mm) for annotation in annotations]
    distance_mm = _nearest_distances(points, scan.pixel_spacing_mm)
    tolerance_mm = scan.pixel_spacing_mm
    labels = _components(distance_mm, tolerance_mm)
    while np.bincount(labels).max() > RATERS_PER_SCAN:
        tolerance_mm *= SHRINK_FACTOR
        if tolerance_mm < MIN_TOLERANCE_MM:
            break
        labels = _components(distance_mm, tolerance_mm)
    groups: list[list[Annotation]] = [[] for _ in range(int(labels.max()) + 1)]
    for label, annotation in zip(labels, annotations, strict=True):
        groups[label].append(annotation)
    return sorted(groups, key=lambda group: (_mean_z_mm(group), group[0].annotation_id))


def _points_mm(annotation: Annotation, pixel_spacing_mm: float) -> NDArray[np.float64]:
    """Outline points of an annotation (x, y, z), mm, shape (n, 3), from the corner of the image."""
    xy_mm = np.concatenate([contour.points_xy for contour in annotation.contours]) * pixel_spacing_mm
    counts = [len(contour.points_xy) for contour in annotation.contours]
    return np.column_stack([xy_mm, np.repeat([contour.z_mm for contour in annotation.contours], counts)])


def _nearest_distances(points_mm: Sequence[NDArray[np.float64]], reach_mm: float) -> NDArray[np.float64]:
    """Smallest distance between the points of every pair, mm, shape (n, n); infinite beyond ``reach_mm``."""
    trees = [cKDTree(p) for p in points_mm]
    distance_mm = np.full((len(trees), len(trees)), np.inf)
    for i, tree in enumerate(trees):
        for j in range(i):
            if np.any(tree.mins > trees[j].maxes + reach_mm) or np.any(trees[j].mins > tree.maxes + reach_mm):
                continue
            nearest_mm, _ = trees[j].query(points_mm[i], distance_upper_bound=np.nextafter(reach_mm, np.inf))
            distance_mm[i, j] = distance_mm[j, i] = np.min(nearest_mm)
    return distance_mm


def _components(distance_mm: NDArray[np.float64], tolerance_mm: float) -> NDArray[np.int32]:
    """Label of each outline's group when those at most ``tolerance_mm`` apart are joined, shape (n,)."""
    _, labels = connected_components(distance_mm <= tolerance_mm, directed=False)
    return np.asarray(labels, dtype=np.int32)


def _mean_z_mm(group: Sequence[Annotation]) -> float:
    """Mean slice position of a group's outlines, mm."""
    return float(np.mean([contour.z_mm for annotation in group for contour in annotation.contours]))
