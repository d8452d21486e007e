"""The topology of an airway tree: a thinned mask as a tree of voxel paths, freed of spurs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

from lungpipe.errors import RegionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.volume import Mask

#: A twig counts where it leaves its parent's axis by more than this share of the parent's radius ...
SPUR_RADII = 1.5
#: ... and by this many voxels more.
SPUR_VOXELS = 1.0
#: Two forks nearer than this share of the local radius are one.
FORK_RADII = 1.0

Links = dict[int, set[int]]


@dataclass(frozen=True, eq=False, slots=True)
class Lumen:
    """The signed distance to the wall on the mask's own grid.

    Parameters
    ----------
    wall_mm : ndarray of float32, shape (z, y, x)
        Distance to the wall, mm; positive inside, zero half way between the last voxel inside and the first outside.
    spacing_mm : tuple of float
        Along (z, y, x).
    start : ndarray, shape (3,)
        Index (z, y, x) in the frame of voxel (0, 0, 0); it may be negative.
    """

    wall_mm: NDArray[np.float32]
    spacing_mm: Triple
    start: NDArray[np.int64]

    def at(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance to the wall at points (..., 3), mm from voxel (0, 0, 0) along (z, y, x); linear between voxels."""
        index = np.moveaxis(points_mm / np.asarray(self.spacing_mm), -1, 0)
        return np.asarray(ndimage.map_coordinates(self.wall_mm, index, order=1, mode="nearest"), dtype=np.float64)


@dataclass(frozen=True, eq=False, slots=True)
class Skeleton:
    """A tree of points joined by paths.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        mm from the lumen's voxel (0, 0, 0) along (z, y, x).
    radius_mm : ndarray, shape (n,)
        Distance to the wall.
    paths : list of list of int
        Points of each branch from end to end; ends and forks are shared, and a fork of several points is one point.
    """

    points_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    paths: list[list[int]]


def lumen_of(tree: Mask) -> Lumen:
    """Distance to the wall of the mask's largest component, its holes filled.

    Raises
    ------
    RegionError
        If the mask is empty.
    """
    if not tree.n_voxels:
        raise RegionError("no_airways_found", "the airway mask is empty, so it has no branches; check airway_tree")
    tight = tree.trimmed()
    inside = np.pad(tight.voxels, 2)
    labels, count = ndimage.label(inside, np.ones((3, 3, 3)))
    if count > 1:
        inside = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    inside = ndimage.binary_fill_holes(inside)
    spacing_mm = tree.frame.spacing_mm
    depth = ndimage.distance_transform_edt(inside, sampling=spacing_mm)
    wall = depth - ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    return Lumen(wall.astype(np.float32), spacing_mm, np.asarray(tight.start) - 2)


def skeleton_of(lumen: Lumen) -> Skeleton:
    """Thin the lumen and keep what is no spur.

    The distance to the wall is interpolated to cubic voxels first (shape-based interpolation, Raya and Udupa 1990,
    doi:10.1109/42.52980), because thinning counts voxels; thinning is that of Lee et al. 1994
    (doi:10.1006/cgip.1994.1042). A loop is opened where it is thinnest.
    """
    step_mm = min(lumen.spacing_mm)
    wall = _cubic(lumen, step_mm)
    voxels = np.argwhere(skeletonize(np.pad(wall > 0, 1))) - 1
    if not len(voxels):
        voxels = np.array([np.unravel_index(int(np.argmax(wall)), wall.shape)])
    radius_mm = np.maximum(wall[tuple(voxels.T)].astype(np.float64), 0.5 * step_mm)
    points_mm = np.asarray(voxels * step_mm, dtype=np.float64)
    links = _spanning_tree(voxels, radius_mm)
    _prune(links, points_mm, radius_mm, SPUR_VOXELS * step_mm)
    _merge_forks(links, points_mm, radius_mm)
    return Skeleton(points_mm, radius_mm, paths_of(links))


