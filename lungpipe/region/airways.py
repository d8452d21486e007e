"""The airway tree: grown from trachea and main bronchi into the lungs, branch by branch, cut off where it leaks."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra

from lungpipe.errors import RegionError
from lungpipe.segment.steps import opened
from lungpipe.volume import Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.region.lung import Lungs
    from lungpipe.volume import CTVolume

#: A lung with more noise, HU (robust standard deviation between neighbours), is smoothed by a Gaussian of this width, mm,
#: along axes no longer than the next, mm.
NOISY_HU, SMOOTHING_MM, THICK_MM = 40.0, 0.9, 1.5
#: The start is darker than this, HU, and a ball of this radius, mm, fits into it.
SEED_HU, SEED_RADIUS_MM = -700.0, 1.6
#: Lumen is darker than one of these, HU; what each of them reaches without a leak is joined.
LUMEN_HU = (-920.0, -870.0, -800.0)
#: And darker than its wall: by this, HU, than the closing by a square of this side, mm, in two of three planes.
WALL_HU, WALL_MM = 160.0, 8.0
#: The lumen is looked at in sections of this thickness along the way from the trachea, mm.
SECTION_MM = 2.0
#: A section is a leak where it is wider than those before it by this factor, and wider than this, mm2 ...
LEAK_FACTOR, LEAK_MM2 = 1.8, 9.0
#: ... or where it goes on in more branches than airways do.
MOST_BRANCHES = 4
#: As many sections before it count.
BEFORE = 4
#: A branch shorter than this, mm, is a bump of its parent or noise.
SHORTEST_MM = 4.0
#: Neighbours that share a face, an edge or a corner; and one of each pair of them.
ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.bool_)
_HALF = [offset for offset in product((-1, 0, 1), repeat=3) if offset > (0, 0, 0)]


def airway_tree(volume: CTVolume, lungs: Lungs) -> Mask:
    """Lumen of the airways as far as it can be followed.

    Region growing with two safeguards. A voxel must be darker than a wall round it, by a morphological closing in two of
    three planes (after Aykac et al. 2003, doi:10.1109/TMI.2003.815905). And what grows is cut into sections by its distance
    from the start, along the way; a section much wider than those before it is a leak, and is left out with all that
    comes after it, while other branches go on (the idea of Schlathoelter et al. 2002, doi:10.1117/12.467061).

    Parameters
    ----------
    volume : CTVolume
        HU.
    lungs : Lungs
        On the volume's grid; growth starts at their ``airways``.

    Returns
    -------
    Mask
        On a box of the volume's grid.

    Raises
    ------
    RegionError
        ``no_airways_found`` if the lungs have no airways to start from.
    """
    if not lungs.airways.n_voxels:
        raise RegionError(
            "no_airways_found",
            "expected trachea and main bronchi beside the lungs, found none; the scan may not show the upper chest",
        )
    both = Mask((lungs.voxels > 0) | lungs.airways.voxels, lungs.frame, lungs.start)
    start, stop = box_around(both.frame, *both.bounds, WALL_MM)
    crop = volume.overlap(start, stop)
    within = both.within(crop.start, crop.stop).voxels
    spacing_mm = crop.frame.spacing_mm
    hu = _quiet(crop.hu.astype(np.float32), within, spacing_mm)
    seed = _clean(lungs.airways.within(crop.start, crop.stop).voxels & (hu < SEED_HU), spacing_mm)
    walled = _walled(hu, spacing_mm) & within
    tree, at_seed = seed.copy(), ndimage.binary_dilation(seed, ALL_NEIGHBOURS)
    for lumen_hu in LUMEN_HU:
        tree |= _grown(walled & (hu < lumen_hu) & ~seed, at_seed, spacing_mm)
    found = Mask(tree, crop.frame, crop.start).trimmed()
    return Mask(ndimage.binary_fill_holes(found.voxels), found.frame, found.start)


def _quiet(hu: NDArray[np.float32], within: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.float32]:
    """The image (z, y, x), smoothed where sharp kernels or low dose make lumen of the lung's noise."""
    axis = int(np.argmin(spacing_mm))
    along, inside = np.moveaxis(hu, axis, -1), np.moveaxis(within, axis, -1)
    steps = np.abs(np.diff(along, axis=-1)[inside[..., 1:] & inside[..., :-1]])
    if not len(steps) or 1.4826 * float(np.median(steps)) / np.sqrt(2) <= NOISY_HU:
        return hu
    sigma = [SMOOTHING_MM / s if s <= THICK_MM else 0.0 for s in spacing_mm]
    return np.asarray(ndimage.gaussian_filter(hu, sigma))


def _clean(seed: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.bool_]:
    """The largest part of a seed (z, y, x) without what is thinner than a lobar bronchus: crumbs of lung beside the walls."""
    labels, count = ndimage.label(opened(seed, SEED_RADIUS_MM, spacing_mm))
    if not count:
        return seed
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def _walled(hu: NDArray[np.float32], spacing_mm: Triple) -> NDArray[np.bool_]:
    """Voxels (z, y, x) darker than a wall in two of three planes."""
    votes = np.zeros(hu.shape, dtype=np.uint8)
    size = [2 * max(1, round(WALL_MM / s / 2)) + 1 for s in spacing_mm]
    for axis in range(3):
        flat = tuple(1 if other == axis else n for other, n in enumerate(size))
        votes += ndimage.grey_closing(hu, flat, mode="nearest") - hu >= WALL_HU
    return np.asarray(votes >= 2)


def _grown(lumen: NDArray[np.bool_], at_seed: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.bool_]:
    """What of a lumen (z, y, x) beside the seed is joined to it without a leak; ``at_seed`` is the seed and its neighbours."""
    labels, count = ndimage.label(lumen, ALL_NEIGHBOURS)
    chosen = np.zeros(count + 1, dtype=np.bool_)
    chosen[np.unique(labels[at_seed & lumen])] = True
    chosen[0] = False
    joined = chosen[labels]
    voxels = np.flatnonzero(joined)
    found = np.zeros(lumen.shape, dtype=np.bool_)
    if len(voxels):
        kept = _without_leaks(voxels, joined, at_seed, spacing_mm)
        found.ravel()[voxels[kept]] = True
    return found


def _without_leaks(
    voxels: NDArray[np.intp], joined: NDArray[np.bool_], at_seed: NDArray[np.bool_], spacing_mm: Triple
) -> NDArray[np.bool_]:
    """Which of the voxels (n,), flat indices in order, belong to sections that are no leak and come after none."""
    edges, lengths = _edges(voxels, joined, spacing_mm)
    steps = _steps_from(edges, lengths, at_seed.ravel()[voxels], min(spacing_mm))
    layer = np.floor(steps / SECTION_MM).astype(np.int64)
    same = layer[edges[0]] == layer[edges[1]]
    n = len(voxels)
    graph = coo_array((np.ones(same.sum(), dtype=np.int8), (edges[0][same], edges[1][same])), shape=(n, n))
    count, section = connected_components(graph, directed=False)
    area_mm2 = np.bincount(section, minlength=count) * float(np.prod(spacing_mm)) / SECTION_MM
    at = np.zeros(count, dtype=np.int64)
    at[section] = layer
    parent = _parents(section, at, edges, count)
    return np.asarray(_sound(parent, at, np.asarray(area_mm2, dtype=np.float64))[section])


def _edges(
    voxels: NDArray[np.intp], joined: NDArray[np.bool_], spacing_mm: Triple
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Pairs (2, m) of neighbouring voxels by their place in the list, and how far apart they are, mm."""
    place = np.full(joined.shape, -1, dtype=np.int64)
    place.ravel()[voxels] = np.arange(len(voxels))
    index = np.stack(np.unravel_index(voxels, joined.shape))
    pairs, lengths = [], []
    for offset in _HALF:
        other = index + np.asarray(offset)[:, None]
        valid = np.all((other >= 0) & (other < np.asarray(joined.shape)[:, None]), axis=0)
        neighbour = np.full(len(voxels), -1, dtype=np.int64)
        neighbour[valid] = place[tuple(other[:, valid])]
        first = np.flatnonzero(neighbour >= 0)
        pairs.append(np.stack([first, neighbour[first]]))
        lengths.append(np.full(len(first), float(np.linalg.norm(np.multiply(offset, spacing_mm)))))
    return np.concatenate(pairs, axis=1), np.concatenate(lengths)


def _steps_from(
    edges: NDArray[np.intp], lengths: NDArray[np.float64], at_seed: NDArray[np.bool_], first_mm: float
) -> NDArray[np.float64]:
    """Distance of each voxel (n,) from the seed along the lumen, mm; those at the seed are one step away from it."""
    n, start = len(at_seed), np.flatnonzero(at_seed)
    rows, columns = np.concatenate([edges[0], np.full(len(start), n)]), np.concatenate([edges[1], start])
    weights = np.concatenate([lengths, np.full(len(start), first_mm)])
    graph = coo_array((weights, (rows, columns)), shape=(n + 1, n + 1)).tocsr()
    return np.asarray(dijkstra(graph, directed=False, indices=np.array([n]))[0, :n])


def _parents(
    section: NDArray[np.int32], at: NDArray[np.int64], edges: NDArray[np.intp], count: int
) -> NDArray[np.int64]:
    """Section before each, with which it shares most edges; -1 where there is none: it begins at the seed."""
    first, second = section[edges[0]], section[edges[1]]
    up = np.where(at[first] < at[second], first, second)
    down = np.where(at[first] < at[second], second, first)
    apart = at[first] != at[second]
    pairs, shared = np.unique(down[apart].astype(np.int64) * count + up[apart], return_counts=True)
    parent = np.full(count, -1, dtype=np.int64)
    order = np.argsort(shared, kind="stable")  # the last that is written shares most
    parent[pairs[order] // count] = pairs[order] % count
    return parent


def _sound(parent: NDArray[np.int64], at: NDArray[np.int64], area_mm2: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Sections that are no leak, come after none, and belong to a branch of some length."""
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    many = (children > MOST_BRANCHES).tolist()
    sound = np.ones(len(parent), dtype=np.bool_)
    before: dict[int, list[float]] = {-1: []}
    order = np.argsort(at, kind="stable")
    for one, above, area in zip(order.tolist(), parent[order].tolist(), area_mm2[order].tolist(), strict=True):
        if above not in before:  # it comes after a leak
            sound[one] = False
            continue
        earlier = before[above]
        limit = max(LEAK_MM2, LEAK_FACTOR * sorted(earlier)[len(earlier) // 2]) if earlier else np.inf
        if area > limit or many[one]:
            sound[one] = False
        else:
            before[one] = [*earlier[1 - BEFORE :], area]
    kept = order[sound[order]]
    deepest = at.copy()
    for one in kept[::-1].tolist():
        if parent[one] >= 0:
            deepest[parent[one]] = max(deepest[parent[one]], deepest[one])
    short = (deepest - at + 1) * SECTION_MM < SHORTEST_MM
    bump = short & ((parent < 0) | (children[parent] > 1))
    for one in kept.tolist():
        sound[one] = not bump[one] and (parent[one] < 0 or bool(sound[parent[one]]))
    return sound
