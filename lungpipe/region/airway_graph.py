"""The branches of an airway tree and their measures, all in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.region.airway_axis import Axis, axis_of, end_line, evenly, length_of, meeting_point, ray_lengths, smooth
from lungpipe.region.airway_skeleton import Lumen, Skeleton, lumen_of, skeleton_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, Triple
    from lungpipe.volume import Mask

#: Raise it when the same mask gives other measures.
VERSION = "1"
#: An end this wide, as a share of the widest in the cranial half, may be the trachea's; the most cranial one is.
ROOT_SHARE = 0.75


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """One airway between two forks, or from a fork to an end.

    Parameters
    ----------
    number : int
        Its place in :attr:`AirwayGraph.branches`.
    generation : int
        0 for the trachea, 1 for the main bronchi, and so on: the number of forks above it.
    parent : int or None
    children : tuple of int
    start_mm, end_mm : tuple of float
        LPS (x, y, z). A fork lies where the axes of its airways meet; an end lies on the wall that closes the airway.
    length_mm : float
        Along the smoothed centreline.
    calibre_mm : float
        Mean over the cross-sections of the diameter of the circle of equal area; sections that open into another
        airway are left out.
    narrowest_mm, widest_mm : float
        The 5th and 95th percentile of the same diameters.
    tortuosity : float
        Length over the straight distance from start to end; 1 for a straight airway.
    branching_angle_deg : float
        Between the parent's direction at its end and this one's at its start; NaN for the trachea.
    centreline_mm : ndarray, shape (n, 3)
        LPS points from start to end.
    """

    number: int
    generation: int
    parent: int | None
    children: tuple[int, ...]
    start_mm: Triple
    end_mm: Triple
    length_mm: float
    calibre_mm: float
    narrowest_mm: float
    widest_mm: float
    tortuosity: float
    branching_angle_deg: float
    centreline_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class AirwayGraph:
    """The airway tree as branches, each after its parent; the first is the trachea."""

    branches: tuple[Branch, ...]


def airway_graph(tree: Mask) -> AirwayGraph:
    """Branches, generations and measures of an airway mask.

    The mask's largest component is thinned on cubic voxels, spurs are pruned, and every path is centred again between
    the walls, so that the measures do not depend on the voxel stairs of the thinned path.

    Parameters
    ----------
    tree : Mask
        The lumen.

    Returns
    -------
    AirwayGraph

    Raises
    ------
    RegionError
        ``no_airways_found`` if the mask is empty.
    """
    lumen = lumen_of(tree)
    skeleton = skeleton_of(lumen)
    paths = _from_root(skeleton, lumen, tree.frame)
    if not paths:
        return AirwayGraph(())
    forks = {path[0] for path, parent in paths if parent is not None}
    axes = [_axis(path, skeleton, lumen, forks) for path, _ in paths]
    places = _places(paths, axes, skeleton, lumen, forks)
    generation: list[int] = []
    branches = []
    for k, (path, parent) in enumerate(paths):
        generation.append(0 if parent is None else generation[parent] + 1)
        children = tuple(j for j, (_, p) in enumerate(paths) if p == k)
        line = _centreline(places[path[0]], axes[k], places[path[-1]], min(lumen.spacing_mm))
        angle = np.nan if parent is None else _angle_deg(axes[parent], axes[k], min(lumen.spacing_mm))
        branches.append(_branch(k, generation[k], parent, children, line, axes[k], angle, lumen, tree.frame))
    return AirwayGraph(tuple(branches))


def summary(graph: AirwayGraph) -> dict[str, float]:
    """Measures of a whole tree, named after the six signatures that AirMorph gives an airway tree, and defined here.

    * stenosis: ``stenosis``, mean over branches of 1 - narrowest / mean diameter (0 for a tube);
    * ectasia: ``ectasia``, mean over branches of widest / mean diameter - 1;
    * tortuosity: ``mean_tortuosity``, mean of length / chord;
    * divergence: ``mean_branching_angle_deg``, mean angle to the parent, degrees; NaN where nothing branches;
    * length: ``total_length_mm``, of all branches, and ``longest_path_mm``, from the cranial end to the farthest one;
    * complexity: ``n_branches``, ``n_ends`` and ``max_generation``.

    ``mean_calibre_mm`` is the mean over branches. Means count every branch once, whatever its length.
    An empty graph has counts and lengths 0, and NaN for every mean.
    """
    branches = graph.branches
    reach_mm: list[float] = []
    for b in branches:
        reach_mm.append(b.length_mm + (0.0 if b.parent is None else reach_mm[b.parent]))
    angles = [b.branching_angle_deg for b in branches if b.parent is not None]
    return {
        "n_branches": float(len(branches)),
        "n_ends": float(sum(not b.children for b in branches)),
        "max_generation": float(max((b.generation for b in branches), default=0)),
        "total_length_mm": float(sum(b.length_mm for b in branches)),
        "longest_path_mm": max(reach_mm, default=0.0),
        "mean_calibre_mm": _mean([b.calibre_mm for b in branches]),
        "mean_tortuosity": _mean([b.tortuosity for b in branches]),
        "mean_branching_angle_deg": _mean(angles),
        "stenosis": _mean([1 - b.narrowest_mm / b.calibre_mm for b in branches]),
        "ectasia": _mean([b.widest_mm / b.calibre_mm - 1 for b in branches]),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _from_root(skeleton: Skeleton, lumen: Lumen, frame: Geometry) -> list[tuple[list[int], int | None]]:
    """Paths directed away from the trachea, each after its parent, with the parent's number; wider siblings first."""
    at: dict[int, list[list[int]]] = {}
    for path in skeleton.paths:
        at.setdefault(path[0], []).append(path)
        at.setdefault(path[-1], []).append(path[::-1])
    if not at:
        return []
    ordered: list[tuple[list[int], int | None]] = []
    todo: list[tuple[list[int], int | None]] = [(at[_root(at, skeleton, lumen, frame)][0], None)]
    while todo:
        path, parent = todo.pop(0)
        number = len(ordered)
        ordered.append((path, parent))
        onward = [p for p in at[path[-1]] if p[1] != path[-2]]
        onward.sort(key=lambda p: (-round(float(np.median(skeleton.radius_mm[p])), 3), p))
        todo += [(p, number) for p in onward]
    return ordered


