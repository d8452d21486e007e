"""What a segmentation network learns from: nodules with their covers, seen each time in another way.

Whatever a network must not depend on is drawn anew for every patch (domain randomisation, Tobin et al. 2017,
arXiv:1703.06907): place and size within the cube, orientation, the nodule's and the lung's HU, unevenness inside, a wall or
vessels that touch the nodule, blur, slice thickness, noise and its grain, and how well the prompt fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lungpipe.deep.looks import other_look
from lungpipe.deep.view import OUTSIDE_HU, box_cover, gaussian_at
from lungpipe.errors import DatasetError
from lungpipe.segment.contour import saliency

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.deep.view import View
    from lungpipe.geometry import Triple

#: Log of the size of the cube against the one that is seen in use; share of its side by which the nodule is off centre.
ZOOM, OFF_CENTRE = (-0.2, 0.2), 0.06
#: Largest tilt of the axial plane, radians; within it any turn is drawn.
TILT = 0.35
#: Sides of a prompt's box end this far beyond the nodule, in shares of its side.
BOX_ERROR = (-0.06, 0.15)
#: A point is this far from the centre at most, in shares of the nodule's sides.
POINT_ERROR = 0.2


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """A nodule and what lies about it.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    covers : tuple of ndarray of float32, shape (z, y, x)
        Share of each voxel inside the nodule, one a rater.
    spacing_mm : tuple of float
        Along (z, y, x).

    Raises
    ------
    DatasetError
        If there is no cover, or one is empty or of another shape.
    """

    hu: NDArray[np.float32]
    covers: tuple[NDArray[np.float32], ...]
    spacing_mm: Triple

    def __post_init__(self) -> None:
        if not self.covers:
            raise DatasetError("a nodule to learn from needs a mask, found none")
        for cover in self.covers:
            if cover.shape != self.hu.shape or not (cover >= 0.5).any():
                raise DatasetError(
                    f"a nodule to learn from has masks of its image's shape {self.hu.shape} that hold a voxel; found "
                    f"{cover.shape} with {np.count_nonzero(cover >= 0.5)}"
                )


def drawn(
    example: Example, view: View, rng: np.random.Generator, *, varied: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A patch and its target.

    Parameters
    ----------
    example : Example
    view : View
        As in use.
    rng : numpy.random.Generator
        Chooses the rater and everything that varies.
    varied : bool
        False shows the nodule as it is, for validation; only the rater is drawn.

    Returns
    -------
    channels : ndarray of float32, shape (2, z, y, x)
        Scaled HU and prompt.
    target : ndarray of float32, shape (1, z, y, x)
        Share of each voxel inside the nodule, 0 to 1.
    """
    cover = example.covers[int(rng.integers(len(example.covers)))]
    agreed = _agreed(example.covers)
    low, high = _bounds(agreed)
    sides_mm = (high - low) * np.asarray(example.spacing_mm)
    step_mm = float(
        max(sides_mm.max(), view.least_mm) * view.reach / view.voxels if view.reach else view.spacing_mm
    )  # fmt: skip
    centre, turn = (low + high - 1) / 2, np.eye(3)
    if varied:
        step_mm *= float(np.exp(rng.uniform(*ZOOM))) if view.reach else 1.0
        turn = _turn(rng)
        centre = centre + rng.uniform(-1, 1, 3) * OFF_CENTRE * step_mm * view.voxels / np.asarray(example.spacing_mm)
    matrix = step_mm * turn / np.asarray(example.spacing_mm)[:, None]
    offset = centre - matrix @ np.full(3, (view.voxels - 1) / 2)
    target, pointed = (_sampled(one, matrix, offset, view.voxels, 0.0) for one in (cover, agreed))
    hu = _sampled(example.hu, matrix, offset, view.voxels, OUTSIDE_HU)
    if varied:
        hu = other_look(hu, target, rng)
    image = view.scaled(hu)
    target, pointed = (_visible(one) for one in (target, pointed))
    return np.stack([image, _prompt(image, pointed, view, step_mm, rng, varied=varied)]), target[None]


def _agreed(covers: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """What the prompt points at: at least half of the raters, so that it does not tell which of them is asked for."""
    mean = np.mean(covers, axis=0, dtype=np.float32)
    return np.asarray(mean if (mean >= 0.5).any() else np.max(covers, axis=0), dtype=np.float32)


def _visible(cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """A cover that holds a voxel of one half, also of a nodule of a voxel or two that lies between the patch's own."""
    return cover if (cover >= 0.5).any() else cover / max(float(cover.max()), 1e-6)


def _sampled(
    values: NDArray[np.float32], matrix: NDArray[np.float64], offset: NDArray[np.float64], voxels: int, outside: float
) -> NDArray[np.float32]:
    shape = (voxels,) * 3
    return np.asarray(
        ndimage.affine_transform(values, matrix, offset, shape, order=1, mode="grid-constant", cval=outside)
    )


def _bounds(cover: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    held = np.argwhere(cover >= 0.5)
    return held.min(axis=0).astype(np.float64), held.max(axis=0).astype(np.float64) + 1


def _turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation (and perhaps a reflection) of (z, y, x): any turn in the axial plane, a small tilt of it."""
    tilt = Rotation.from_rotvec([0.0, *rng.uniform(-TILT, TILT, 2)]).as_matrix()
    spin = Rotation.from_rotvec([rng.uniform(-np.pi, np.pi), 0.0, 0.0]).as_matrix()  # about z, which stands first
    return np.asarray(tilt @ spin * rng.choice([-1.0, 1.0], 3))


def _prompt(
    image: NDArray[np.float32],
    target: NDArray[np.float32],
    view: View,
    step_mm: float,
    rng: np.random.Generator,
    *,
    varied: bool,
) -> NDArray[np.float32]:
    low, high = _bounds(target)
    side = high - low
    if view.prompt == "point":
        error = rng.uniform(-POINT_ERROR, POINT_ERROR, 3) * side if varied else 0.0
        return gaussian_at(image.shape, (low + high - 1) / 2 + error)
    if varied:
        low = low - rng.uniform(*BOX_ERROR, 3) * side
        high = np.maximum(high + rng.uniform(*BOX_ERROR, 3) * side, low + 1)
    box = box_cover(image.shape, (low + high - 1) / 2, (high - low) / 2)
    if view.prompt == "box":
        return box
    inside = box >= min(0.5, float(box.max()))
    return saliency(image.astype(np.float64), np.ones(image.shape, np.bool_), (step_mm,) * 3, inside).astype(np.float32)
