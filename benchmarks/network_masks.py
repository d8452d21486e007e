"""The network that comes with lungpipe beside the classical methods: held-back simulated nodules, and real ones.

Simulated: shapes of LIDC-IDRI's patients that no training sees, in scans of seeds that no training sees. Real, where the
folder of real data is there (``$LUNGPIPE_TEST_DATA``): the nodule that four radiologists of LIDC-IDRI-0314 outlined (their
majority), the tumours of the IBSI phantom and of PyRadiomics' lung1 (the published outlines), and the three patches of the
PiNS demo (their published k-means masks, less the expansion of 2 mm: what a method made, and no person).

``python benchmarks/network_masks.py [--nodules 100] [--weights FILE]``
"""

from __future__ import annotations

import argparse
import os
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import SimpleITK as sitk

from data_catalog import load_dataset, read_annotations
from data_catalog.phantom.lessons import lessons
from lungpipe import plugins
from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import geometry_of, read_image, read_volume
from lungpipe.errors import CaseError
from lungpipe.nodule import Nodule
from lungpipe.scan.locate import locate
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import consensus_mask
from lungpipe.segment.pins import PinsKMeans
from lungpipe.segment.prompt import with_extent
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lungpipe.segment import Segmenter

    Case = tuple[str, CTVolume, Nodule, Mask]

METHODS = ("otsu", "kmeans", "gmm", "fcm", "connected_threshold", "random_walker", "saliency_contour")
#: Seed of the held-back scans; trainings use others (recipes/train/).
SEED = 300_000
#: Of the PiNS demo: where each patch begins in its CT (z, y, x), and voxels that are mirrored round it.
PATCH_START = {"DLCS_0001_01": (171, 305, 88), "DLCS_0001_02": (308, 172, 338), "DLCS_0002_01": (270, 148, 185)}
EDGE = 24


def simulated(count: int) -> Iterator[Case]:
    """Held-back nodules, each with its exact mask."""
    for number, one in enumerate(lessons(count, SEED, held_back=True)):
        yield f"simulated {number}", one.volume, one.nodule, one.mask


def boxed(volume: CTVolume, truth: Mask, name: str) -> Case:
    """A case whose annotation is the box of its outline."""
    low, high = np.asarray(truth.bounds)
    centre = tuple(truth.frame.to_lps((low + high - 1) / 2).tolist())
    size_mm = tuple(((high - low) * np.asarray(truth.frame.spacing_mm))[::-1].tolist())
    return name, volume, Nodule("", "", name, centre, size_mm), truth


def real(folder: Path) -> Iterator[Case]:
    """Real nodules with outlines."""
    with TemporaryDirectory() as name, zipfile.ZipFile(folder / "lidc-idri-0314.zip") as archive:
        archive.extractall(name)
        series = index_series(Path(name) / "LIDC-IDRI-0314")
        files, geometry = series.series[0].files, series.series[0].geometry
        volume = read_volume(files, geometry)
        nodules = read_annotations(load_dataset("lidc-idri"), None, series).nodules
        four = next(located for n in nodules if len((located := locate(n, volume, files)).raters) == 4)
    yield "LIDC-IDRI-0314, four raters", volume, four, consensus_mask(four.raters)
    for title, image, label in (
        ("IBSI phantom, GTV", "ibsi1-ct-phantom/nifti/image/phantom.nii.gz", "ibsi1-ct-phantom/nifti/mask/mask.nii.gz"),
        ("lung1", "pyradiomics-lung1/lung1_image.nrrd", "pyradiomics-lung1/lung1_label.nrrd"),
    ):
        voxels, frame = read_image(folder / image)
        volume = CTVolume(np.asarray(voxels, np.int16), frame)
        yield boxed(volume, Mask(np.asarray(read_image(folder / label)[0]) > 0, frame), title)
    rows = pd.read_csv(folder / "pins-demo" / "DLCSD24_Annotations_N2.csv").set_index("nodule_id")
    for name, start in PATCH_START.items():
        patch = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "pins-demo" / f"patch_{name}.nii.gz")))
        frame = geometry_of(sitk.ReadImage(str(folder / "pins-demo" / f"kmeans2mm_{name}.nii.gz")))
        hu = np.pad(np.rint(patch.astype(np.float64) * 1500 - 1000).astype(np.int16), EDGE, mode="reflect")
        z, y, x = (s - EDGE for s in start)
        volume, row = CTVolume(hu, frame, (z, y, x)), rows.loc[name]
        centre = (float(row["coordX"]), float(row["coordY"]), float(row["coordZ"]))
        nodule = Nodule("", name, name, centre, (float(row["w"]), float(row["h"]), float(row["d"])))
        yield f"PiNS demo {name}, its k-means", volume, nodule, PinsKMeans()(volume, nodule)


def overlap(segmenter: Segmenter, case: Case, *, point: bool = False) -> float:
    """Dice with the outline; 0 where the method says that it finds nothing."""
    _, volume, nodule, truth = case
    if point:
        nodule = with_extent(volume, replace(nodule, size_mm=None))
    try:
        return dice(segmenter(volume, nodule), truth)
    except CaseError:
        return 0.0


def methods(weights: str) -> Mapping[str, Segmenter]:
    """The classical methods and the network."""
    network = plugins.find("segmenters", "network")
    found = {name: plugins.find("segmenters", name)() for name in METHODS}
    return {"network": network(weights=weights) if weights else network(), **found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodules", type=int, default=100)
    parser.add_argument("--weights", default="")
    given = parser.parse_args()
    found = methods(given.weights)
    cases = [*simulated(given.nodules)]
    print(f"{'':36} " + " ".join(f"{name[:10]:>10}" for name in found))
    for point in (False, True):
        table = {name: [overlap(one, case, point=point) for case in cases] for name, one in found.items()}
        prompt = "a point" if point else "the box"
        print(
            f"{f'{len(cases)} simulated, {prompt}: mean':36} " + " ".join(f"{np.mean(v):10.3f}" for v in table.values())
        )
        print(f"{'  lowest':36} " + " ".join(f"{np.min(v):10.3f}" for v in table.values()))
    start = time.perf_counter()
    for case in cases[:20]:
        overlap(found["network"], case)
    print(f"network: {(time.perf_counter() - start) / 20:.2f} s a nodule")
    folder = Path(os.environ.get("LUNGPIPE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        print("no real data on this machine: the rest is left out")
        return
    for case in real(folder):
        print(f"{case[0]:36} " + " ".join(f"{overlap(one, case):10.3f}" for one in found.values()))


if __name__ == "__main__":
    main()
