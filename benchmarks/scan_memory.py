"""Peak memory of a worker for scans of growing size, beside what `lungpipe.scan.memory` projects from their headers.

Each scan is a simulated chest of 512 x 512 pixels a slice with one nodule of 12 mm, written as DICOM and processed in a process
of its own: by four segmenters, with 13 regions clipped to the lung, and once without looking for the lung.

``python benchmarks/scan_memory.py [--slices 100,200,400,800]``
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungpipe.curate import curate_folder
from lungpipe.dicom.source import digest
from lungpipe.nodule import Nodule
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan import ScanJob, process_scan, settings_from
from lungpipe.scan.memory import projected_bytes
from tasks.cluster import SETTINGS

PIXELS, PIXEL_MM, LENGTH_MM = 512, 0.7, 320.0
#: What a worker is started with.
OF_A_WORKER = SETTINGS["distributed.nanny.pre-spawn-environ"]
RADII_MM = (0, 2, 4, 6, 8, 10, 12)


def chest_slice(z_mm: float, rng: np.random.Generator) -> np.ndarray:
    """HU of one slice: a body, two lungs with noise, and at the middle of the right one a ball."""
    side = (np.arange(PIXELS) - (PIXELS - 1) / 2) * PIXEL_MM
    x, y = side[None, :], side[:, None]
    hu = np.full((PIXELS, PIXELS), -1000.0)
    hu[(x / 165) ** 2 + (y / 115) ** 2 < 1] = 40.0
    lung = ((np.abs(x) - 78) / 58) ** 2 + (y / 85) ** 2 + (z_mm / 140) ** 2 < 1
    hu[lung] = -850.0
    hu[(x + 78) ** 2 + y**2 + z_mm**2 < 6.0**2] = 30.0
    return np.rint(hu + rng.normal(0, 20, hu.shape)).astype(np.int16)


def write_scan(folder: Path, slices: int) -> None:
    """A series of that many slices over the same length."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(slices)
    step_mm = LENGTH_MM / slices
    series, study = (
        generate_uid(entropy_srcs=["series", str(slices)]),
        generate_uid(entropy_srcs=["study", str(slices)]),
    )
    for k in range(slices):
        z_mm = (k - (slices - 1) / 2) * step_mm
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["image", str(slices), str(k)])
        image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = "SIZE", study, series, "CT"
        image.ImageType, image.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        corner_mm = -(PIXELS - 1) / 2 * PIXEL_MM
        image.ImagePositionPatient, image.ImageOrientationPatient = [corner_mm, corner_mm, z_mm], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [PIXEL_MM, PIXEL_MM], step_mm
        image.RescaleSlope, image.RescaleIntercept = 1, 0
        image.Rows = image.Columns = PIXELS
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = chest_slice(z_mm, rng).tobytes()
        pydicom.dcmwrite(folder / f"{k:04d}.dcm", image, enforce_file_format=True)


def job_of(folder: Path) -> ScanJob:
    """The series in a folder and its nodule."""
    (judged,) = curate_folder(folder).stacks
    series = judged.series
    nodule = Nodule("P-AAAAAAAAAAAA", "S-AAAAAAAAAAAA", "N-AAAAAAAAAAAA", (-78.0, 0.0, 0.0), (12.0,) * 3, 1)
    who = ("generic", "simulated", nodule.patient_id, nodule.series_uid)
    return ScanJob(*who, series.files, series.geometry, (nodule,), digest(series.files))


def settings(clip: str):
    """What is done to a scan."""
    return settings_from(
        methods=("fcm", "gmm", "kmeans", "otsu"),
        preset="default",
        radii_mm=RADII_MM,
        kinds=("grown", "shell"),
        clip=clip,
        exclude_neighbours=True,
        extractor="nested",
        radiomics=RadiomicsSettings(),
    )


def in_child(folder: Path, clip: str) -> None:
    """Process the scan here, and print voxels, bytes before and at the peak, and the projection."""
    job = job_of(folder)
    chosen = settings(clip)
    result = process_scan(job, chosen, folder.parent / f"{folder.name}-{clip}")
    if result.exclusion is not None:
        raise SystemExit(result.exclusion.message)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(int(np.prod(job.geometry.shape)), peak, projected_bytes(job.geometry, needs_lungs=chosen.needs_lungs))


def main() -> None:
    """Print a table, and what a line through it has to say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", default="100,200,400,800", help="slices of each scan (default: %(default)s)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        in_child(Path(given.child[0]), given.child[1])
        return
    print(
        "| clip | slices | million voxels | peak, GiB | projected, GiB | projected / peak |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        found: dict[str, list[tuple[int, int]]] = {}
        for slices in map(int, given.slices.split(",")):
            folder = Path(temporary) / str(slices)
            write_scan(folder, slices)
            for clip in ("lung", "none"):
                words = [sys.executable, __file__, "--child", str(folder), clip]
                done = subprocess.run(
                    words, capture_output=True, text=True, check=False, env={**os.environ, **OF_A_WORKER}
                )
                if done.returncode:
                    raise SystemExit(done.stderr)
                voxels, peak, projected = map(int, done.stdout.split())
                found.setdefault(clip, []).append((voxels, peak))
                shown = f"{voxels / 1e6:.0f} | {peak / 2**30:.2f} | {projected / 2**30:.2f} | {projected / peak:.2f}"
                print(f"| {clip} | {slices} | {shown} |")
    for clip, rows in found.items():
        slope, base = np.polyfit(*np.array(rows, float).T, 1)
        print(f"clip {clip}: {slope:.1f} bytes a voxel and {base / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
