"""How many branches of a tree touch a nodule, or end on the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ContactSettings:
    """When a branch touches a nodule, and when it points at it.

    Parameters
    ----------
    touch_mm : float
        A branch touches from this distance between the surfaces on.
    reach_mm : float
        A branch that ends at most so far away points at the nodule if the line on from its end meets it.
    aim_mm : float
        The line may miss the nodule's surface by this.
    axis_mm : float
        Length of a branch's end that gives its direction.
    shortest_mm : float
        A shorter end has no direction, and what does not lead this far away from the nodule is no branch.

    Raises
    ------
    DatasetError
        If a length is negative, or the direction has no length.
    """

    touch_mm: float = 1.5
    reach_mm: float = 10.0
    aim_mm: float = 1.0
    axis_mm: float = 6.0
    shortest_mm: float = 4.0

    def __post_init__(self) -> None:
        if min(self.touch_mm, self.reach_mm, self.aim_mm) < 0 or min(self.axis_mm, self.shortest_mm) <= 0:
            raise DatasetError(f"lengths of contacts must be positive, mm, found {self}")


def count_contacts(
    tree: NDArray[np.bool_],
    from_nodule_mm: NDArray[np.float64],
    near: NDArray[np.bool_],
    step_mm: float,
    settings: ContactSettings,
) -> int:
    """Branches that touch a nodule, and branches that point at it.

    What of the tree lies within ``shortest_mm`` of the nodule falls into connected pieces; each that comes within
    ``touch_mm`` of it and leads away is one branch. So a vessel that runs into a nodule and out again counts twice, one
    that runs past or forks close by once. An end of the tree further away is one more if the line on from it meets the
    nodule.

    Parameters
    ----------
    tree : ndarray of bool, shape (z, y, x)
        Vessels or airways on cubes, without the nodule.
    from_nodule_mm : ndarray, shape (z, y, x)
        Distance of each cube's centre from the nodule's surface, 0 inside.
    near : ndarray of bool, shape (z, y, x)
        Cubes of the tree at whose surface it comes within ``touch_mm``; see :func:`near_cubes`.
    step_mm : float
        Side of the cubes.
    settings : ContactSettings
    """
    if not tree.any():
        return 0
    # Within the shell one connected piece is one branch, wherever and how often it touches; a piece that does not lead
    # out of the shell is a rest of the nodule.
    pieces, n_pieces = ndimage.label(tree & (from_nodule_mm <= settings.shortest_mm), _NEIGHBOURS)
    touching = np.zeros(n_pieces + 1, dtype=np.bool_)
    touching[pieces[near]] = True
    leading = np.zeros(n_pieces + 1, dtype=np.bool_)
    leading[pieces[tree & (from_nodule_mm > settings.shortest_mm - 1.5 * step_mm)]] = True
    touching &= leading
    touching[0] = False
    return int(np.count_nonzero(touching)) + _pointing(tree, touching[pieces], from_nodule_mm, step_mm, settings)


def near_cubes(
    tree: NDArray[np.bool_], surface: NDArray[np.float64], gaps_mm: NDArray[np.float64], touch_mm: float
) -> NDArray[np.bool_]:
    """Cubes of a tree at which its surface comes within ``touch_mm`` of the nodule.

    Parameters
    ----------
    tree : ndarray of bool, shape (z, y, x)
    surface : ndarray, shape (n, 3)
        Points of its surface: fractional indices between two neighbouring cubes.
    gaps_mm : ndarray, shape (n,)
        Distance of each from the nodule's surface.
    touch_mm : float
    """
    near = np.zeros(tree.shape, dtype=np.bool_)
    touching = surface[gaps_mm <= touch_mm]
    for corner in (np.floor(touching), np.ceil(touching)):
        near[tuple(corner.astype(int).T)] = True
    return near & tree


def _pointing(
    tree: NDArray[np.bool_],
    touching: NDArray[np.bool_],
    from_nodule_mm: NDArray[np.float64],
    step_mm: float,
    settings: ContactSettings,
) -> int:
    """Ends of the tree, away from what touches, from where the line on meets the nodule."""
    found: list[NDArray[np.intp]] = []
    for tip in _tips(tree & ~touching, from_nodule_mm, step_mm, settings):
        apart = all(np.linalg.norm(tip - other) * step_mm > settings.shortest_mm for other in found)
        if apart and _aims(tip, tree, touching, from_nodule_mm, step_mm, settings):
            found.append(tip)
    return len(found)


def _tips(
    tree: NDArray[np.bool_], from_nodule_mm: NDArray[np.float64], step_mm: float, settings: ContactSettings
) -> NDArray[np.intp]:
    """Cubes (n, 3) of a tree that no others near them are nearer to the nodule than, the nearest first."""
    distance = np.where(tree, from_nodule_mm, np.inf)
    reach = max(1, round(settings.shortest_mm / 2 / step_mm))
    least = ndimage.minimum_filter(distance, 2 * reach + 1, mode="constant", cval=np.inf)
    tips = np.argwhere(tree & (distance <= least) & (distance <= settings.reach_mm))
    return np.asarray(tips[np.argsort(distance[tuple(tips.T)], kind="stable")])


def _aims(
    tip: NDArray[np.intp],
    tree: NDArray[np.bool_],
    touching: NDArray[np.bool_],
    from_nodule_mm: NDArray[np.float64],
    step_mm: float,
    settings: ContactSettings,
) -> bool:
    """Whether the tree ends at a tip, long and thin, and the line on along its axis meets the nodule in time.

    A line that meets a branch that touches belongs to that branch.
    """
    low = np.maximum(tip - int(np.ceil(settings.axis_mm / step_mm)), 0)
    high = tip + int(np.ceil(settings.axis_mm / step_mm)) + 1
    labels, _ = ndimage.label(tree[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))], _NEIGHBOURS)
    part = np.argwhere(labels == labels[tuple(tip - low)]) + low
    part = part[np.linalg.norm(part - tip, axis=1) * step_mm <= settings.axis_mm]
    middle = part.mean(axis=0)
    _, sizes, axes = np.linalg.svd(part - middle, full_matrices=False)
    axis = axes[0] * (np.sign(axes[0] @ (tip - middle)) or 1.0)
    reached = (part - middle) @ axis
    # What goes on past its nearest place to the nodule is no end: there that place is in the middle.
    is_end = (tip - middle) @ axis >= 0.6 * reached.max()
    if len(part) < 3 or not is_end or np.ptp(reached) * step_mm < settings.shortest_mm or sizes[1] > 0.8 * sizes[0]:
        return False
    along = np.arange(reached.max(), reached.max() + settings.reach_mm / step_mm + 1.0, 0.5)
    ray = middle[:, None] + axis[:, None] * along
    held = np.all((ray >= 0) & (ray <= np.subtract(tree.shape, 1)[:, None]), axis=0)
    if not held.any():
        return False
    values = ndimage.map_coordinates(np.minimum(from_nodule_mm, 1e6), ray[:, held], order=1)
    met = np.flatnonzero(values <= settings.aim_mm)
    before = touching[tuple(np.rint(ray[:, held]).astype(int))][: met[0] + 1 if len(met) else 0]
    return bool(len(met) and not before.any())
