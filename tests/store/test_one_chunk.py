"""Small arrays are written as zarr writes them."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore, MemoryStore

from lungpipe.store.one_chunk import GROUP_JSON, one_chunk_files

ABOUT = {"start": [3, 4, 5], "segmenter": "otsu", "content_id": "0123456789abcdef"}


def by_zarr(voxels: np.ndarray) -> dict[str, bytes]:
    """The files that zarr itself writes for a group and one array in it."""
    files: dict = {}
    zarr.create_group(MemoryStore(files), zarr_format=3).create_array(
        "crop",
        data=voxels,
        chunks=voxels.shape,
        compressors=[BloscCodec(cname="zstd", clevel=3), Crc32cCodec()],
        fill_value=255,
        attributes=ABOUT,
        dimension_names=("z", "y", "x"),
    )
    return {name: content.to_bytes() for name, content in files.items()}


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=12), elements=st.integers(0, 3)))
def test_the_files_are_those_of_zarr(voxels):
    """Metadata and chunk are byte for byte what zarr writes, whatever the memory order."""
    expected = by_zarr(voxels)
    assert expected.pop("zarr.json") == GROUP_JSON
    ours = one_chunk_files(np.asfortranarray(voxels), 255, ABOUT)
    assert {f"crop/{name}": content for name, content in ours.items()} == expected
    assert list(ours)[-1] == "zarr.json"


def test_a_flipped_bit_is_noticed_by_zarr(tmp_path):
    """The checksum covers every byte of the chunk."""
    voxels = np.random.default_rng(0).integers(0, 2, (9, 10, 11)).astype(np.uint8)
    files = one_chunk_files(voxels, 255, ABOUT)
    (tmp_path / "c/0/0").mkdir(parents=True)
    (tmp_path / "zarr.json").write_bytes(files["zarr.json"])
    chunk = files["c/0/0/0"]
    for place in (17, len(chunk) // 2, len(chunk) - 1):
        (tmp_path / "c/0/0/0").write_bytes(chunk[:place] + bytes([chunk[place] ^ 1]) + chunk[place + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            zarr.open_array(LocalStore(tmp_path), mode="r")[:]
    (tmp_path / "c/0/0/0").write_bytes(chunk)
    assert np.array_equal(zarr.open_array(LocalStore(tmp_path), mode="r")[:], voxels)
