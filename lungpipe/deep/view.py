"""How a network sees a nodule: a cube of HU about its box, and the prompt as a second channel."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.segment.contour import saliency
from lungpipe.segment.outside.patch import Patch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple, Triple
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume

Prompt = Literal["box", "point", "saliency"]
#: HU outside of the image.
OUTSIDE_HU = -1000.0
#: Standard deviation of the Gaussian that a point or click is, voxels of the patch.
POINT_VOXELS = 2.5


@dataclass(frozen=True, slots=True)
class View:
    """The cube that a network sees.

    Parameters
    ----------
    voxels : int
        Along each side of the cube.
    reach : float
        Side of the cube in longest sides of the nodule's box: a nodule of any size fills the same share of it. 0 where the
        spacing is fixed instead.
    least_mm : float
        A box counts as at least this long.
    spacing_mm : float
        Fixed spacing of the voxels, mm, where ``reach`` is 0; what does not fit into the cube is then seen in several.
    window_hu : tuple of float
        HU are clipped to this and scaled to 0 to 1.
    prompt : {"box", "point", "saliency"}
        The second channel: the box; Gaussians at its centre and at clicks (negative where outside); or how far each voxel
        stands out of surroundings of the box's size.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    voxels: int = 48
    reach: float = 2.0
    least_mm: float = 6.0
    spacing_mm: float = 0.0
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    prompt: Prompt = "box"

    def __post_init__(self) -> None:
        if self.voxels < 8 or self.least_mm <= 0 or self.window_hu[0] >= self.window_hu[1]:
            raise DatasetError(
                f"a network's view has 8 voxels or more, least_mm above 0 and a window_hu that goes upwards; found {asdict(self)}"
            )
        if (self.reach > 0) == (self.spacing_mm > 0) or min(self.reach, self.spacing_mm) < 0:
            raise DatasetError("a network's view has either reach or spacing_mm above 0, and the other 0")
        if self.prompt not in ("box", "point", "saliency"):
            raise DatasetError(f"a network's prompt is box, point or saliency; found {self.prompt!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The view that a file of weights names."""
        known = dict(values)
        if "window_hu" in known:
            known["window_hu"] = tuple(known["window_hu"])
        return cls(**known)

    def patch(self, frame: Geometry, centre_mm: Triple, size_mm: Triple) -> Patch:
        """The cube about a box of the image, or a longer one where the spacing is fixed and the box does not fit.

        Parameters
        ----------
        frame : Geometry
            Of the image.
        centre_mm, size_mm : tuple of float
            LPS centre (x, y, z) and full sides along the image's (x, y, z) axes, mm.
        """
        if self.reach:
            spacing = max(*size_mm, self.least_mm) * self.reach / self.voxels
            shape = (self.voxels,) * 3
        else:
            spacing = self.spacing_mm
            sides = [int(np.ceil(2.0 * max(side, self.least_mm) / spacing)) for side in size_mm[::-1]]
            shape = (max(sides[0], self.voxels), max(sides[1], self.voxels), max(sides[2], self.voxels))
        return Patch.around(frame, centre_mm, (spacing,) * 3, shape)

    def scaled(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU as the network's first channel."""
        low, high = self.window_hu
        return ((np.clip(hu, low, high) - low) / (high - low)).astype(np.float32)

    def channels(self, volume: CTVolume, nodule: Nodule, patch: Patch) -> NDArray[np.float32]:
        """What the network gets of a nodule, shape (2, z, y, x).

        Parameters
        ----------
        volume : CTVolume
        nodule : Nodule
            With centre and size.
        patch : Patch
        """
        image = self.scaled(patch.sample(volume, OUTSIDE_HU))
        centre, half = _placed(volume.frame, patch, nodule)
        if self.prompt == "point":
            return np.stack([image, _clicks(volume.frame, patch, nodule, centre)])
        box = box_cover(patch.shape, centre, half)
        if self.prompt == "saliency":
            inside = box >= min(0.5, float(box.max()))
            spacing_mm = tuple(np.multiply(patch.step, volume.frame.spacing_mm).tolist())
            salient = saliency(image.astype(np.float64), np.ones(image.shape, dtype=np.bool_), spacing_mm, inside)
            return np.stack([image, salient.astype(np.float32)])
        return np.stack([image, box])


def box_cover(shape: IndexTriple, centre: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float32]:
    """Share of each voxel's sides (z, y, x) inside a box, given by centre and half sides in voxels (z, y, x)."""
    parts = [np.clip(0.5 + h - np.abs(np.arange(n) - c), 0, 1) for n, c, h in zip(shape, centre, half, strict=True)]
    return np.asarray(parts[0][:, None, None] * parts[1][:, None] * parts[2], dtype=np.float32)


def gaussian_at(shape: IndexTriple, centre: NDArray[np.float64]) -> NDArray[np.float32]:
    """A Gaussian of height 1 and :data:`POINT_VOXELS` at a point in voxels (z, y, x)."""
    parts = [np.exp(-0.5 * ((np.arange(n) - c) / POINT_VOXELS) ** 2) for n, c in zip(shape, centre, strict=True)]
    return np.asarray(parts[0][:, None, None] * parts[1][:, None] * parts[2], dtype=np.float32)


def _placed(frame: Geometry, patch: Patch, nodule: Nodule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and half sides of a nodule's box, voxels (z, y, x) of the patch."""
    centre = _in_patch(frame, patch, nodule.centre_mm or (0.0, 0.0, 0.0))
    size_mm = nodule.size_mm or (0.0, 0.0, 0.0)
    half = np.asarray(size_mm[::-1]) / 2 / np.multiply(patch.step, frame.spacing_mm)
    return centre, half


def _in_patch(frame: Geometry, patch: Patch, point_mm: Triple) -> NDArray[np.float64]:
    return np.asarray((frame.to_index(point_mm) - np.asarray(patch.first)) / np.asarray(patch.step))


def _clicks(frame: Geometry, patch: Patch, nodule: Nodule, centre: NDArray[np.float64]) -> NDArray[np.float32]:
    found = gaussian_at(patch.shape, centre)
    for click in nodule.clicks:
        spot = gaussian_at(patch.shape, _in_patch(frame, patch, click.position_mm))
        found = np.maximum(found, spot) if click.inside else np.where(spot > found, -spot, found)
    return found.astype(np.float32)
