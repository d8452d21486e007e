"""Seconds of a whole benchmark through Dask, with one worker and with two, and whether both give the same bits.

Four segmenters, 13 regions and three classifiers in 5 x 3 nested folds, on 500 simulated nodules with 107 features: the tables
stand in a fresh workspace each time, and `tasks.learn.benchmark` does what it does in a run. Features have the correlations of
radiomics: a few things that are measured over and over (size, density, texture), the more alike the nearer two regions are.

``python benchmarks/benchmark_speed.py [--quick] [--profile]``: ``--quick`` is a small part of it, ``--profile`` times single
configurations, in this process and without Dask. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lungpipe import plugins
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import conform, write_table
from tasks.cluster import dask_cluster
from tasks.learn import benchmark

#: Features of each class, as PyRadiomics has them.
CLASSES = {"shape": 14, "firstorder": 18, "glcm": 24, "gldm": 14, "glrlm": 16, "glszm": 16, "ngtdm": 5}
OUTPUTS = ("tables/predictions.parquet", "tables/scores.parquet")
SEGMENTERS = ("fcm", "gmm", "kmeans", "otsu")
#: What a benchmark may take with two workers on two cores, seconds, and how much faster than one they must be.
AT_MOST_S, AT_LEAST = 600.0, 1.7


class Size(NamedTuple):
    """How much there is to do."""

    nodules: int
    segmenters: int
    regions: int
    classifiers: tuple[str, ...] = ("logistic", "random_forest", "knn")


FULL, QUICK = Size(500, 4, 13), Size(80, 1, 2)


def pseudonym(kind: str, number: int) -> str:
    """A made-up pseudonym of the real form."""
    digest = hashlib.sha256(f"{kind}{number}".encode()).digest()
    return f"{kind}-{base64.b32encode(digest).decode()[:12]}"


def regions(n: int) -> list[tuple[str, float]]:
    """The nodule, then shells and grown regions by turns."""
    round_it = [(kind, 2.0 * (k + 1)) for k in range((n + 1) // 2) for kind in ("shell", "grown")]
    return [("nodule", 0.0), *round_it][:n]


def write_tables(place: Place, size: Size, seed: int = 7) -> tuple[str, ...]:
    """Write the tables of nodules and features; return the references of their records."""
    rng = np.random.default_rng(seed)
    n = size.nodules
    patients = np.sort(np.concatenate([np.arange(n * 4 // 5), rng.integers(0, n * 4 // 5, n - n * 4 // 5)]))
    who = pd.DataFrame(
        {
            "dataset": "generic",
            "intensities": "simulated",
            "patient_id": [pseudonym("P", k) for k in patients],
            "series_uid": [pseudonym("S", k) for k in patients],
            "nodule_id": [pseudonym("N", k) for k in range(n)],
        }
    )
    latent = rng.normal(size=(n, 8)) + 0.5 * rng.normal(size=(patients.max() + 1, 8))[patients]
    malignant = (latent[:, 0] + 0.5 * latent[:, 3] + 2.0 * rng.normal(size=n) > 0).astype(int)
    nodules, features = [], []
    for segmenter in SEGMENTERS[: size.segmenters]:
        seen = latent + 0.2 * rng.normal(size=latent.shape)
        volume_mm3 = np.exp(5.5 + seen[:, 0])
        content = [hashlib.sha256(f"{k}".encode()).hexdigest() for k in patients]
        example = {**SCHEMAS["nodules"].example, "segmenter": segmenter}
        own = {"malignant": malignant, "volume_mm3": volume_mm3, "axial_mean_mm": 2 * np.cbrt(volume_mm3 / 4.19)}
        own |= {"source_sha256": content, "voxels_sha256": content, "z_mm": rng.normal(size=n)}
        nodules.append(pd.DataFrame({**{k: [v] * n for k, v in example.items()}, **who, **own}))
        for region, radius_mm in regions(size.regions):
            away = 1.0 - np.exp(-radius_mm / 8.0)
            values = measured(np.sqrt(1 - away**2) * seen + away * rng.normal(size=seen.shape), rng)
            example = {**SCHEMAS["features"].example, "segmenter": segmenter, "region": region, "radius_mm": radius_mm}
            features.append(
                pd.concat([pd.DataFrame({k: [v] * n for k, v in example.items()} | dict(who)), values], axis=1)
            )
    refs = []
    for name, parts in (("nodules", nodules), ("features", features)):
        path = f"tables/{name}.parquet"
        write_table(conform(name, pd.concat(parts, ignore_index=True)), place, path)
        entry = ledger.named(ledger.COHORT, "table", subject={"table": name}, settings={"seed": seed})
        refs.append(ledger.record(place, entry, [path]).ref)
    return tuple(refs)


def measured(latent: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """107 features: each class sees some of what there is, half of its features on a logarithmic scale."""
    columns = {}
    fixed = np.random.default_rng(1)  # what a feature means is the same in every region
    for number, (family, count) in enumerate(CLASSES.items()):
        loads = fixed.normal(size=(latent.shape[1], count)) * (fixed.random((latent.shape[1], 1)) < 0.6)
        loads[number % latent.shape[1]] += 2.0
        values = latent @ loads / 3 + 0.15 * rng.normal(size=(len(latent), count))
        values[:, ::2] = np.exp(values[:, ::2])
        columns |= {f"original_{family}_{k:02d}": values[:, k] for k in range(count)}
    return pd.DataFrame(columns)


def design(size: Size) -> Evaluation:
    """Five outer and three inner folds."""
    return Evaluation("generic", "malignant", "patient_id", size.classifiers, 5, 3, 1, 7)


def timed(size: Size, workers: int) -> tuple[float, dict[str, bytes]]:
    """Seconds of a benchmark in a fresh workspace, and its two tables."""
    with tempfile.TemporaryDirectory() as folder, dask_cluster(None, workers, "4GiB") as address:
        place = Place.at(Path(folder))
        tables = write_tables(place, size)
        start = time.perf_counter()
        benchmark.fn(address, design(size), str(place), tables)
        seconds = time.perf_counter() - start
        return seconds, {path: place.read(path) for path in OUTPUTS}


def profile(size: Size) -> None:
    """Print the seconds of single configurations, and of one that stands already: that is the tables' part."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place.at(Path(folder))
        write_tables(place, size)
        for name in (size.classifiers[-1], *size.classifiers):  # the first pays for what is imported
            key = ConfigurationKey(SEGMENTERS[0], "nodule", 0.0, name)
            spent = []
            for _ in range(2):
                start = time.process_time()
                evaluate_recorded(place, key, design(size))
                spent.append(time.process_time() - start)
            print(f"{name:15}{spent[0]:7.2f} s of CPU, {spent[1]:.2f} s once it stands")


