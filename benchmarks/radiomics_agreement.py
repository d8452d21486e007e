"""The extractors ``nested`` and ``pyradiomics`` against PyRadiomics run the documented way on the whole image.

The whole image is filtered by PyRadiomics' own functions and features are computed of it region by region, as its ``execute``
does without resampling; with resampling to 1 mm it is run with a padding so wide (60 voxels) that filters see no edge. Ours
get the whole image too and crop by themselves. Printed, for each data set, image type and extractor: the worst relative
difference of any feature and its name; then the worst of all but the maximal correlation coefficient. Real data sets are
read from the folder given; simulated regions need none. Of a few voxels, or voxels scattered about the image, the maximal correlation
is left out: a direction has so few pairs that it is 0, or for PyRadiomics the root of a rounding error of either sign, which it drops
where it is negative. Exit status 1 where a difference is above 1e-6.

``python benchmarks/radiomics_agreement.py [--data FOLDER] [--regions 200]``
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from radiomics import featureextractor, imageoperations
from scipy import ndimage

from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_image, read_volume, to_sitk
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.image_types import IMAGE_TYPES, type_of
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.radiomics.texture import TextureSettings
from lungpipe.region.expand import expand
from lungpipe.region.specs import ShellSpec
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

logging.getLogger("radiomics").setLevel(logging.CRITICAL)
#: What is promised of every feature.
AT_MOST = 1e-6
#: Values below this are compared absolutely to it: PyRadiomics' own rounding is all that is left of them.
LEAST = 1e-8
#: And a skewness below this: a sum of cubes of either sign that cancel, whose rounding error has the scale of 1.
LEAST_SKEWNESS = 1e-3
#: Regions of fewer voxels, or that hold less of their box, have directions with next to no pairs.
FEW, SCATTERED = 30, 0.1
TYPES = ("original", "log", "wavelet", "square", "squareroot", "logarithm", "exponential", "gradient", "lbp-2d")
SPECS = (ShellSpec("nodule"), ShellSpec("grown", 6.0), ShellSpec("shell", 6.0))


def reference(volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings) -> list[dict[str, float]]:
    """PyRadiomics' values of every region, from the whole image."""
    extractor = featureextractor.RadiomicsFeatureExtractor(binWidth=settings.bin_width_hu, additionalInfo=False)
    image = to_sitk(volume.hu, volume.frame)
    masks = [to_sitk(m.within((0, 0, 0), volume.shape).voxels.astype(np.uint8), volume.frame) for m in regions]
    if settings.spacing_mm is not None:
        wide = featureextractor.RadiomicsFeatureExtractor(
            binWidth=settings.bin_width_hu, additionalInfo=False, resampledPixelSpacing=list(settings.spacing_mm),
            padDistance=60,
        )  # fmt: skip
        wide.disableAllImageTypes()
        for kind in settings.filters:
            wide.enableImageTypeByName(IMAGE_TYPES[kind], customArgs=_words(kind, settings))
        real = to_sitk(volume.hu.astype(np.float32), volume.frame)
        return [dict(wide.execute(real, mask)) for mask in masks]
    found: list[dict[str, float]] = [{} for _ in regions]
    boxes = [imageoperations.checkMask(image, mask)[0] for mask in masks]
    for row, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        found[row].update(extractor.computeShape(image, mask, box))
    for kind in settings.filters:
        words = {**extractor.settings, **_words(kind, settings)}
        for made, name, _ in getattr(imageoperations, f"get{IMAGE_TYPES[kind]}Image")(image, masks[0], **words):
            for row, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
                cut_image, cut_mask = imageoperations.cropToTumorMask(made, mask, box)
                found[row].update(extractor.computeFeatures(cut_image, cut_mask, name, **extractor.settings))
    return found


def _words(kind: str, settings: RadiomicsSettings) -> dict[str, object]:
    return {"sigma": list(settings.parameters.sigma_mm)} if kind == "log" else {}


