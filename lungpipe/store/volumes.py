"""CT volumes and masks as zarr v3: HU with an affine, masks as crops that know their place."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from pathlib import Path

    from lungpipe.geometry import IndexTriple

#: Chunk of the CT array, voxels (z, y, x): about a megabyte, a nodule crop touches few of them.
CHUNK: IndexTriple = (32, 128, 128)


def write_volume(path: Path, volume: CTVolume, attributes: dict[str, Any]) -> None:
    """Write a volume as group ``path`` with the int16 array ``ct`` (z, y, x), atomically.

    Parameters
    ----------
    path : Path
        ``volumes/<id>.zarr``; replaced if it is there.
    volume : CTVolume
        HU as int16.
    attributes : dict
        Pseudonymous identifiers and whatever else describes the series; JSON values.
    """
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    group = zarr.open_group(temporary, mode="w", zarr_format=3)
    group.attrs.update({**attributes, **_describe(volume.frame), "units": "HU", "axes": "z, y, x"})
    chunks = cast("IndexTriple", tuple(min(c, n) for c, n in zip(CHUNK, volume.shape, strict=True)))
    group.create_array("ct", data=volume.hu, chunks=chunks, compressors=BloscCodec(cname="zstd", clevel=3))
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def read_volume(path: Path, box: tuple[IndexTriple, IndexTriple] | None = None) -> CTVolume:
    """Read a stored volume, or the half-open box (start, stop) of it (z, y, x)."""
    group = zarr.open_group(path, mode="r")
    frame = _geometry(dict(group.attrs))
    start, stop = box or ((0, 0, 0), frame.shape)
    array = cast("zarr.Array[Any]", group["ct"])
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return CTVolume(np.asarray(array[window]), frame, start)


def write_mask(path: Path, name: str, mask: Mask) -> None:
    """Write a mask's tight crop as uint8 array ``masks/<name>`` beside the volume, its first voxel in ``start``."""
    group = zarr.open_group(path, mode="a").require_group("masks")
    tight = mask.trimmed()
    voxels = tight.voxels.astype(np.uint8)
    array = group.create_array(name, data=voxels, chunks=voxels.shape, overwrite=True)
    array.attrs.update({"start": list(tight.start), "content_id": tight.content_id})


def read_mask(path: Path, name: str) -> Mask:
    """Read a mask that :func:`write_mask` wrote."""
    root = zarr.open_group(path, mode="r")
    array = cast("zarr.Array[Any]", root[f"masks/{name}"])
    z, y, x = cast("list[int]", array.attrs["start"])
    return Mask(np.asarray(array[...]).astype(np.bool_), _geometry(dict(root.attrs)), (z, y, x))


def _describe(frame: Geometry) -> dict[str, Any]:
    """Grid as attributes: its parts, and the 4x4 affine from index (x, y, z) to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3] = frame.matrix * np.asarray(frame.spacing_mm[::-1])
    affine[:3, 3] = frame.origin_mm
    return {
        "shape_zyx": list(frame.shape),
        "spacing_zyx_mm": list(frame.spacing_mm),
        "origin_lps_mm": list(frame.origin_mm),
        "direction": list(frame.direction),
        "affine_index_xyz_to_lps_mm": affine.tolist(),
    }


def _geometry(attributes: dict[str, Any]) -> Geometry:
    return Geometry(
        tuple(attributes["shape_zyx"]),
        tuple(attributes["spacing_zyx_mm"]),
        tuple(attributes["origin_lps_mm"]),
        tuple(attributes["direction"]),
    )