def main() -> int:
    """Time both and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small part of the work")
    parser.add_argument("--profile", action="store_true", help="single configurations only")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    for name in size.classifiers:
        plugins.find("classifiers", name)
    if options.profile:
        profile(size)
        return 0
    n = size.segmenters * size.regions * len(size.classifiers)
    print(f"{size.segmenters} segmenters x {size.regions} regions x {len(size.classifiers)} classifiers = {n}", end=" ")
    print(f"configurations, 5 x 3 folds, {size.nodules} nodules, {sum(CLASSES.values())} features")
    seconds, tables = {}, {}
    for workers in (1, 2):
        seconds[workers], tables[workers] = timed(size, workers)
        each = n / seconds[workers]
        print(
            f"{workers} worker{'s'[: workers - 1]}: {seconds[workers]:.1f} s, {each:.2f} configurations a second",
            flush=True,
        )
    same = tables[1] == tables[2]
    faster = seconds[1] / seconds[2]
    print(f"two workers: {faster:.1f} times as fast")
    print(f"predictions and scores are {'the same bit for bit' if same else 'NOT the same'}")
    if options.quick:
        return 0 if same else 1
    print(f"wanted: at most {AT_MOST_S:.0f} s with two workers, at least {AT_LEAST} times as fast as one")
    return 0 if same and seconds[2] <= AT_MOST_S and faster >= AT_LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
