"""The lungs of a chest CT, right and left, and the large airways that lead to them; a method without learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
from scipy import ndimage

from lungpipe.errors import GeometryError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.central_airways import central_airways
from lungpipe.region.lung_air import AIR_HU, GAS_HU, MIN_LUNG_ML, lung_pieces, outside_air
from lungpipe.region.lung_sides import LEFT, RIGHT, closed_sides, label_sides
from lungpipe.segment.orient import Turn
from lungpipe.volume import Block, CTVolume, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple

T = TypeVar("T", bound=np.generic)

__all__ = ["AIR_HU", "LEFT", "MIN_LUNG_ML", "RIGHT", "Lungs", "find_lungs", "lung_mask"]

#: The lungs are found on voxels of about this side, mm, and their border at full resolution.
COARSE_MM = 1.75

#: What a coarse voxel says of the voxels in it: which lung they are, all of them or those that hold air.
_WHOLE, _IF_AIR = {RIGHT: RIGHT, LEFT: LEFT}, {RIGHT: 3, LEFT: 4}
_AIRWAY_IF_AIR = 5


#: Stands for airways that are not given: a field after one with a default must have one.
_NOT_GIVEN = Mask(np.zeros((0, 0, 0), dtype=np.bool_), Geometry((1, 1, 1), (1.0, 1.0, 1.0)))


@dataclass(frozen=True, eq=False)
class Lungs(Block):
    """Both lungs of a scan, as labels: 0 none, 1 right lung, 2 left lung.

    Parameters
    ----------
    voxels : ndarray of uint8, shape (z, y, x)
        Labels; vessels and nodules within a lung count as lung.
    frame : Geometry
        Grid of the full image.
    start : tuple of int
        Index (z, y, x) in ``frame`` of the block's first voxel.
    airways : Mask
        Lumen of trachea and main bronchi, outside of both lungs, on the same block; empty where none were found.

    Raises
    ------
    GeometryError
        If labels are no uint8, or the airways lie on another block.
    """

    airways: Mask = field(default_factory=lambda: _NOT_GIVEN)

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        if self.voxels.dtype != np.uint8:
            raise GeometryError(f"lungs hold labels of type uint8, found {self.voxels.dtype}")
        if self.airways is _NOT_GIVEN:
            object.__setattr__(self, "airways", Mask(np.zeros(self.shape, dtype=np.bool_), self.frame, self.start))
        if (self.airways.frame, self.airways.start, self.airways.shape) != (self.frame, self.start, self.shape):
            raise GeometryError(
                f"airways of shape {self.airways.shape} at {self.airways.start} belong to another block than lungs of "
                f"shape {self.shape} at {self.start}"
            )

    @property
    def mask(self) -> Mask:
        """Both lungs."""
        return Mask(self.voxels > 0, self.frame, self.start)

    @property
    def right(self) -> Mask:
        """The right lung."""
        return Mask(self.voxels == RIGHT, self.frame, self.start)

    @property
    def left(self) -> Mask:
        """The left lung."""
        return Mask(self.voxels == LEFT, self.frame, self.start)

    def crop(self, start: IndexTriple, stop: IndexTriple) -> Self:
        """Cut a half-open box (frame indices, z, y, x) out of labels and airways alike."""
        labels = Block(self.voxels, self.frame, self.start).crop(start, stop)
        return type(self)(labels.voxels, self.frame, start, self.airways.crop(start, stop))


def lung_mask(volume: CTVolume) -> Mask:
    """Voxels of both lungs with the vessels inside them; see :func:`find_lungs`.

    Raises
    ------
    RegionError
        ``no_lung_found``; the message says what was found.
    """
    return find_lungs(volume).mask


def find_lungs(volume: CTVolume) -> Lungs:
    """Right and left lung with their vessels and nodules, without trachea and main bronchi.

    The chain of Hu et al. (2001, doi:10.1109/42.929615) with other parts: air by a threshold, outside air and gas taken
    away, trachea and main bronchi grown from the upper slices and taken away, right and left parted at their narrowest
    bridge, each closed by a ball of ``lung_sides.CLOSING_MM``. All of it runs on voxels of about :data:`COARSE_MM`; the
    border to tissue is then drawn by the threshold at full resolution, so it is right to a voxel. The patient's axes come
    from the grid's direction: a scan stored mirrored, permuted or feet first gives the same lungs.

    Parameters
    ----------
    volume : CTVolume
        HU; a whole image or a large crop.

    Returns
    -------
    Lungs
        On the volume's whole grid.

    Raises
    ------
    RegionError
        ``no_lung_found`` if no component of air looks like lung; the message says what was found.
    """
    turn = patient_turn(volume.frame)
    hu = turn(volume.hu)
    spacing_mm = turn.lengths(volume.frame.spacing_mm)
    step = [max(1, int(COARSE_MM / s + 0.5)) for s in spacing_mm]
    codes = _coarse_codes(_block_means(hu, step), _product(step, spacing_mm))
    labels, airways = _refined(hu, codes, step)
    frame, start = volume.frame, volume.start
    return Lungs(turn.back(labels), frame, start, Mask(turn.back(airways), frame, start))


def patient_turn(frame: Geometry) -> Turn:
    """Orientation in which arrays lie as the patient does: z to the head, y to the back, x to the patient's left.

    Oblique axes count as the patient's axis that they are nearest to.
    """
    cosines = frame.matrix[::-1, ::-1]  # rows: patient (z, y, x), columns: array (z, y, x)
    a, b, c = max(permutations(range(3)), key=lambda order: sum(abs(cosines[i, order[i]]) for i in range(3)))
    return Turn((a, b, c), (bool(cosines[0, a] < 0), bool(cosines[1, b] < 0), bool(cosines[2, c] < 0)))


def _product(step: list[int], spacing_mm: Triple) -> Triple:
    z, y, x = (k * s for k, s in zip(step, spacing_mm, strict=True))
    return z, y, x


def _block_means(hu: NDArray[np.generic], step: list[int]) -> NDArray[np.float32]:
    """Mean of each block of voxels; blocks at the far ends repeat the last voxel."""
    kz, ky, kx = step
    shape = [-(-n // k) for n, k in zip(hu.shape, step, strict=True)]
    result = np.empty(shape, dtype=np.float32)
    for z in range(shape[0]):
        slab = hu[z * kz : (z + 1) * kz].mean(axis=0, dtype=np.float32) if kz > 1 else hu[z]
        padded = np.pad(slab, [(0, shape[1] * ky - hu.shape[1]), (0, shape[2] * kx - hu.shape[2])], mode="edge")
        result[z] = padded.reshape(shape[1], ky, shape[2], kx).mean(axis=(1, 3), dtype=np.float32)
    return result


def _coarse_codes(hu: NDArray[np.float32], spacing_mm: Triple) -> NDArray[np.uint8]:
    """What each coarse voxel says of the voxels in it."""
    outside = outside_air(hu)
    air = (hu < AIR_HU) & ~outside
    lumen = central_airways(hu, air, spacing_mm)
    airways = _largest_near(lumen) & air if lumen.any() else lumen
    pieces, large, largest_ml = lung_pieces(hu, air & ~airways, spacing_mm)
    if not large:
        raise RegionError(
            "no_lung_found",
            f"no aerated component of {MIN_LUNG_ML:g} ml or more (largest {largest_ml:.1f} ml); "
            'set regions.clip = "none" if the images show no lung',
        )
    sides = label_sides(hu, pieces, large, outside, lumen, spacing_mm)
    gas = outside | ((pieces > 0) & np.isin(pieces, large, invert=True) & (hu < GAS_HU))
    wall = _largest_near(airways) if lumen.any() else airways
    closed = closed_sides(sides, outside | wall | gas, spacing_mm)
    codes = np.zeros(hu.shape, dtype=np.uint8)
    near = _largest_near(sides)
    for side in (RIGHT, LEFT):
        codes[(near == side) & (closed == 0) & ~outside & ~gas] = _IF_AIR[side]
    codes[wall & (closed == 0)] = _AIRWAY_IF_AIR
    at_border = _largest_near(closed == 0)
    for side in (RIGHT, LEFT):
        mine = closed == side
        codes[mine] = _WHOLE[side]
        codes[mine & at_border & (sides == side)] = _IF_AIR[side]
    return codes


def _largest_near(labels: NDArray[T]) -> NDArray[T]:
    """Largest value of each voxel and its 26 neighbours."""
    return np.asarray(ndimage.maximum_filter(labels.view(np.uint8), 3, mode="nearest")).view(labels.dtype)


def _refined(
    hu: NDArray[np.generic], codes: NDArray[np.uint8], step: list[int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels and airways at full resolution: codes of blocks, and the threshold where they leave it open."""
    labels = np.zeros(hu.shape, dtype=np.uint8)
    airways = np.zeros(hu.shape, dtype=np.bool_)
    with_air = np.array([0, RIGHT, LEFT, RIGHT, LEFT, 0], dtype=np.uint8)[codes]
    without = np.where(codes <= LEFT, codes, 0).astype(np.uint8)

    def fine(coarse: NDArray[T]) -> NDArray[T]:
        return coarse.repeat(step[1], axis=0)[: hu.shape[1]].repeat(step[2], axis=1)[:, : hu.shape[2]]

    for z in range(hu.shape[0]):
        k = z // step[0]
        if codes[k].any():
            air = np.less(hu[z], AIR_HU)
            labels[z] = np.where(air, fine(with_air[k]), fine(without[k]))
            np.logical_and(air, fine(codes[k] == _AIRWAY_IF_AIR), out=airways[z])
    return labels, airways
