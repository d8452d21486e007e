"""The extractor ``nested`` against PyRadiomics on the same crop, and against the published tool's way, on one core.

Nodules of 0.2, 2 and 50 ml in a simulated chest on a grid of 1 mm, seven nested regions each (nodule and 2 to 12 mm round it),
twelve images (original, three Laplacians of Gaussians, eight wavelet bands), 1,130 features a region. PyRadiomics gets the
crop that the largest region needs, and is run the documented way, ``execute`` for each region. Both take turns in one
process; times are CPU times, ratios are medians with their range. Printed too: the share of the stages, start-up, peak memory,
two workers against one, and flash-radiomics where an interpreter that has it is named.

``python benchmarks/radiomics_engines.py [--repeats N] [--quick] [--flash PYTHON]``
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from radiomics import featureextractor
from scipy import ndimage

from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.expand import expand_all
from lungpipe.region.specs import grid_of_specs
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

logging.getLogger("radiomics").setLevel(logging.CRITICAL)
#: Nodules by their volume, ml.
VOLUMES_ML = (0.2, 2.0, 50.0)
RADII_MM = (0, 2, 4, 6, 8, 10, 12)
#: What the crop holds round the largest region, mm.
MARGIN_MM = 20
GRID = RadiomicsSettings(spacing_mm=None, filters=("original", "log", "wavelet"))
ORIGINAL = RadiomicsSettings(spacing_mm=None)
#: A chest CT, (z, y, x), for the published tool's way.
CHEST, CHEST_MM = (275, 512, 512), (1.25, 0.7, 0.7)


#: Functions whose time is a stage's.
STAGES = {
    "pairs": (("nested/pairs.py", "pair_features"),),
    "zones": (("nested/zones.py", "zone_features"),),
    "neighbourhoods": (("nested/neighbourhoods.py", "neighbourhoods"),),
    "runs": (("nested/runs.py", "run_lengths"),),
    "first order": (("nested/engine.py", "_first_order"),),
    "levels": (("nested/levels.py", "levels_of"),),
    "Laplacians": (("radiomics/laplacian.py", "laplacian_of_gaussian"),),
    "wavelets": (("radiomics/imageoperations.py", "getWaveletImage"),),
    "shape": (("radiomics/shapes.py", "shapes_of"),),
}


def scene(volume_ml: float) -> tuple[CTVolume, Mask]:
    """A nodule of uneven outline in textured lung beside a chest wall, seeded; 1 mm voxels."""
    radius = (3000 * volume_ml / (4 * np.pi)) ** (1 / 3)
    half = int(radius + max(RADII_MM) + MARGIN_MM) + 1
    shape = (2 * half + 1,) * 3
    rng = np.random.default_rng(int(10 * volume_ml))
    z, y, x = (index - half for index in np.indices(shape, sparse=True))
    bumps = ndimage.gaussian_filter(rng.normal(size=shape), radius / 3)
    inside = np.sqrt(z**2 + y**2 + x**2) + bumps / bumps.std() * radius / 12 <= radius
    pieces = ndimage.label(inside)[0]
    inside = pieces == pieces[half, half, half]
    fine, coarse = (ndimage.gaussian_filter(rng.normal(size=shape), s) for s in (0.6, 1.6))
    hu = -830 + 60 * fine / fine.std() + 130 * coarse / coarse.std()
    hu[np.broadcast_to(x, shape) > radius + 9] += 850
    hu[inside] += 820
    frame = Geometry(shape, (1.0, 1.0, 1.0))
    return CTVolume(np.rint(np.clip(hu, -1024, 1500)).astype(np.int16), frame), Mask(inside, frame)


def regions_of(nodule: Mask) -> list[Mask]:
    """The nodule and its surroundings, nested."""
    return [region.mask for region in expand_all(nodule, grid_of_specs(("grown",), RADII_MM))]


def raters(nodule: Mask) -> list[Mask]:
    """Four masks of one nodule: as it is, wider, narrower, and moved."""
    tight = nodule.trimmed()
    z, y, x = tight.start
    moved = Mask(tight.voxels, nodule.frame, (z + 1, y - 1, x))
    voxels = nodule.within((0, 0, 0), nodule.frame.shape).voxels
    wider = Mask(ndimage.binary_dilation(voxels), nodule.frame)
    narrower = Mask(ndimage.binary_erosion(voxels), nodule.frame)
    return [nodule, wider, narrower, moved]


def theirs(volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings) -> list[dict[str, float]]:
    """PyRadiomics, the documented way, for each region."""
    extractor = featureextractor.RadiomicsFeatureExtractor(binWidth=25, additionalInfo=False)
    if "log" in settings.filters:
        extractor.enableImageTypeByName("LoG", customArgs={"sigma": list(settings.parameters.sigma_mm)})
        extractor.enableImageTypeByName("Wavelet")
    image = to_sitk(volume.hu, volume.geometry)
    found = []
    for region in regions:
        mask = to_sitk(_voxels(region, volume).astype(np.uint8), volume.geometry)
        found.append({name: float(value) for name, value in extractor.execute(image, mask).items()})
    return found


def ours(volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings) -> list[object]:
    """The nested engine, all regions at once."""
    return list(Nested()(volume, regions, settings))


def cpu(work: Callable[..., object], *args: object) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work(*args)
    return time.process_time() - start


def compare(
    name: str, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings, repeats: int, note: str
) -> None:
    """Time both by turns and print the ratio."""
    ours(volume, regions, settings)
    pairs = [(cpu(theirs, volume, regions, settings), cpu(ours, volume, regions, settings)) for _ in range(repeats)]
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"{name}: {statistics.median(ratios):.1f} times ({ratios[0]:.1f} to {ratios[-1]:.1f}; {note}; "
        f"{statistics.median(a for a, _ in pairs):.2f} s against {statistics.median(b for _, b in pairs):.3f} s)",
        flush=True,
    )


def stages(volume: CTVolume, regions: Sequence[Mask]) -> None:
    """Shares of the stages of one grid, by the profiler."""
    profile = cProfile.Profile()
    profile.runcall(ours, volume, regions, GRID)
    timed = pstats.Stats(profile)
    total = timed.total_tt
    spent = dict.fromkeys(STAGES, 0.0)
    for (file, _, function), entry in timed.stats.items():
        for stage, places in STAGES.items():
            if any(file.endswith(where) and function == name for where, name in places):
                spent[stage] += entry[3]
    spent["rest"] = total - sum(spent.values())
    print(
        "stages: "
        + ", ".join(f"{name} {share / total:.0%}" for name, share in sorted(spent.items(), key=lambda s: -s[1]))
    )


def whole_ct(repeats: int) -> None:
    """The published tool's way: whole CT and whole mask from files into PyRadiomics, resampled there, for each region."""
    _, small = scene(2.0)
    side = small.frame.shape[0]
    frame = Geometry(CHEST, CHEST_MM)
    rng = np.random.default_rng(1)
    hu = np.rint(-830 + 120 * rng.normal(size=CHEST)).astype(np.int16)
    start = tuple((n - int(side / s)) // 2 for n, s in zip(CHEST, CHEST_MM, strict=True))
    fine = ndimage.zoom(small.within((0, 0, 0), small.frame.shape).voxels, [1 / s for s in CHEST_MM], order=0)
    nodule = Mask(fine, frame, (start[0], start[1], start[2]))
    volume, regions = CTVolume(hu, frame), regions_of(nodule)
    settings = RadiomicsSettings()
    ours(volume, regions, settings)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/ct.nii", *(f"{folder}/{k}.nii" for k in range(len(regions)))]
        sitk.WriteImage(to_sitk(hu, frame), paths[0])
        for path, region in zip(paths[1:], regions, strict=True):
            sitk.WriteImage(to_sitk(region.within((0, 0, 0), CHEST).voxels.astype(np.uint8), frame), path)
        extractor = featureextractor.RadiomicsFeatureExtractor(binWidth=25, resampledPixelSpacing=[1, 1, 1])
        pairs = [
            (
                cpu(lambda: [extractor.execute(paths[0], path) for path in paths[1:]]),
                cpu(ours, volume, regions, settings),
            )
            for _ in range(repeats)
        ]
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"whole CT: {statistics.median(ratios):.0f} times ({ratios[0]:.0f} to {ratios[-1]:.0f}; 2 ml, 7 regions, original image, "
        f"resampled to 1 mm; {statistics.median(a for a, _ in pairs):.1f} s against "
        f"{statistics.median(b for _, b in pairs):.3f} s)",
        flush=True,
    )


