"""Balls and ellipsoids in lung, with the blur and noise of a scanner, as the methods that take arrays see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from lungpipe.segment.classical import View

OFFSET_MM = (0.3, -0.2, 0.1)


@dataclass(frozen=True)
class Scene:
    """What a method is given, and the true mask with its analytic volume."""

    hu: np.ndarray
    tissue: np.ndarray
    spacing_mm: tuple[float, float, float]
    seed: np.ndarray
    box: np.ndarray
    outside: np.ndarray
    truth: np.ndarray
    volume_mm3: float

    def segmented(self, method, **parameters):
        """The mask that a method makes."""
        return method(self.view, **parameters)

    @property
    def view(self):
        """What a method is given."""
        nothing = np.zeros_like(self.seed)
        return View(
            self.hu, self.tissue, self.spacing_mm, self.seed, self.box, nothing, self.outside, np.ones_like(self.seed)
        )

    def turned(self, turn, spacing_mm):
        """The scene with all its arrays mirrored or transposed."""
        arrays = {n: np.ascontiguousarray(turn(getattr(self, n))) for n in ("hu", "tissue", "seed", "box", "outside")}
        return replace(self, **arrays, truth=turn(self.truth), spacing_mm=spacing_mm)

    def volume_of(self, mask):
        """Volume of a mask, mm3."""
        return float(np.count_nonzero(mask) * np.prod(self.spacing_mm))


def ball(
    spacing_mm=(2.0, 0.7, 0.7),
    radius_mm=6.0,
    axes=(1.0, 1.0, 1.0),
    hu=20.0,
    lung_hu=-850.0,
    noise_hu=20.0,
    blur_mm=0.7,
    margin_mm=8.0,
    vessel_mm=0.0,
    vessel_hu=30.0,
    wall_mm=None,
    seed=0,
):
    """An ellipsoid of some radius times ``axes``, off the middle of the grid, with a vessel along x or a wall beside it.

    It is drawn on a grid four times as fine in z and twice in the plane, blurred there, and averaged, as a scanner does.
    """
    fine = (4, 2, 2)
    counts = [2 * int(np.ceil((radius_mm * a + margin_mm) / s)) + 1 for a, s in zip(axes, spacing_mm, strict=True)]
    steps = [s / f for s, f in zip(spacing_mm, fine, strict=True)]
    places = [
        (np.arange(n * f) - (n * f - 1) / 2) * step + off
        for n, f, step, off in zip(counts, fine, steps, OFFSET_MM, strict=True)
    ]
    z, y, x = np.meshgrid(*places, indexing="ij", sparse=True)
    solid = (z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2 <= radius_mm**2
    image = np.where(solid, hu, lung_hu)
    if vessel_mm:
        image = np.where((z**2 + y**2 <= vessel_mm**2) & (x > 0) & ~solid, vessel_hu, image)
    if wall_mm is not None:
        image = np.where((x > wall_mm) & ~solid, 40.0, image)
    image = averaged(ndimage.gaussian_filter(image, [blur_mm / step for step in steps]), fine)
    image = image + np.random.default_rng(seed).normal(0.0, noise_hu, image.shape)
    places = [p.reshape(-1, f).mean(axis=1) for p, f in zip(places, fine, strict=True)]
    z, y, x = np.meshgrid(*places, indexing="ij", sparse=True)
    half = [radius_mm * a for a in axes]
    box = (np.abs(z) <= half[0]) & (np.abs(y) <= half[1]) & (np.abs(x) <= half[2])
    distance = np.sqrt(z**2 + y**2 + x**2)
    start = distance <= max(radius_mm * min(axes) / 2, float(distance.min()) + 1e-6)
    tissue = np.ones(image.shape, dtype=bool)
    volume_mm3 = 4 / 3 * np.pi * float(np.prod(half))
    truth = averaged(solid.astype(float), fine) >= 0.5
    return Scene(
        np.clip(image, -1000.0, 400.0), tissue, spacing_mm, start, box, np.zeros_like(tissue), truth, volume_mm3
    )


def averaged(image, fine):
    """Means of blocks of voxels."""
    shape = [part for n, f in zip(image.shape, fine, strict=True) for part in (n // f, f)]
    return image.reshape(shape).mean(axis=(1, 3, 5))


def dice(first, second):
    """Overlap of two masks."""
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def at_seed(mask, seed):
    """The part of a mask that is connected with the seed."""
    labels, _ = ndimage.label(mask)
    return np.isin(labels, np.unique(labels[seed & mask]))


def turns(spacing_mm):
    """Mirrorings and permutations of axes: what each does to an array, and to a spacing."""
    for axis in range(3):
        yield (lambda a, axis=axis: np.flip(a, axis)), spacing_mm
    for order in ((2, 1, 0), (1, 2, 0)):
        yield (lambda a, order=order: np.transpose(a, order)), tuple(spacing_mm[i] for i in order)
