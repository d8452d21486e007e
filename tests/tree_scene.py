"""A branching airway of known lengths, drawn as capsules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungpipe.geometry import Geometry
from lungpipe.region.lung import Lungs
from lungpipe.volume import CTVolume, Mask

#: Start, end (LPS mm) and radius (mm) of trachea, main and lobar bronchi; each of the last starts where its parent ends.
FORK, RIGHT, LEFT = (0.0, 0.0, 0.0), (-36.0, 4.0, -30.0), (40.0, 2.0, -26.0)
TUBES = (
    ((0.0, -10.0, 70.0), FORK, 8.0),
    (FORK, RIGHT, 6.0),
    (FORK, LEFT, 5.5),
    (RIGHT, (-70.0, -8.0, -20.0), 4.0),
    (RIGHT, (-46.0, 10.0, -72.0), 4.0),
    (LEFT, (76.0, -6.0, -12.0), 3.5),
    (LEFT, (52.0, 12.0, -66.0), 3.5),
)


@dataclass(frozen=True)
class Tree:
    """The tree on a grid."""

    frame: Geometry
    lumen: np.ndarray
    to_axis_mm: np.ndarray


def tree(spacing_mm, offset=(0.0, 0.0, 0.0), grow_mm: float = 0.0, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Tree:
    """Draw the tubes; ``grow_mm`` widens them (for their walls)."""
    low, high = np.array([-84.0, -30.0, -92.0]), np.array([90.0, 34.0, 92.0])
    axes = np.asarray(direction, dtype=float).reshape(3, 3)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T @ axes
    first = corners.min(axis=0)
    shape = tuple(int(n) for n in np.ceil((corners.max(axis=0) - first)[::-1] / np.asarray(spacing_mm)) + 1)
    origin = tuple((axes @ first + np.asarray(offset)).tolist())
    frame = Geometry(shape, spacing_mm, origin, tuple(float(v) for v in direction))
    points = frame.to_lps(np.moveaxis(np.indices(shape), 0, -1))
    distance = np.full(shape, np.inf)
    to_axis = np.full(shape, np.inf)
    for start, end, radius in TUBES:
        a, d = np.asarray(start), np.subtract(end, start)
        share = np.clip(((points - a) @ d) / (d @ d), 0, 1)
        apart = np.linalg.norm(points - a - share[..., None] * d, axis=-1)
        distance = np.minimum(distance, apart - radius)
        to_axis = np.minimum(to_axis, apart)
    return Tree(frame, distance <= grow_mm, to_axis)


def expected_lengths() -> list[float]:
    """Length of each tube to the middle of its forks, and to the wall at a closed end."""
    starts = [start for start, _, _ in TUBES]
    lengths = []
    for k, (start, end, radius) in enumerate(TUBES):
        closed = (k == 0) + (end not in starts)
        lengths.append(float(np.linalg.norm(np.subtract(end, start))) + radius * closed)
    return lengths


def mask_of(scene: Tree) -> Mask:
    return Mask(scene.lumen, scene.frame)


#: Of the simulated scan, along (z, y, x), mm.
SPACING = (1.0, 0.8, 0.8)


def scan(hole_at=None):
    """Lung of -870 HU with noise, in it the tree with walls of 1.5 mm; a hole of 3 mm radius in the walls at an LPS point.

    Returns volume, lungs (whose airways are trachea and main bronchi), and the lumen.
    """
    lumen = tree(SPACING)
    wall = tree(SPACING, grow_mm=1.5)
    frame = lumen.frame
    hu = np.full(frame.shape, -870.0)
    hu[wall.lumen] = -200.0
    points = frame.to_lps(np.moveaxis(np.indices(frame.shape), 0, -1))
    if hole_at is not None:
        hu[np.linalg.norm(points - np.asarray(hole_at), axis=-1) <= 3.0] = -870.0
    hu[lumen.lumen] = -990.0
    hu = ndimage.gaussian_filter(hu, 0.5) + np.random.default_rng(2).normal(0, 35, frame.shape)
    central = np.zeros(frame.shape, np.bool_)
    for start, end, radius in TUBES[:3]:
        d = np.subtract(end, start)
        share = np.clip(((points - start) @ d) / (d @ d), 0, 1)
        central |= np.linalg.norm(points - start - share[..., None] * d, axis=-1) <= radius
    labels = np.where(points[..., 0] < 0, 1, 2).astype(np.uint8)
    labels[central] = 0
    volume = CTVolume(np.rint(hu).astype(np.int16), frame)
    return volume, Lungs(labels, frame, airways=Mask(central, frame)), lumen.lumen


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels
