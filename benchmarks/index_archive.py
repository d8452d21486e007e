"""Index an archive of many series: against one pydicom header loop, and against itself when nothing changed.

Writes 500 series of 40 slices (64 x 64 pixels) to a temporary folder. Prints ratios of wall time, each pair measured one after
the other, the memory of this process, and, for the readers of one header alone, ratios of CPU time. ``--files`` makes it
smaller; ``--dicom`` measures the readers on your own files instead.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import gdcm
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungpipe.dicom.header import parse_header
from lungpipe.dicom.index import index_archive, one_after_another
from lungpipe.dicom.memory import remember
from lungpipe.dicom.source import of_paths, open_each
from tasks.cluster import dask_cluster
from tasks.curate import over_dask

if TYPE_CHECKING:
    from collections.abc import Callable

SLICES = 40
PAIRS = 3
#: What the index reads, by keyword: the loop that it is compared with asks pydicom for the same.
ASKED = [
    "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate", "AccessionNumber", "Modality",
    "Manufacturer", "InstitutionName", "ReferringPhysicianName", "SeriesDescription", "ManufacturerModelName", "PatientName",
    "PatientID", "PatientBirthDate", "ContrastBolusAgent", "SliceThickness", "KVP", "XRayTubeCurrent", "Exposure",
    "GantryDetectorTilt", "ConvolutionKernel", "CTDIvol", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "BurnedInAnnotation", "RescaleIntercept", "RescaleSlope",
    "LossyImageCompression", "Units",
]  # fmt: skip


def write_archive(root: Path, n_files: int) -> None:
    """Write series of :data:`SLICES` slices, ten a patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.Modality, data.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(data, name, "20010203")
    data.PatientName, data.InstitutionName, data.AccessionNumber = "Nobody^Anne", "General hospital", "A123456"
    data.Manufacturer, data.ManufacturerModelName, data.ConvolutionKernel = "Maker", "Model 64", "B30f"
    data.StudyDescription, data.SeriesDescription = "CT chest", "Thin axial lung"
    data.KVP, data.XRayTubeCurrent, data.Exposure, data.SliceThickness = 120, 180, 90, 1.25
    data.PatientAge, data.PatientSex, data.PatientPosition, data.ProtocolName = "060Y", "O", "HFS", "Chest"
    data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
    data.Rows = data.Columns = 64
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept, data.WindowCenter, data.WindowWidth = 1, -1024, 40, 400
    data.PixelData = np.random.default_rng(0).integers(0, 2000, (64, 64)).astype("<u2").tobytes()
    for series in range(n_files // SLICES):
        folder = root / f"p{series // 10:03d}" / f"s{series:03d}"
        folder.mkdir(parents=True)
        data.PatientID = f"P{series // 10:05d}"
        data.StudyInstanceUID, data.FrameOfReferenceUID = (
            generate_uid(entropy_srcs=[word, str(series)]) for word in ("study", "frame")
        )
        data.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(series)])
        for k in range(SLICES):
            data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(series), str(k)])
            data.InstanceNumber = k + 1
            data.ImagePositionPatient = [-170.0, -170.0, -300 + 1.25 * k]
            data.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def pydicom_loop(root: Path) -> int:
    """Read the same attributes with pydicom, file after file."""
    count = 0
    for folder, _, names in os.walk(root):
        for name in names:
            dataset = pydicom.dcmread(Path(folder) / name, stop_before_pixels=True, specific_tags=list(ASKED))
            count += len([dataset.get(keyword) for keyword in ASKED]) > 0
    return count


def gdcm_scan(paths: list[Path]) -> None:
    """Read the same attributes with GDCM's scanner."""
    scanner = gdcm.Scanner()
    for keyword in ASKED:
        tag = pydicom.tag.Tag(keyword)
        scanner.AddTag(gdcm.Tag(tag.group, tag.elem))
    names = [str(path) for path in paths]
    scanner.Scan(names)
    for name in names:
        scanner.GetMapping(name)


def compare_readers(paths: list[Path]) -> None:
    """Print how much CPU time the readers take for the same files, against pydicom's ``dcmread`` with the same tags."""
    sources = of_paths(paths)

    def loop() -> None:
        for path in paths:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(ASKED))
            [dataset.get(keyword) for keyword in ASKED]

    def own() -> None:
        for source, (read, _) in zip(sources, open_each(sources), strict=True):
            parse_header(source, read)

    def cpu_s(function: Callable[[], None]) -> float:
        start = time.process_time()
        function()
        return time.process_time() - start

    ratios: dict[str, list[float]] = {"GDCM's scanner": [], "lungpipe's reader": []}
    for _ in range(PAIRS):
        loop_s = cpu_s(loop)
        ratios["GDCM's scanner"].append(loop_s / cpu_s(lambda: gdcm_scan(paths)))
        ratios["lungpipe's reader"].append(loop_s / cpu_s(own))
    for name, found in ratios.items():
        spread(f"{name} on {len(paths)} headers, CPU time, faster than dcmread with the same tags", found)


def timed(function, *args) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def index(root: Path, mapper, memory_file: Path) -> None:
    """Index the archive and check that it is the one written."""
    with remember(memory_file) as memory:
        table = index_archive(root, memory, mapper)
    if any(s.codes or len(s.files) != SLICES for s in table.series):
        raise SystemExit("the index found other series than were written")


def spread(title: str, ratios: list[float]) -> None:
    """Print the median of some ratios and their range."""
    print(
        f"{title}: {statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f}, {len(ratios)} pairs)"
    )


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--dicom", type=Path)
    given = parser.parse_args()
    if given.dicom is not None:
        compare_readers(sorted(path for path in given.dicom.rglob("*.dcm"))[:1000])
        return
    n_files = given.files // SLICES * SLICES
    root = Path(tempfile.mkdtemp())
    try:
        write_archive(root / "archive", n_files)
        print(f"{n_files} files in {n_files // SLICES} series, {os.cpu_count()} cores")
        compare_readers(sorted((root / "archive").rglob("*.dcm"))[:1000])
        peak_mb = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
        against_pydicom, alone, again = [], [], []
        with dask_cluster(None, 2, "4GiB") as address:
            mapper = over_dask(address, 600.0)
            index(root / "archive", mapper, root / "warm-up.sqlite")
            for pair in range(PAIRS):
                memory_file = root / f"{pair}.sqlite"
                loop_s = timed(pydicom_loop, root / "archive")
                first_s = timed(index, root / "archive", mapper, memory_file)
                second_s = timed(index, root / "archive", mapper, memory_file)
                single_s = timed(index, root / "archive", one_after_another, root / f"single-{pair}.sqlite")
                peak_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
                against_pydicom.append(loop_s / first_s)
                alone.append(loop_s / single_s)
                again.append(first_s / second_s)
                print(
                    f"  pydicom {loop_s:.1f} s, index {first_s:.1f} s, again {second_s:.2f} s, one process {single_s:.1f} s"
                )
        spread("two workers, faster than one pydicom loop", against_pydicom)
        spread("one process, faster than one pydicom loop", alone)
        spread("unchanged second run, faster than the first", again)
        print(f"peak memory of this process before, and after each pair: {', '.join(f'{mb:.0f}' for mb in peak_mb)} MB")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