def _root(at: dict[int, list[list[int]]], skeleton: Skeleton, lumen: Lumen, frame: Geometry) -> int:
    """The widest end in the cranial half; of several about as wide, the most cranial."""
    ends = sorted(n for n, paths in at.items() if len(paths) == 1)
    height = {n: float(_to_lps(skeleton.points_mm[n], lumen, frame)[2]) for n in ends}
    middle = (max(height.values()) + min(height.values())) / 2
    upper = [n for n in ends if height[n] >= middle]
    calibre = {n: float(np.median(skeleton.radius_mm[at[n][0]])) for n in upper}
    wide = [n for n in upper if calibre[n] >= ROOT_SHARE * max(calibre.values())]
    return max(wide, key=lambda n: height[n])


def _axis(path: list[int], skeleton: Skeleton, lumen: Lumen, forks: set[int]) -> Axis:
    # Thinning stops somewhere within the last radius of an end.
    own_mm = float(np.median(skeleton.radius_mm[path]))
    clear = [float(skeleton.radius_mm[n]) if n in forks else own_mm for n in (path[0], path[-1])]
    return axis_of(lumen, skeleton.points_mm[path], (clear[0], clear[1]))


def _places(
    paths: list[tuple[list[int], int | None]], axes: list[Axis], skeleton: Skeleton, lumen: Lumen, forks: set[int]
) -> dict[int, NDArray[np.float64]]:
    """Where every fork and end lies, mm along (z, y, x)."""
    step_mm = min(lumen.spacing_mm)
    lines: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    places = {}
    for (path, _), axis in zip(paths, axes, strict=True):
        for node, at_end in ((path[0], False), (path[-1], True)):
            point, direction = end_line(axis, at_end, step_mm)
            if node in forks:
                lines.setdefault(node, []).append((point, direction))
                continue
            tip = axis.points_mm[-1 if at_end else 0]
            way = direction if at_end else -direction
            places[node] = tip + way * float(ray_lengths(lumen, tip[None], way[None, None])[0, 0])
    for node, some in lines.items():
        places[node] = meeting_point(some, skeleton.points_mm[node], 2 * float(skeleton.radius_mm[node]))
    return places


def _centreline(
    start: NDArray[np.float64], axis: Axis, end: NDArray[np.float64], step_mm: float
) -> NDArray[np.float64]:
    line = evenly(np.concatenate([start[None], axis.points_mm, end[None]]), step_mm)
    return smooth(line, step_mm, float(np.median(axis.diameter_mm)) / 4)


def _angle_deg(parent: Axis, child: Axis, step_mm: float) -> float:
    cosine = float(end_line(parent, True, step_mm)[1] @ end_line(child, False, step_mm)[1])
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _branch(
    number: int,
    generation: int,
    parent: int | None,
    children: tuple[int, ...],
    line: NDArray[np.float64],
    axis: Axis,
    angle_deg: float,
    lumen: Lumen,
    frame: Geometry,
) -> Branch:
    length_mm = length_of(line)
    chord_mm = float(np.linalg.norm(line[-1] - line[0]))
    lps = _to_lps(line, lumen, frame)
    narrowest, widest = np.percentile(axis.diameter_mm, [5, 95]).tolist()
    (x0, y0, z0), (x1, y1, z1) = lps[0].tolist(), lps[-1].tolist()
    return Branch(
        number, generation, parent, children, (x0, y0, z0), (x1, y1, z1), length_mm, float(axis.diameter_mm.mean()),
        narrowest, widest, length_mm / max(chord_mm, 1e-9), angle_deg, lps,
    )  # fmt: skip


def _to_lps(points_mm: NDArray[np.float64], lumen: Lumen, frame: Geometry) -> NDArray[np.float64]:
    return frame.to_lps(points_mm / np.asarray(lumen.spacing_mm) + lumen.start)
