"""CT volumes and masks as zarr v3: HU with an affine, masks as crops that know their place.

One group a series: the array ``ct`` and, beside it, ``masks/<artefact>/<nodule>`` and ``lung/<artefact>``. Chunks are small,
so that a crop reads little; many of them share a file (a shard), so that a volume is a few files; each carries a CRC-32C,
so that damage raises instead of becoming HU. ``docs/store.md`` has the measurements behind the numbers.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from lungpipe.errors import GeometryError, StoreError
from lungpipe.geometry import Geometry
from lungpipe.store.one_chunk import GROUP_JSON, LEVEL, one_chunk_files
from lungpipe.volume import Block, CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from zarr.core.buffer import Buffer

    from lungpipe.geometry import IndexTriple
    from lungpipe.store.place import Place

#: Voxels (z, y, x) that are compressed together: a megabyte of HU.
CHUNK: IndexTriple = (32, 128, 128)
#: Voxels (z, y, x) of a file; a multiple of :data:`CHUNK`.
SHARD: IndexTriple = (64, 512, 512)
#: What a voxel reads as whose file is gone. Neither is a value that is ever stored.
ABSENT_HU, ABSENT_IN_MASK = -32768, 255
#: Shards in memory at once. zarr's ten cost 70 MB more on a chest CT, and gain no time on two cores.
AT_ONCE = 2


def write_volume(place: Place, name: str, volume: CTVolume, attributes: dict[str, Any]) -> None:
    """Write a volume as group ``name`` with the int16 array ``ct`` (z, y, x).

    A group of that name is removed first, its masks with it. The same volume gives the same bytes every time. It is not
    whole before the last byte is there: whoever writes it records it in the ledger afterwards.

    Parameters
    ----------
    place : Place
        The workspace.
    name : str
        ``volumes/<id>.zarr``.
    volume : CTVolume
        A whole scan, HU as int16.
    attributes : dict
        Pseudonymous identifiers, quality codes and whatever else describes the series; JSON values.

    Raises
    ------
    GeometryError
        If the volume is a crop or is not int16, or holds -32768, which stands for what is absent.
    """
    if volume.hu.dtype != np.int16 or volume.shape != volume.frame.shape:
        raise GeometryError(
            f"whole volumes of int16 HU are stored; found {volume.hu.dtype}, {volume.shape} of {volume.frame.shape} voxels"
        )
    if volume.hu.min() == ABSENT_HU:
        raise GeometryError(f"a voxel of {ABSENT_HU} HU cannot be stored: that value stands for absent ones")
    place.remove(name)
    about = {**attributes, **_describe(volume.frame), "units": "HU", "axes": "z, y, x"}
    group = zarr.create_group(place.zarr(name), zarr_format=3, attributes=about)
    _write(group, "ct", volume.hu, ABSENT_HU, {})


def read_volume(place: Place, name: str, box: tuple[IndexTriple, IndexTriple] | None = None) -> CTVolume:
    """Read a stored volume, or a box of it.

    Parameters
    ----------
    place : Place
        The workspace.
    name : str
        ``volumes/<id>.zarr``.
    box : tuple, optional
        Half open, (start, stop), indices (z, y, x).

    Raises
    ------
    StoreError
        ``damaged_volume`` if it is missing, or a chunk that was read is not what was written.
    GeometryError
        If the box leaves the volume.
    """
    with _whole("volume"):
        group = zarr.open_group(place.zarr(name), mode="r")
        frame = _geometry(dict(group.attrs))
        array = cast("zarr.Array[Any]", group["ct"])
        _same(array.shape, frame.shape)
    start, stop = box or ((0, 0, 0), frame.shape)
    if min(start) < 0 or np.any(np.greater(stop, frame.shape)) or np.any(np.less_equal(stop, start)):
        raise GeometryError(f"box {start}..{stop} leaves the volume of {frame.shape} voxels, or is empty")
    with _whole("volume"):
        hu = _read(array, start, stop)
        if hu.min() == ABSENT_HU:
            raise FileNotFoundError
    return CTVolume(hu, frame, start)


def write_mask(place: Place, name: str, path: str, mask: Mask, attributes: dict[str, Any] | None = None) -> None:
    """Write a mask's tight crop as uint8 array ``path`` beside its volume; a mask of that path is replaced.

    Parameters
    ----------
    place : Place
        The workspace.
    name : str
        Group of the volume, ``volumes/<id>.zarr``.
    path : str
        ``masks/<artefact>/<nodule_id>``.
    mask : Mask
        On the volume's grid. Not empty.
    attributes : dict, optional
        What describes it. ``start``, the crop's first voxel (z, y, x), and ``content_id`` are added.

    Raises
    ------
    GeometryError
        If the mask is empty, or on another grid than the volume.
    StoreError
        ``damaged_volume`` if there is no volume.
    """
    tight = mask.trimmed()
    with _whole("volume"):
        frame = _geometry(json.loads(place.read(f"{name}/zarr.json"))["attributes"])
    if frame != mask.frame:
        raise GeometryError(
            f"the mask is not on its volume's grid: {mask.frame.mismatch(frame, 0.0) or 'directions differ'}"
        )
    about = {**(attributes or {}), "start": [int(v) for v in tight.start], "content_id": tight.content_id}
    _write_beside(place, name, path, tight.voxels.astype(np.uint8), about)


def write_labels(
    place: Place, name: str, path: str, labels: NDArray[np.uint8], start: IndexTriple, attributes: dict[str, Any]
) -> None:
    """Write a small number for each voxel, as uint8 array ``path`` beside the volume; one of that path is replaced.

    Parameters
    ----------
    place, name, path
        As in :func:`write_mask`; ``agreement/<artefact>/<nodule_id>`` (how many masks hold a voxel) or ``lung/<artefact>``
        (which lung).
    labels : ndarray of uint8, shape (z, y, x)
        Below 255.
    start : tuple of int
        Index (z, y, x) of its first voxel in the volume.
    attributes : dict
        What describes it; ``start`` is added.
    """
    _write_beside(place, name, path, labels, {**attributes, "start": [int(v) for v in start]})


def read_mask(place: Place, name: str, path: str) -> Mask:
    """Read a mask that :func:`write_mask` wrote; parameters as there.

    Raises
    ------
    StoreError
        ``damaged_mask`` if it is missing, or not what was written.
    """
    labels = read_labels(place, name, path)
    if labels.voxels.max() > 1:
        raise StoreError("damaged_mask", "the stored mask holds other values than 0 and 1; run the recipe again")
    return Mask(labels.voxels.astype(np.bool_), labels.frame, labels.start)


def read_labels(place: Place, name: str, path: str) -> Block:
    """Read what :func:`write_labels` or :func:`write_mask` wrote; parameters as there.

    Raises
    ------
    StoreError
        ``damaged_mask`` if it is missing, or not what was written.
    """
    with _whole("mask"):
        root = zarr.open_group(place.zarr(name), mode="r")
        frame = _geometry(dict(root.attrs))
        array = cast("zarr.Array[Any]", root[path])
        z, y, x = cast("list[int]", array.attrs["start"])
        voxels = _read(array, (0, 0, 0), cast("IndexTriple", array.shape))
        if voxels.max() == ABSENT_IN_MASK:
            raise FileNotFoundError
        return Block(voxels, frame, (z, y, x))


def _write_beside(place: Place, name: str, path: str, voxels: NDArray[np.uint8], attributes: dict[str, Any]) -> None:
    """Write a crop beside its volume, its metadata last."""
    if voxels.size <= np.prod(CHUNK):
        files = one_chunk_files(voxels, ABSENT_IN_MASK, attributes)
    else:
        stored: dict[str, Buffer] = {}
        _write(zarr.create_group(MemoryStore(stored), zarr_format=3), "crop", voxels, ABSENT_IN_MASK, attributes)
        made = {file.removeprefix("crop/"): content for file, content in stored.items() if file.startswith("crop/")}
        files = {file: made[file].to_bytes() for file in sorted(made)}
    place.remove(f"{name}/{path}")
    for file, content in files.items():
        place.write(f"{name}/{path}/{file}", content, synced=False)
    for parent in PurePosixPath(path).parents[:-1]:
        if not place.exists(f"{name}/{parent}/zarr.json"):
            place.write(f"{name}/{parent}/zarr.json", GROUP_JSON, synced=False)


def _write(group: zarr.Group, path: str, voxels: NDArray[Any], absent: int, attributes: dict[str, Any]) -> None:
    """Create an array and fill it; what is no larger than a chunk is one, in a file of its own."""
    small = voxels.size <= np.prod(CHUNK)
    chunk = voxels.shape if small else tuple(min(c, n) for c, n in zip(CHUNK, voxels.shape, strict=True))
    filled = (-(-n // c) * c for c, n in zip(chunk, voxels.shape, strict=True))
    with zarr.config.set({"async.concurrency": AT_ONCE}):
        group.create_array(
            path,
            data=voxels,
            chunks=chunk,
            shards=None if small else tuple(min(s, n) for s, n in zip(SHARD, filled, strict=True)),
            # Blosc sorts the bytes before zstd sees them, which saves a sixth of a CT; the sum is over what it gives.
            compressors=[BloscCodec(cname="zstd", clevel=LEVEL), Crc32cCodec()],
            fill_value=absent,
            attributes=attributes,
            dimension_names=("z", "y", "x"),
            overwrite=True,
        )


def _read(array: zarr.Array[Any], start: IndexTriple, stop: IndexTriple) -> NDArray[Any]:
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    with zarr.config.set({"async.concurrency": AT_ONCE}):
        return np.asarray(array[window])


@contextmanager
def _whole(what: str) -> Iterator[None]:
    """Turn what zarr raises for a missing or damaged array into one error; trouble with the disk or network stays."""
    try:
        yield
    except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError) as error:
        message = (
            f"the stored {what} is missing or damaged ({type(error).__name__}); run the recipe again to make it anew"
        )
        raise StoreError(f"damaged_{what}", message) from error


def _same(found: tuple[int, ...], expected: IndexTriple) -> None:
    if found != expected:
        raise ValueError(f"an array of {found} voxels, expected {expected}")


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
