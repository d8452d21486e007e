"""A 64 mm box from the volume store, against reading the DICOM series with SimpleITK and cropping.

Both are done for the same box, one after the other, several times; printed are the ratio of wall times and its spread over
the pairs. The boxes must hold the same HU. Files are in the page cache for both.

``python benchmarks/crop.py [FOLDER OR ZIP WITH ONE DICOM SERIES]``; without one a simulated CT is made.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_volume
from lungpipe.store import volumes
from lungpipe.store.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lungpipe.dicom.series import Series

PAIRS = 9
SIZE_MM = 64.0
#: Of the simulated CT, (z, y, x).
SHAPE = (275, 512, 512)
#: Below this the exit status is 1.
AT_LEAST = 10.0


@contextmanager
def one_scan(arguments: Sequence[str], scratch: Path) -> Iterator[tuple[str, Series]]:
    """The CT to measure on, unpacked, and what to call it."""
    if arguments:
        root = Path(arguments[0])
        said = root.stem
        if root.suffix == ".zip":
            with zipfile.ZipFile(root) as archive:
                archive.extractall(scratch / "dicom")
            root = scratch / "dicom"
    else:
        said, root = "no DICOM was named: a SIMULATED chest CT", scratch / "dicom"
        simulate(root)
    found = [s for s in index_series(root).series if s.geometry is not None]
    if not found:
        sys.exit(f"{root} holds no CT series")
    yield said, max(found, key=lambda s: len(s.files))


def simulate(folder: Path) -> None:
    """Write a DICOM series of the size of a chest CT: smoothed noise, seeded."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    hu = np.rint(-700 + 1500 * ndimage.gaussian_filter(noise, 1.5)).astype(np.int16)
    series = f"2.25.{uuid.uuid4().int}"
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, pixels in enumerate(hu):
        image = sitk.GetImageFromArray(pixels[None])
        image.SetSpacing((0.7, 0.7, 1.25))
        image.SetOrigin((0.0, 0.0, 1.25 * k))
        for tag, value in {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
            "0008|0018": f"2.25.{uuid.uuid4().int}",
            "0008|0060": "CT",
            "0020|000d": series,
            "0020|000e": series,
            "0020|0013": str(k + 1),
            "0020|0032": f"0\\0\\{1.25 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "0",
            "0028|1053": "1",
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:04d}.dcm"))
        writer.Execute(image)


def corners(shape: Sequence[int], size: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """First voxels of ``n`` boxes, anywhere in the volume, seeded."""
    rng = np.random.default_rng(0)
    return [tuple(int(rng.integers(0, m - k + 1)) for m, k in zip(shape, size, strict=True)) for _ in range(n)]


def by_simpleitk(files: Sequence[str], start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Read the series in ITK's documented way and cut the box out."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(list(files))
    image = reader.Execute()
    return sitk.GetArrayFromImage(sitk.RegionOfInterest(image, list(size[::-1]), list(start[::-1])))


def main() -> None:
    """Print the ratio and its spread."""
    with tempfile.TemporaryDirectory() as scratch, one_scan(sys.argv[1:], Path(scratch)) as (said, series):
        place, name = Place.at(Path(scratch)), "volumes/scan.zarr"
        volume = read_volume(series.files, series.geometry)
        volumes.write_volume(place, name, volume, {})
        size = tuple(min(n, round(SIZE_MM / s)) for n, s in zip(volume.shape, volume.frame.spacing_mm, strict=True))
        files = [source.path for source in series.files]
        ratios, ours, theirs = [], [], []
        by_simpleitk(files, (0, 0, 0), size)  # both warm
        for start in corners(volume.shape, size, PAIRS):
            stop = tuple(a + n for a, n in zip(start, size, strict=True))
            begin = time.perf_counter()
            expected = by_simpleitk(files, start, size)
            middle = time.perf_counter()
            found = volumes.read_volume(place, name, (start, stop)).hu
            end = time.perf_counter()
            if not np.array_equal(np.maximum(expected, -1024), found):
                sys.exit("the two ways give other HU")
            ratios.append((middle - begin) / (end - middle))
            theirs.append(middle - begin)
            ours.append(end - middle)
        print(
            f"{said}, {volume.shape} voxels, box of {size}: the store is {statistics.median(ratios):.0f} times as fast "
            f"({min(ratios):.0f} to {max(ratios):.0f}, {PAIRS} pairs; {statistics.median(ours) * 1e3:.0f} ms against "
            f"{statistics.median(theirs) * 1e3:.0f} ms)"
        )
        if statistics.median(ratios) < AT_LEAST:
            sys.exit(1)


if __name__ == "__main__":
    main()