def fresh(code: str, **environment: str) -> Any:
    """What a fresh process prints as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout.splitlines()[-1])


def processes() -> None:
    """Start-up with and without compiled code at hand, and the memory of a whole process."""
    start = (
        "import json, time; t = time.process_time(); from radiomics_engines import *; a = time.process_time() - t\n"
        "v, n = scene(0.2); t = time.process_time(); ours(v, [n], ORIGINAL); print(json.dumps([a, time.process_time() - t]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = fresh(start, NUMBA_CACHE_DIR=folder), fresh(start, NUMBA_CACHE_DIR=folder)
    print(
        f"start-up: imports {warm[0]:.1f} s; first call {cold[1]:.1f} s after an install, {warm[1]:.2f} s in a later process"
    )
    with tempfile.TemporaryDirectory() as folder:
        volume, nodule = scene(50.0)
        np.savez(f"{folder}/in.npz", hu=volume.hu, masks=[_voxels(region, volume) for region in regions_of(nodule)])
        peak = (
            "import json; from radiomics_engines import *\n"
            f"held = np.load('{folder}/in.npz'); frame = Geometry(held['hu'].shape, (1.0, 1.0, 1.0))\n"
            "{}(CTVolume(held['hu'], frame), [Mask(mask, frame) for mask in held['masks']], GRID)\n"
            "print(json.dumps(peak_mib()))"
        )
        mine, other = fresh(peak.format("ours")), fresh(peak.format("theirs"))
    print(f"memory: {mine:.0f} MiB against {other:.0f} MiB (peak of the whole process, 50 ml, 7 regions x 12 images)")


def peak_mib() -> float:
    """Largest memory of this process since it started, MiB (Linux; what resource gives is the parent's too)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _voxels(region: Mask, volume: CTVolume) -> NDArray[np.bool_]:
    return region.within(volume.start, volume.stop).voxels


def _one(volume_ml: float) -> int:
    volume, nodule = scene(volume_ml)
    return len(ours(volume, regions_of(nodule), GRID))


def scaling() -> None:
    """Twelve nodules by one worker and by two."""
    seconds = []
    for workers in (1, 2):
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(_one, [0.2] * workers))  # imports
            start = time.perf_counter()
            list(pool.map(_one, [2.0] * 12))
            seconds.append(time.perf_counter() - start)
    print(f"two workers: {seconds[0] / seconds[1]:.2f} times one (wall time, {os.cpu_count()} cores)")