def simulated(count: int) -> Iterator[tuple[CTVolume, list[Mask]]]:
    """Textured images of 48 mm with ten regions each: balls, scattered, flat, of one slice, at the border, all of it."""
    for number in range(math.ceil(count / 10)):
        rng = np.random.default_rng(number)
        shape = tuple(int(n) for n in rng.integers(28, 49, 3))
        frame = Geometry((shape[0], shape[1], shape[2]), tuple(rng.choice([0.7, 1.0, 1.25, 2.5], 3).tolist()))
        smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.4, 2))
        hu = np.rint(-600 + smooth / smooth.std() * rng.uniform(40, 250)).astype(np.int16)
        masks = []
        for _ in range(4):
            centre = [rng.integers(3, n - 3) for n in shape]
            distance = sum(
                ((i - c) * s) ** 2 for i, c, s in zip(np.indices(shape), centre, frame.spacing_mm, strict=True)
            )
            masks.append(distance <= rng.uniform(2.5, 11) ** 2)
        masks += [masks[0] | masks[1], masks[2] & (rng.random(shape) < 0.7), rng.random(shape) < 0.02]
        one = np.zeros(shape, np.bool_)
        one[shape[0] // 2, 4:17, 5:19] = True
        corner = np.zeros(shape, np.bool_)
        corner[:6, -7:, :8] = True
        masks += [one, corner, np.ones(shape, np.bool_)]
        yield CTVolume(hu, frame), [Mask(mask, frame) for mask in masks if np.count_nonzero(mask) > 8]


def real(folder: Path) -> Iterator[tuple[str, CTVolume, list[Mask]]]:
    """Real images and their regions."""
    for name, image, mask in (
        ("lung1", "pyradiomics-lung1/lung1_image.nrrd", "pyradiomics-lung1/lung1_label.nrrd"),
        ("IBSI phantom", "ibsi1-ct-phantom/nifti/image", "ibsi1-ct-phantom/nifti/mask"),
    ):
        hu, frame = read_image(_file(folder / image))
        voxels, _ = read_image(_file(folder / mask))
        yield name, CTVolume(np.asarray(hu), frame), _about(Mask(np.asarray(voxels) == 1, frame))
    for path in sorted((folder / "pins-demo").glob("patch_*.nii.gz")):
        # The patch carries the full CT's origin, so its mask is found where the published tool put it (shared README).
        patch, frame = read_image(path)
        hu = np.rint(np.asarray(patch, np.float64) * 1500 - 1000).astype(np.int16)
        ball = np.linalg.norm(np.indices(hu.shape) - 31.5, axis=0) <= 7
        yield path.name.removesuffix(".nii.gz"), CTVolume(hu, frame), _about(Mask(ball & (hu > -500), frame))
    with tempfile.TemporaryDirectory() as out:
        with zipfile.ZipFile(folder / "lidc-idri-0314.zip") as archive:
            archive.extractall(out)
        series = next(one for one in index_series(Path(out)).series if one.geometry is not None)
        volume = read_volume(series.files, series.geometry)
    centre = np.array([160, 246, 183])
    window = tuple(slice(c - 20, c + 20) for c in centre)
    tissue = np.zeros(volume.shape, np.bool_)
    pieces = ndimage.label(volume.hu[window] > -400)[0]
    sizes = np.bincount(pieces.ravel())[1:]
    tissue[window] = pieces == 1 + int(np.argmax(np.where(sizes < 20000, sizes, 0)))
    yield "LIDC-IDRI-0314", volume, _about(Mask(tissue, volume.frame))


def _file(path: Path) -> Path:
    return next(iter(sorted(path.glob("*.nii*")))) if path.is_dir() else path


def _about(nodule: Mask) -> list[Mask]:
    return [expand(nodule, spec) for spec in SPECS]


class Worst:
    """The largest difference by image type and extractor."""

    def __init__(self) -> None:
        self.without_mcc = False
        self.by: dict[tuple[str, str], tuple[float, str]] = {}
        self.compared = self.undefined = 0

    def take(self, extractor: str, found: Mapping[str, float], expected: Mapping[str, object]) -> None:
        """Compare the features of one region."""
        for name, value in expected.items():
            if name.startswith("diagnostics"):
                continue
            theirs, mine = float(np.real(value)), found[name]
            if self.without_mcc and name.endswith("_MCC"):
                continue
            if math.isnan(mine):  # undefined: NaN there too, or a number by convention (docs/radiomics.md)
                self.undefined += 1
                continue
            self.compared += 1
            least = LEAST_SKEWNESS if name.endswith("_Skewness") else LEAST
            difference = abs(mine - theirs) / max(abs(theirs), least)
            kind = type_of(name.partition("_")[0]) + (" MCC" if name.endswith("_MCC") else "")
            self.by[kind, extractor] = max(self.by.get((kind, extractor), (0.0, "")), (difference, name))

    def show(self, title: str, n_regions: int) -> float:
        """Print and return the largest."""
        print(f"\n{title}: {n_regions} regions, {self.compared} values, {self.undefined} undefined")
        for (kind, extractor), (difference, name) in sorted(self.by.items()):
            print(f"  {kind:16} {extractor:12} {difference:8.1e}  {name}", flush=True)
        return max((difference for difference, _ in self.by.values()), default=0.0)


def check(title: str, cases: Sequence[tuple[CTVolume, list[Mask]]], settings: RadiomicsSettings) -> float:
    """Compare on some images and print the worst."""
    worst, n = Worst(), 0
    for volume, regions in cases:
        expected = reference(volume, regions, settings)
        for extractor in (Nested(), PyRadiomics()):
            results = extractor(volume, regions, settings)
            for region, found, other in zip(regions, results, expected, strict=True):
                if isinstance(found, Exception):
                    raise found
                worst.without_mcc = region.n_voxels < max(FEW, SCATTERED * np.prod(region.trimmed().shape))
                worst.take(extractor.name, found, other)
        n += len(regions)
    return worst.show(title, n)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--regions", type=int, default=200)
    options = parser.parse_args()
    native = RadiomicsSettings(spacing_mm=None, filters=TYPES)
    resampled = RadiomicsSettings(filters=("original", "log", "wavelet", "gradient"))
    cases = list(simulated(options.regions))
    found = [check("simulated, own grid", cases, native)]
    flat = TextureSettings(force_2d=True)
    found.append(check("simulated, own grid, lbp-3d", cases[:3], replace(native, filters=("lbp-3d",))))
    planes = replace(native, filters=("original", "log"), texture=flat)
    found.append(_planes(cases[:5], planes))
    if options.data:
        for name, volume, regions in real(options.data):
            found.append(check(f"{name}, own grid", [(volume, regions)], native))
            if name in {"lung1", "LIDC-IDRI-0314"}:
                found.append(check(f"{name}, 1 mm", [(volume, regions)], resampled))
    print(f"\nworst of all: {max(found):.1e} (promised: {AT_MOST:g})")
    sys.exit(max(found) > AT_MOST)


def _planes(cases: Sequence[tuple[CTVolume, list[Mask]]], settings: RadiomicsSettings) -> float:
    """force2D: the two extractors against each other, PyRadiomics' own words inside."""
    worst, n = Worst(), 0
    for volume, regions in cases:
        for found, other in zip(
            Nested()(volume, regions, settings), PyRadiomics()(volume, regions, settings), strict=True
        ):
            if isinstance(found, Exception) or isinstance(other, Exception):
                continue
            worst.take("nested", found, other)
        n += len(regions)
    return worst.show("simulated, force2D, nested against pyradiomics", n)


if __name__ == "__main__":
    main()
