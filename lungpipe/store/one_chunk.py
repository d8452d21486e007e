"""A small array as the two files of zarr v3 that hold it: metadata, and its one chunk.

zarr itself creates an array through an event loop and a thread for each chunk, ten milliseconds and more whatever the
array's size; a nodule's mask takes a tenth of a millisecond to compress. The files are those that zarr writes, byte for byte.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import Blosc

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Effort of zstd: what it takes costs less than writing what it saves.
LEVEL = 3
#: A group that holds nothing but other nodes.
GROUP_JSON = json.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2).encode()
_BLOSC = Blosc(cname="zstd", clevel=LEVEL, shuffle=Blosc.BITSHUFFLE, typesize=1)


def one_chunk_files(voxels: NDArray[np.uint8], absent: int, attributes: dict[str, Any]) -> dict[str, bytes]:
    """Files of an array, by their path in the array's folder, metadata last.

    Parameters
    ----------
    voxels : ndarray of uint8, shape (z, y, x)
    absent : int
        What a voxel reads as whose file is gone.
    attributes : dict
        JSON values.

    Notes
    -----
    Zarr v3 core specification, with the codecs ``blosc`` (zstd, bits sorted) and ``crc32c``: the checksum of RFC 3720 over
    the compressed bytes, four bytes at their end, little endian.
    """
    about = {
        "shape": list(voxels.shape),
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(voxels.shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": absent,
        "codecs": [
            {"name": "bytes"},
            {
                "name": "blosc",
                "configuration": {
                    "typesize": 1,
                    "cname": "zstd",
                    "clevel": LEVEL,
                    "shuffle": "bitshuffle",
                    "blocksize": 0,
                },
            },
            {"name": "crc32c"},
        ],
        "attributes": attributes,
        "dimension_names": ["z", "y", "x"],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    packed = _BLOSC.encode(np.ascontiguousarray(voxels).reshape(-1))
    checksum = google_crc32c.value(bytes(packed)).to_bytes(4, "little")
    return {"c/0/0/0": bytes(packed) + checksum, "zarr.json": json.dumps(about, indent=2).encode()}
