"""Layouts of the volume store side by side on one CT: bytes, files, and the time of a crop, of slices, of the whole.

Every layout is written first; then crops and slices are read in rounds, each round from every layout in turn, so that
whatever else the machine does falls on all of them alike. Printed are medians and the quartiles around them. Files are in
the page cache: this is the cost of opening, checking and decompressing.

``python benchmarks/store_layouts.py [FOLDER OR ZIP WITH ONE DICOM SERIES]``; without one a simulated CT is made.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zarr
from crop import SIZE_MM, corners, one_scan
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from lungpipe.dicom.read import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from lungpipe.volume import CTVolume

ROUNDS, LONG_ROUNDS = 30, 5
_BLOSC, _ZSTD = BloscCodec(cname="zstd", clevel=3), ZstdCodec(level=3)
#: Name, chunk, shard, compressor, with checksum.
LAYOUTS = (
    ("32 x 128 x 128, a file each", (32, 128, 128), None, _BLOSC, False),
    ("32 x 128 x 128", (32, 128, 128), (64, 512, 512), _BLOSC, True),
    ("32 x 128 x 128, shards of 128 slices", (32, 128, 128), (128, 512, 512), _BLOSC, True),
    ("32 x 128 x 128, zstd without Blosc", (32, 128, 128), (64, 512, 512), _ZSTD, True),
    ("16 x 128 x 128", (16, 128, 128), (64, 512, 512), _BLOSC, True),
    ("32 x 64 x 64", (32, 64, 64), (64, 512, 512), _BLOSC, True),
    ("64 x 64 x 64", (64, 64, 64), (64, 512, 512), _BLOSC, True),
    ("8 x 256 x 256", (8, 256, 256), (64, 512, 512), _BLOSC, True),
    ("1 x 512 x 512", (1, 512, 512), (64, 512, 512), _BLOSC, True),
)


def write(folder: Path, volume: CTVolume, layout: tuple) -> None:
    """Write the volume in one layout, anew."""
    _, chunk, shard, compressor, checked = layout
    shutil.rmtree(folder, ignore_errors=True)
    zarr.create_group(folder).create_array(
        "ct",
        data=volume.hu,
        chunks=chunk,
        shards=shard,
        compressors=[compressor, *([Crc32cCodec()] if checked else [])],
        fill_value=-32768,
    )


def read(folder: Path, window: tuple[slice, ...]) -> None:
    """Open the group and read a window of it."""
    zarr.open_group(folder, mode="r")["ct"][window]


def timed_ms(work: Callable[[], None]) -> float:
    """Wall time, ms."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def quartiles(times: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return f"{middle:.0f} ({low:.0f}-{high:.0f})"


def main() -> None:
    """Print a table in Markdown."""
    zarr.config.set({"async.concurrency": 2})
    with tempfile.TemporaryDirectory() as scratch, one_scan(sys.argv[1:], Path(scratch)) as (said, series):
        volume = read_volume(series.files, series.geometry)
        shape = volume.shape
        size = tuple(min(n, round(SIZE_MM / s)) for n, s in zip(shape, volume.frame.spacing_mm, strict=True))
        starts = corners(shape, size, ROUNDS)
        folders = [Path(scratch, f"{i}.zarr") for i in range(len(LAYOUTS))]
        every = slice(None)
        times: dict[tuple[int, str], list[float]] = {}

        def measure(what: str, make: Callable[[int, int], Callable[[], None]], rounds: int) -> None:
            for repeat in range(rounds):
                for i in range(len(LAYOUTS)):
                    times.setdefault((i, what), []).append(timed_ms(make(i, repeat)))

        def window(k: int, what: str) -> tuple[slice, ...]:
            z, y, _ = starts[k]
            if what == "crop":
                return tuple(slice(a, a + n) for a, n in zip(starts[k], size, strict=True))
            return (slice(z, z + 1), every, every) if what == "axial" else (every, slice(y, y + 1), every)

        measure("write", lambda i, _: partial(write, folders[i], volume, LAYOUTS[i]), LONG_ROUNDS)
        for what in ("crop", "axial", "coronal"):
            measure(what, lambda i, k, what=what: partial(read, folders[i], window(k, what)), ROUNDS)
        measure("whole", lambda i, _: partial(read, folders[i], (every, every, every)), LONG_ROUNDS)

        print(f"{said}; {shape} voxels, {volume.hu.nbytes / 1e6:.0f} MB of int16; crop of {size} voxels; ms")
        print(
            f"{os.cpu_count()} cores, {platform.machine()}, zarr {zarr.__version__}, Python {platform.python_version()}\n"
        )
        print("| chunk (z, y, x) | MB | files | 64 mm crop | axial slice | coronal slice | whole | write |")
        print("|---|---|---|---|---|---|---|---|")
        for i, layout in enumerate(LAYOUTS):
            files = [p for p in folders[i].rglob("*") if p.is_file()]
            megabytes = sum(p.stat().st_size for p in files) / 1e6
            cells = [quartiles(times[i, what]) for what in ("crop", "axial", "coronal", "whole", "write")]
            print(f"| {layout[0]} | {megabytes:.1f} | {len(files)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
