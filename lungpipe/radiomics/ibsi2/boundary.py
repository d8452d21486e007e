"""What lies beyond the image: IBSI's boundary conditions (code GBYQ)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lungpipe.radiomics.ibsi2.fields import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Boundary = Literal["zero", "nearest", "mirror", "periodic"]

#: IBSI's codes: zero (Z3VE), the nearest voxel's value (SIJG), mirrored with the edge voxel repeated (ZDTV), periodic (Z7YO).
BOUNDARIES: tuple[Boundary, ...] = ("zero", "nearest", "mirror", "periodic")

_NdimageMode = Literal["constant", "nearest", "reflect", "wrap"]
_PadMode = Literal["constant", "edge", "symmetric", "wrap"]

#: The same conditions under the names of ``scipy.ndimage``.
NDIMAGE_MODE: Mapping[str, _NdimageMode] = {
    "zero": "constant",
    "nearest": "nearest",
    "mirror": "reflect",
    "periodic": "wrap",
}
#: The same conditions under the names of ``numpy.pad``.
PAD_MODE: Mapping[str, _PadMode] = {
    "zero": "constant",
    "nearest": "edge",
    "mirror": "symmetric",
    "periodic": "wrap",
}


def check_boundary(filter_name: str, boundary: str) -> None:
    """Refuse a boundary condition that IBSI does not name.

    Raises
    ------
    DatasetError
        With the conditions there are.
    """
    one_of(filter_name, "boundary", boundary, BOUNDARIES)


def local_reach(reach_voxels: int, boundary: Boundary) -> int | None:
    """Reach of a filter of finite support: without end where the far side of the image is the near side's neighbour.

    A crop of the image that holds the region and this many voxels round it, where the image has them, gives the region
    the values of the whole image.
    """
    return None if boundary == "periodic" else reach_voxels
