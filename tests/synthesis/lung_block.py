"""A block of lung with noise of known level and grain, a wall where wanted, and balls to put into it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungpipe.geometry import Geometry
from lungpipe.synthesis.scanner import Scanner
from lungpipe.synthesis.shape import SignedDistance
from lungpipe.synthesis.sharpness import Sharpness
from lungpipe.synthesis.texture import Texture
from lungpipe.volume import CTVolume, Mask

LUNG_HU, WALL_HU = -860.0, 40.0
SPACING_MM = (1.5, 0.7, 0.7)
#: A scanner that blurs by 0.5 mm beyond its voxels and adds no noise.
QUIET = Scanner(
    Sharpness(float(np.hypot(0.5, 0.7 / 12**0.5)), float(np.hypot(0.5, 1.5 / 12**0.5)), 99, 99),
    Texture(0.0, np.ones((1, 1, 1))),
)


def ball(radius_mm, step_mm=0.4, axes=(1.0, 1.0, 1.0)):
    """The signed distance of a ball, or of about an ellipsoid of the radius times ``axes`` (z, y, x)."""
    count = int(np.ceil((radius_mm * max(axes) + 2) / step_mm))
    side = np.arange(-count, count + 1) * step_mm
    z, y, x = np.meshgrid(side, side, side, indexing="ij")
    length = np.sqrt((z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2)
    return SignedDistance((length - radius_mm) * min(axes), (step_mm,) * 3, (count, count, count))


def block(sides_mm=(50.0, 46.0, 48.0), spacing_mm=SPACING_MM, noise_hu=30.0, grain_mm=0.6, wall_mm=None, seed=0):
    """Lung with noise that has a grain in the slices; beyond ``wall_mm`` along x it is wall."""
    shape = tuple(int(side / s) for side, s in zip(sides_mm, spacing_mm, strict=True))
    frame = Geometry(shape, spacing_mm, (-20.0, 12.0, -150.0))
    white = np.random.default_rng(seed).standard_normal(shape)
    noise = ndimage.gaussian_filter(white, (0, *(grain_mm / s for s in spacing_mm[1:])), mode="wrap")
    x_mm = np.arange(shape[2]) * spacing_mm[2]
    lung = np.broadcast_to(x_mm < (np.inf if wall_mm is None else wall_mm), shape)
    hu = np.where(lung, LUNG_HU, WALL_HU) + noise_hu * noise / noise.std()
    return CTVolume(np.rint(hu).astype(np.int16), frame), Mask(lung.copy(), frame)


def middle(volume):
    """LPS point near the middle, off the voxels' centres."""
    return tuple(volume.frame.to_lps(np.array(volume.frame.shape) / 2 + (0.2, 0.3, -0.15)).tolist())


def within_ball(volume, centre_mm, radius_mm):
    """Voxels whose centres lie in a ball."""
    index = np.indices(volume.frame.shape).transpose(1, 2, 3, 0)
    return np.linalg.norm(volume.frame.to_lps(index) - np.asarray(centre_mm), axis=-1) <= radius_mm


def neighbours_correlate(values, inside, axis):
    """Correlation of neighbours along an axis, both inside."""
    one, other = (np.take(values, range(a, values.shape[axis] - 1 + a), axis) for a in (0, 1))
    both = np.take(inside, range(values.shape[axis] - 1), axis) & np.take(inside, range(1, values.shape[axis]), axis)
    return float(np.corrcoef(one[both], other[both])[0, 1])
