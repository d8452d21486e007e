"""The frame check: what a scan costs, and how often its rule errs.

Printed are the wall seconds of a scan for reading it, finding its lung and looking at ten nodules under every frame, and the
share of sets that the rule accepts, doubts and refuses when the declared frame is right and when it is another. The sets are
drawn from assumed shares of nodules that lie outside, inside, in the lung, and in the lung and denser; they are no data.

``python benchmarks/frame_check.py [FOLDER OR ZIP WITH ONE DICOM SERIES]``; without one a simulated CT is made.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_volume
from lungpipe.frame import FRAMES, Evidence, Reading, judge, look_at_scan
from lungpipe.nodule import Nodule
from lungpipe.region.lung import lung_mask

ROUNDS, SETS = 3, 1000
SIZES = (1, 3, 5, 10, 20, 40)
READINGS = (
    Reading(False, False, False),
    Reading(True, False, False),
    Reading(True, True, False),
    Reading(True, True, True),
)
#: Assumed shares of the readings above: under the right frame, under it with many large masses or bad seed points, mirrored
#: into the other half of the chest, and as an index.
RIGHT, HARD, MIRRORED, INDEX = (
    (0.02, 0.08, 0.2, 0.7),
    (0.05, 0.2, 0.35, 0.4),
    (0.1, 0.35, 0.43, 0.12),
    (0.6, 0.25, 0.12, 0.03),
)


def cost(root: Path) -> None:
    """Print seconds by step for the largest series below a folder."""
    found = [series for series in index_series(root).series if series.geometry is not None]
    if not found:
        sys.exit(f"{root} holds no CT series")
    series = max(found, key=lambda item: len(item.files))
    laps: dict[str, list[float]] = {"read": [], "lung": [], "lung and ten nodules": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        volume = read_volume(series.files, series.geometry)
        laps["read"].append(time.perf_counter() - start)
        start = time.perf_counter()
        lung = np.argwhere(lung_mask(volume).voxels)
        laps["lung"].append(time.perf_counter() - start)
        chosen = lung[np.linspace(0, len(lung) - 1, 10).astype(int)]
        nodules = [Nodule("p", "s", "n", tuple(p), (10.0,) * 3) for p in volume.frame.to_lps(chosen).tolist()]
        start = time.perf_counter()
        look_at_scan(volume, nodules)
        laps["lung and ten nodules"].append(time.perf_counter() - start)
    print(f"seconds for a scan of {volume.shape} (median of {ROUNDS}):")
    for name, seconds in laps.items():
        print(f"  {name:<22}{statistics.median(seconds):6.2f}  ({min(seconds):.2f} to {max(seconds):.2f})")


def outcomes(size: int, own: tuple[float, ...], other: tuple[float, ...], rng: np.random.Generator) -> str:
    """Shares of verdicts on sets that declare LPS, with these readings as LPS and as RAS."""
    counts = dict.fromkeys(("accepted", "doubtful", "refused"), 0)
    for _ in range(SETS):
        drawn = [rng.choice(4, size, p=shares) for shares in (own, other, INDEX, INDEX)]
        rows = [
            Evidence("lps", {f: READINGS[level] for f, level in zip(FRAMES, row, strict=True)})
            for row in zip(*drawn, strict=True)
        ]
        counts[judge(rows).sets[0].outcome] += 1
    return "  ".join(f"{name} {count / SETS:6.1%}" for name, count in counts.items())


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as scratch:
        if sys.argv[1:]:
            cost(Path(sys.argv[1]))
        else:
            from data_catalog.phantom import write_phantom

            print("no DICOM was named: SIMULATED intensities")
            cost(write_phantom(Path(scratch) / "phantom", 2, 7).parent / "dicom")
    rng = np.random.default_rng(0)
    for name, right in (("usual nodules", RIGHT), ("hard nodules", HARD)):
        print(f"{name}, assumed:")
        for size in SIZES:
            print(f"  {size:3} nodules, frame right:   {outcomes(size, right, MIRRORED, rng)}")
            print(f"  {size:3} nodules, signs flipped: {outcomes(size, MIRRORED, right, rng)}")


if __name__ == "__main__":
    main()