def paths_of(links: Links) -> list[list[int]]:
    """Chains between the points that have not two neighbours, each once, in a fixed order."""
    paths = []
    for node in sorted(n for n, near in links.items() if len(near) != 2):
        for first in sorted(links[node]):
            path = _walk(links, node, first)
            if node < path[-1]:
                paths.append(path)
    return paths


def length_mm(points_mm: NDArray[np.float64]) -> float:
    """Length of a polyline of shape (n, 3)."""
    return float(np.linalg.norm(np.diff(points_mm, axis=0), axis=1).sum())


def _cubic(lumen: Lumen, step_mm: float) -> NDArray[np.float32]:
    wall = lumen.wall_mm
    for axis, spacing_mm in enumerate(lumen.spacing_mm):
        if spacing_mm == step_mm:
            continue
        n = wall.shape[axis]
        at = np.arange(0.0, n - 1 + 1e-9, step_mm / spacing_mm)
        low = np.minimum(at.astype(np.int64), n - 2)
        weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        wall = np.take(wall, low, axis=axis) * (1 - weight) + np.take(wall, low + 1, axis=axis) * weight
    return wall


def _spanning_tree(voxels: NDArray[np.int64], radius_mm: NDArray[np.float64]) -> Links:
    """Neighbouring voxels joined without loops, along the shortest and widest ways."""
    pairs = cKDTree(voxels).query_pairs(1.8, output_type="ndarray")
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    far = np.linalg.norm(voxels[pairs[:, 0]] - voxels[pairs[:, 1]], axis=1)
    # Steps along an axis go before diagonals, and wide places before narrow ones.
    weight = far + 0.1 / (1.0 + radius_mm[pairs].min(axis=1))
    size = len(voxels)
    tree = minimum_spanning_tree(coo_matrix((weight, pairs.T), shape=(size, size)).tocsr()).tocoo()
    links: Links = {n: set() for n in range(size)}
    for a, b in zip(tree.row.tolist(), tree.col.tolist(), strict=True):
        links[a].add(b)
        links[b].add(a)
    return links


def _walk(links: Links, start: int, first: int) -> list[int]:
    path = [start, first]
    while len(links[path[-1]]) == 2:
        path.append(next(n for n in sorted(links[path[-1]]) if n != path[-2]))
    return path


def _prune(links: Links, points_mm: NDArray[np.float64], radius_mm: NDArray[np.float64], slack_mm: float) -> None:
    """Remove the shortest spur until none is left; the longest way through a fork stays."""
    while True:
        shortest: tuple[float, list[int]] | None = None
        for end in sorted(n for n, near in links.items() if len(near) == 1):
            path = _walk(links, end, next(iter(links[end])))
            if len(links[path[-1]]) < 3:
                continue
            long_mm = length_mm(points_mm[path])
            if long_mm < SPUR_RADII * radius_mm[path[-1]] + slack_mm and (shortest is None or long_mm < shortest[0]):
                shortest = long_mm, path
        if shortest is None:
            return
        path = shortest[1]
        links[path[-1]].discard(path[-2])
        for node in path[:-1]:
            del links[node]


def _merge_forks(links: Links, points_mm: NDArray[np.float64], radius_mm: NDArray[np.float64]) -> None:
    """Join forks whose way to each other is shorter than the local radius, the shortest way first."""
    while True:
        ways = [p for p in paths_of(links) if len(links[p[0]]) > 2 and len(links[p[-1]]) > 2]
        near = [
            (length_mm(points_mm[p]), p)
            for p in ways
            if length_mm(points_mm[p]) < FORK_RADII * max(radius_mm[p[0]], radius_mm[p[-1]])
        ]
        if not near:
            return
        path = min(near)[1]
        keep = path[0] if radius_mm[path[0]] >= radius_mm[path[-1]] else path[-1]
        gone = set(path) - {keep}
        outer = {n for g in gone for n in links[g]} - set(path)
        for node in gone:
            for other in links.pop(node):
                if other in links:
                    links[other].discard(node)
        for node in outer:
            links[node].add(keep)
            links[keep].add(node)
