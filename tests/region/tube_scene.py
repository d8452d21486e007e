"""Scenes of balls, tubes and planes whose distances are known, drawn with partial volume.

Places are (z, y, x) in mm along the index axes, from the centre of voxel (0, 0, 0).
"""

import numpy as np

from lungpipe.geometry import Geometry
from lungpipe.region.lung import Lungs
from lungpipe.volume import CTVolume, Mask

SPACINGS = [(1.0, 0.7, 0.7), (1.25, 0.7, 0.7), (2.5, 0.75, 0.75)]
LUNG_HU, BLOOD_HU, AIR_HU = -850.0, 30.0, -1000.0
SUBSAMPLES = 3


def ball(centre, radius_mm):
    """Signed distance from a ball, mm."""
    return lambda z, y, x: np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) - radius_mm


def tube(one, other, radius_mm):
    """Signed distance from a tube with round ends, mm."""
    one, along = np.asarray(one, float), np.subtract(other, one)

    def distance(z, y, x):
        share = ((z - one[0]) * along[0] + (y - one[1]) * along[1] + (x - one[2]) * along[2]) / (along @ along)
        share = np.clip(share, 0, 1)
        to = [(p - one[k] - share * along[k]) ** 2 for k, p in enumerate((z, y, x))]
        return np.sqrt(sum(to)) - radius_mm

    return distance


def beyond(axis, place_mm, sign=1):
    """Signed distance from a half space, mm: what has more than ``place_mm`` along an axis, or less for sign -1."""
    return lambda *places: sign * (place_mm - places[axis]) + 0 * sum(places)


def share(frame, distance, subsamples=SUBSAMPLES):
    """Share of each voxel (z, y, x) inside of something; only voxels near its surface are sampled."""
    spacing = np.asarray(frame.spacing_mm)
    centres = [np.arange(n) * step for n, step in zip(frame.shape, spacing, strict=True)]
    depth = distance(*np.meshgrid(*centres, indexing="ij", sparse=True))
    found = (depth < 0).astype(float)
    edge = np.argwhere(np.abs(depth) <= np.linalg.norm(spacing) / 2)
    offsets = (np.arange(subsamples) - (subsamples - 1) / 2) / subsamples
    offsets = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 3)
    places = (edge[:, None, :] + offsets) * spacing
    found[tuple(edge.T)] = (distance(*np.moveaxis(places, -1, 0)) < 0).mean(axis=1)
    return found


class Scene:
    """A block of right lung with things in it, and wall where it is told."""

    def __init__(self, spacing_mm, size_mm=(64.0, 64.0, 64.0), subsamples=SUBSAMPLES):
        self.subsamples = subsamples
        shape = tuple(int(np.ceil(length / step)) for length, step in zip(size_mm, spacing_mm, strict=True))
        self.frame = Geometry(shape, spacing_mm, (-120.0, -80.0, -300.0))
        self.hu = np.full(shape, LUNG_HU)
        self.inside = np.zeros(shape, bool)
        self.wall = np.zeros(shape, bool)
        self.lumen = np.zeros(shape, bool)

    def _paint(self, distance, hu):
        part = share(self.frame, distance, self.subsamples)
        self.hu += part * (hu - self.hu)
        return part >= 0.5

    def nodule(self, centre, radius_mm):
        self.inside |= self._paint(ball(centre, radius_mm), BLOOD_HU)
        return self

    def vessel(self, one, other, radius_mm):
        self._paint(tube(one, other, radius_mm), BLOOD_HU)
        return self

    def airway(self, one, other, radius_mm, wall_mm=1.0):
        self._paint(tube(one, other, radius_mm + wall_mm), BLOOD_HU)
        self.lumen |= self._paint(tube(one, other, radius_mm), AIR_HU)
        return self

    def pleura(self, axis, place_mm, sign=1):
        self.wall |= self._paint(beyond(axis, place_mm, sign), BLOOD_HU)
        return self

    def volume(self, noise_hu=15.0):
        noise = np.random.default_rng(5).normal(0, noise_hu, self.hu.shape)
        return CTVolume(np.rint(self.hu + noise).astype(np.int16), self.frame)

    def mask(self):
        return Mask(self.inside, self.frame).trimmed()

    def airways(self):
        return Mask(self.lumen, self.frame)

    def lungs(self, side=1, bronchi=None):
        labels = np.where(self.wall, 0, side).astype(np.uint8)
        empty = np.zeros(self.frame.shape, bool)
        return Lungs(labels, self.frame, airways=Mask(empty if bronchi is None else bronchi, self.frame))