def flash(python: str, repeats: int) -> None:
    """flash-radiomics on the original image, in an interpreter of its own, by turns."""
    volume, nodule = scene(2.0)
    regions = regions_of(nodule)
    code = Path(__file__).with_name("peers") / "flash.py"
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/in.npz", hu=volume.hu, masks=[_voxels(region, volume) for region in regions])
        ours(volume, regions, ORIGINAL)
        pairs = []
        for _ in range(repeats):
            run = subprocess.run(
                [python, code, f"{folder}/in.npz"], capture_output=True, text=True, check=True, cwd=folder
            )
            pairs.append((float(run.stdout.split()[-1]), cpu(ours, volume, regions, ORIGINAL)))
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"flash-radiomics: {statistics.median(ratios):.1f} times ({ratios[0]:.1f} to {ratios[-1]:.1f}; 2 ml, 7 regions, original)"
    )


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the nodule of 2 ml only")
    parser.add_argument("--flash", help="interpreter that has flash-radiomics")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for volume_ml in (2.0,) if options.quick else VOLUMES_ML:
        volume, nodule = scene(volume_ml)
        regions, size = regions_of(nodule), f"{volume_ml:g} ml"
        suffix = "" if volume_ml == 2.0 else f" {size}"
        compare(f"grid{suffix}", volume, regions, GRID, options.repeats, f"{size}, 7 regions x 12 images")
        compare(f"single region{suffix}", volume, [nodule], ORIGINAL, options.repeats, f"{size}, original image")
        if volume_ml == 2.0:
            masks = [region for mask in raters(nodule) for region in regions_of(mask)]
            stages(volume, regions)
            compare("four masks", volume, masks, GRID, options.repeats, f"{size}, 28 regions x 12 images")
    whole_ct(max(options.repeats // 2, 1))
    processes()
    scaling()
    if options.flash:
        flash(options.flash, options.repeats)
    else:
        print("flash-radiomics: not measured; name an interpreter that has it with --flash")


if __name__ == "__main__":
    main()
