"""Shells of balls and ellipsoids against analysis, beside two other ways; and what all regions of a nodule cost.

The table has the error of the volume, per cent, mean over random sub-voxel positions (and orientations of the ellipsoid):
by lungpipe's distance from an estimated surface, by a plain Euclidean distance transform between voxel centres, and by the
published peritumoral tool's cuboid of ``round(mm / spacing)`` voxels. Volumes of analysis are Steiner's formula for parallel
bodies. The cost is CPU time of thirteen regions of one nodule in a crop of 64 mm, against the published tool's way of painting,
one voxel after another round each voxel of the mask (facts in docs/design.md), for its six radii; of large masks a sample of
voxels is painted, and its time scaled up.

``python benchmarks/regions.py [POSITIONS]``
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lungpipe.geometry import Geometry
from lungpipe.region.accuracy import expected_error
from lungpipe.region.expand import expand, expand_all
from lungpipe.region.specs import ShellSpec, grid_of_specs
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

POSITIONS = 20
#: Along (z, y, x), mm.
SPACINGS = (
    (0.5, 0.5, 0.5), (1.0, 0.7, 0.7), (1.0, 1.0, 1.0), (1.25, 0.7, 0.7), (2.0, 0.7, 0.7), (2.5, 0.75, 0.75),
    (3.0, 0.8, 0.8), (5.0, 0.8, 0.8),
)  # fmt: skip
RADII_MM = (3.0, 5.0, 10.0, 20.0)
SHELLS_MM = (2.0, 4.0, 8.0)
#: Half axes of the ellipsoid, as shares of the radius.
AXES = (1.0, 0.8, 0.65)
#: Milliseconds that thirteen regions may take, and how often as fast as the peer they must be.
AT_MOST_MS, AT_LEAST = 60.0, 50.0
#: Nodules of the timing: radii, mm.
TIMED_MM = (4.0, 6.0, 10.0, 20.0)
#: So many runs each; and so many voxels of a mask are painted: all of a large one would take minutes.
RUNS, PAINTED_VOXELS = 15, 400


def steiner(axes_mm: NDArray[np.float64]) -> Callable[[float], float]:
    """Volume of an ellipsoid grown by r: V + S r + M r^2 + 4/3 pi r^3, M being 2 pi times the mean width."""
    directions = np.random.default_rng(1).normal(size=(400_000, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    volume = 4 / 3 * np.pi * float(axes_mm.prod())
    surface = 4 * np.pi * float(axes_mm.prod()) * float(np.linalg.norm(directions / axes_mm, axis=1).mean())
    width = 2 * float(np.linalg.norm(directions * axes_mm, axis=1).mean())
    return lambda r: volume + surface * r + 2 * np.pi * width * r**2 + 4 / 3 * np.pi * r**3


def scene(axes_mm: NDArray[np.float64], spacing_mm: Triple, rng: np.random.Generator) -> Mask:
    """An ellipsoid at a random sub-voxel position and orientation, with room for the largest shell."""
    half_mm = float(axes_mm.max()) + max(SHELLS_MM) + 2 * max(spacing_mm)
    shape = [2 * int(np.ceil(half_mm / s)) + 1 for s in spacing_mm]
    offset = rng.uniform(-0.5, 0.5, 3)
    grid = [(np.arange(n) - n // 2 - o) * s for n, o, s in zip(shape, offset, spacing_mm, strict=True)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1) @ Rotation.random(rng=rng).as_matrix()
    frame = Geometry((shape[0], shape[1], shape[2]), spacing_mm)
    return Mask(((points / axes_mm) ** 2).sum(axis=-1) <= 1, frame)


def volumes(mask: Mask) -> NDArray[np.float64]:
    """Volumes of all shells (3, n) by surface distance, plain transform and cuboid, mm3."""
    ours = [region.mask.volume_mm3 for region in expand_all(mask, [ShellSpec("shell", r) for r in SHELLS_MM])]
    plain = ndimage.distance_transform_edt(~mask.voxels, sampling=mask.frame.spacing_mm)
    voxel = mask.frame.voxel_volume_mm3
    counted = [voxel * np.count_nonzero((plain > 0) & (plain <= r)) for r in SHELLS_MM]
    cuboids = [expand(mask, ShellSpec("shell", r, "cuboid")).volume_mm3 for r in SHELLS_MM]
    return np.array([ours, counted, cuboids])


def accuracy(positions: int) -> bool:
    """Print the table; whether all errors are within the limits."""
    within = True
    print("spacing z, y, x (mm) | object (mm) | " + " | ".join(f"{r:g} mm shell" for r in SHELLS_MM))
    print("error of the volume, %: surface distance (plain transform, cuboid)")
    for spacing_mm in SPACINGS:
        for radius_mm in RADII_MM:
            for name, shares in (("ball", (1.0, 1.0, 1.0)), ("ellipsoid", AXES)):
                axes_mm = radius_mm * np.array(shares)
                grown = steiner(axes_mm)
                expected = np.array([grown(r) - grown(0.0) for r in SHELLS_MM])
                rng = np.random.default_rng(7)
                count = positions if radius_mm < 20 else max(3, positions // 4)
                masks = [scene(axes_mm, spacing_mm, rng) for _ in range(count)]
                mean = np.mean([volumes(mask) for mask in masks if mask.n_voxels], axis=0)
                errors = 100 * (mean / expected - 1)
                cells = [f"{o:+.1f} ({p:+.0f}, {c:+.0f})" for o, p, c in errors.T]
                print(f"{spacing_mm} | {name} {radius_mm:g} | " + " | ".join(cells), flush=True)
                allowed = [100 * expected_error(ShellSpec("shell", r), spacing_mm) for r in SHELLS_MM]
                within &= bool(np.all(np.abs(errors[0]) <= allowed))
    return within


def paint(centres: NDArray[np.intp], shape: tuple[int, ...], spacing_mm: Triple, radius_mm: float) -> NDArray[np.bool_]:
    """The cuboid round every voxel of a mask (n, 3), one voxel after another."""
    half = [round(radius_mm / s) for s in spacing_mm]
    out = np.zeros(shape, np.bool_)
    for centre in centres:
        box = [range(max(0, c - h), min(n, c + h + 1)) for c, h, n in zip(centre, half, shape, strict=True)]
        for z in box[0]:
            for y in box[1]:
                for x in box[2]:
                    out[z, y, x] = True
    return out


def speed() -> bool:
    """Print what thirteen regions cost; whether that is within the limits."""
    spacing_mm, within = (1.25, 0.7, 0.7), True
    frame = Geometry((51, 91, 91), spacing_mm)
    lung = Mask(np.ones(frame.shape, np.bool_), frame)
    specs = grid_of_specs(("grown", "shell"), (0, 2, 4, 6, 8, 10, 12))
    for radius_mm in TIMED_MM:  # the surroundings of the largest fill the crop
        grid = [(np.arange(n) - n / 2 + 0.3) * s for n, s in zip(frame.shape, spacing_mm, strict=True)]
        z, y, x = np.meshgrid(*grid, indexing="ij", sparse=True)
        mask = Mask(z**2 + y**2 + x**2 <= radius_mm**2, frame)
        expand_all(mask, specs, within=lung)  # compiled by now
        times = []
        for _ in range(RUNS):
            start = time.process_time()
            expand_all(mask, specs, within=lung)
            times.append(1000 * (time.process_time() - start))
        ours = statistics.median(times)
        within &= ours <= AT_MOST_MS
        centres = np.argwhere(mask.voxels)
        sample = np.random.default_rng(3).permutation(centres)[:PAINTED_VOXELS]
        start = time.process_time()
        for radius in (2, 4, 6, 8, 10, 12):
            paint(sample, frame.shape, spacing_mm, radius)
        peer = 1000 * (time.process_time() - start) * len(centres) / len(sample)
        within &= peer / ours >= AT_LEAST
        print(
            f"regions: {len(specs)} of a nodule of {2 * radius_mm:g} mm in {ours:.1f} ms ({min(times):.1f} to "
            f"{max(times):.1f}), {peer / ours:.0f} times as fast as painting {peer / 1000:.0f} s"
        )
    return within


def main() -> None:
    """Measure and print."""
    positions = int(sys.argv[1]) if len(sys.argv) > 1 else POSITIONS
    fast = speed()
    if not (accuracy(positions) and fast):
        sys.exit("a shell or a time is beyond its limit")


if __name__ == "__main__":
    main()
