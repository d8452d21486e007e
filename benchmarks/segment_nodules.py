"""Four cluster methods on nodules in crops of 64 mm, against scikit-fuzzy and its like on whole images.

The peer does what the published peritumoral tool does (facts in docs/design.md: two classes on raw HU in the box, closing,
opening, a mask the size of the CT written as NIfTI; the CT is read as NIfTI), with the libraries that it uses: scikit-fuzzy's c-means,
scikit-learn's k-means and Gaussian mixture, scikit-image's Otsu. Ours reads a crop from the store, segments by the
plug-ins ``otsu``, ``kmeans``, ``gmm`` and ``fcm`` with all their steps, and stores the masks. Both take turns on the same
nodules; the CT is a simulated chest with real nodule shapes. Printed are the ratio of wall times and its spread.

``python benchmarks/segment_nodules.py [PAIRS]``
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
import skfuzzy
from scipy import ndimage
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from data_catalog.phantom.candidates import read_candidates
from data_catalog.phantom.matching import match_pairs
from data_catalog.phantom.plan import plan_patients
from data_catalog.phantom.scene import simulate
from lungpipe import plugins
from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.store import volumes
from lungpipe.store.place import Place
from lungpipe.volume import CTVolume, box_around

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

PAIRS = 6
SIDE_MM = 64.0
#: Of a chest CT, (z, y, x); the simulated ones show half a chest and are mirrored to this size.
SHAPE = (275, 512, 512)
METHODS = ("otsu", "kmeans", "gmm", "fcm")
#: Below this the exit status is 1.
AT_LEAST = 20.0


def scans(count: int) -> Iterator[tuple[CTVolume, Nodule]]:
    """Simulated CTs with one annotated nodule each."""
    for number, patient in enumerate(plan_patients(match_pairs(read_candidates()), max(count, 2), 7)[:count]):
        scene = simulate(patient, 1.0, 8.0)
        nodule = Nodule("", "", f"n{number}", scene.centres_mm[0], patient.nodules[0].candidate.shape.size_mm)
        more = [(0, max(0, whole - n)) for whole, n in zip(SHAPE, scene.hu.shape, strict=True)]
        hu = np.pad(scene.hu, more, mode="symmetric")  # as large as a chest CT; only the nodule's surroundings count
        grid = patient.grid
        yield CTVolume(hu, Geometry(hu.shape, grid.spacing_mm, grid.origin_mm, grid.direction)), nodule


def peer(path: Path, nodule: Nodule, out: Path) -> None:
    """Whole image in, four masks of the whole image out."""
    image = sitk.ReadImage(str(path))
    whole = sitk.GetArrayFromImage(image)
    centre = image.TransformPhysicalPointToIndex(nodule.centre_mm)[::-1]
    sides = (nodule.size_mm or (SIDE_MM,) * 3)[::-1]
    half = [int(mm / s) // 2 + 5 for mm, s in zip(sides, image.GetSpacing()[::-1], strict=True)]
    box = tuple(slice(max(0, c - h), min(n, c + h)) for c, h, n in zip(centre, half, whole.shape, strict=True))
    hu = whole[box].astype(np.float64)
    for name in METHODS:
        bright = ndimage.binary_closing(peer_classes(name, hu.ravel()).reshape(hu.shape), np.ones((3, 3, 3)))
        mask = np.zeros(whole.shape, np.uint8)
        mask[box] = ndimage.binary_opening(bright, np.ones((3, 3, 3)))
        written = sitk.GetImageFromArray(mask)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(out / f"{name}.nii.gz"), True)


def peer_classes(name: str, hu: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The brighter class of all voxels (n,)."""
    if name == "otsu":
        return np.asarray(hu >= threshold_otsu(hu))
    if name == "kmeans":
        labels = KMeans(2, n_init=10, random_state=0).fit_predict(hu[:, None])
    elif name == "gmm":
        labels = GaussianMixture(2, random_state=0).fit_predict(hu[:, None])
    else:
        labels = skfuzzy.cmeans(hu[None], 2, 2, error=0.005, maxiter=1000, seed=0)[1].argmax(axis=0)
    return np.asarray(labels == int(hu[labels == 1].mean() > hu[labels == 0].mean()))


def ours(place: Place, store: str, frame: Geometry, nodule: Nodule) -> None:
    """A crop out of the store, four masks into it."""
    centre = np.rint(frame.to_index(nodule.centre_mm)).astype(int).tolist()
    low, high = (centre[0], centre[1], centre[2]), (centre[0] + 1, centre[1] + 1, centre[2] + 1)
    crop = volumes.read_volume(place, store, box_around(frame, low, high, SIDE_MM / 2))
    for name in METHODS:
        mask = plugins.find("segmenters", name)()(crop, nodule)
        volumes.write_mask(place, store, f"masks/{name}/{nodule.nodule_id}", mask)


def timed(work: Callable[..., None], *arguments: object) -> float:
    """Wall seconds."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    warnings.filterwarnings("ignore")
    ratios, mine = [], []
    with tempfile.TemporaryDirectory() as folder:
        place, path = Place.at(folder), Path(folder) / "ct.nii.gz"
        for number, (volume, nodule) in enumerate(scans(pairs)):
            sitk.WriteImage(to_sitk(volume.hu, volume.frame), str(path), True)
            store = f"volumes/{number}.zarr"
            volumes.write_volume(place, store, volume, {})
            if not number:
                ours(place, store, volume.frame, nodule)  # imports
            mine.append(timed(ours, place, store, volume.frame, nodule))
            theirs = timed(peer, path, nodule, Path(folder))
            ratios.append(theirs / mine[-1])
            print(f"{nodule.nodule_id}: {theirs:.1f} s against {mine[-1]:.2f} s, {ratios[-1]:.0f} times")
    middle = statistics.median(ratios)
    rate = 100 * statistics.fmean(mine)
    print(f"segment: {middle:.0f} times as fast ({min(ratios):.0f} to {max(ratios):.0f}, {len(ratios)} pairs)")
    print(f"100 nodules, four methods: {rate:.0f} s in one process")
    if middle < AT_LEAST:
        sys.exit(f"expected at least {AT_LEAST:g} times")


if __name__ == "__main__":
    main()
