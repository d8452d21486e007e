"""What a worker's process gains by keeping the memory that it freed, and what two processes at once gain over one.

Simulated scans go through the chain of a scan (one method, lungs, shells of 4 and 8 mm, features) in plain processes without
Dask or Prefect: under the environment that Dask gives its workers, under lungpipe's, and two of the latter at once. The rounds
alternate. Two processes that share nothing show what of a second worker this machine allows at all: compare
``benchmarks/real_scans.py`` with it.

``python benchmarks/worker_processes.py [--scans 24] [--rounds 5]``. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401  its defaults
from real_scans import CHANGES, write_cohort

from tasks.cluster import SETTINGS

ENVIRONMENT = "distributed.nanny.pre-spawn-environ"


def jobs_of(recipe: Path) -> Any:
    """The scans of a recipe, and its settings."""
    from flows.config import load_config
    from flows.plan import check_config, plan_run
    from lungpipe.curate import curate_folder

    config = load_config(recipe, [*CHANGES])
    spec, settings = check_config(config)
    return plan_run(config, spec, curate_folder(Path(config.cohort.dicom), config.quality.settings())).jobs, settings


def in_child(pickled: Path, first: int, last: int) -> None:
    """Process some scans, once all is loaded, and print seconds and the process's greatest memory."""
    from lungpipe.scan import process_scan

    jobs, settings = pickle.loads(pickled.read_bytes())
    with tempfile.TemporaryDirectory(dir=pickled.parent) as name:
        process_scan(jobs[-1], settings, name)
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for job in jobs[first:last]:
            if process_scan(job, settings, name).exclusion is not None:
                raise SystemExit(f"{job.series_uid} was not processed")
        wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    system_s = after.ru_stime - before.ru_stime
    print(json.dumps({"wall_s": wall_s, "system_s": system_s, "peak_mib": after.ru_maxrss / 1024}))


def measure(pickled: Path, parts: list[tuple[int, int]], environment: dict[str, str]) -> list[dict[str, float]]:
    """Run a process for each part, all at once."""
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", str(pickled), str(first), str(last)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        for first, last in parts
    ]
    return [json.loads(process.communicate()[0]) for process in started]


def spread(ratios: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=24, help="scans that each process works on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        in_child(Path(given.child[0]), int(given.child[1]), int(given.child[2]))
        return
    n = given.scans
    of_dask = {name: str(value) for name, value in dask.config.get(ENVIRONMENT).items()}
    ours = {**of_dask, **SETTINGS[ENVIRONMENT]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text("a key of this benchmark alone")
        os.environ["LUNGPIPE_KEY_FILE"] = str(folder / "key")
        recipe = write_cohort(folder / "cohort", 2 * n + 2)
        pickled = folder / "jobs"
        pickled.write_bytes(pickle.dumps(jobs_of(recipe)))
        kept, two, rows = [], [], []
        for _ in range(given.rounds):
            (plain,) = measure(pickled, [(0, n)], of_dask)
            (one,) = measure(pickled, [(0, n)], ours)
            both = measure(pickled, [(0, n), (n, 2 * n)], ours)
            (second,) = measure(pickled, [(n, 2 * n)], ours)
            kept.append(plain["wall_s"] / one["wall_s"])
            two.append((one["wall_s"] + second["wall_s"]) / max(found["wall_s"] for found in both))
            rows.append((plain, one))
        for k, what in enumerate(("Dask's own environment", "lungpipe's")):
            of_kind = [row[k] for row in rows]
            wall_s, system_s, mib = (
                statistics.median(found[key] for found in of_kind) for key in ("wall_s", "system_s", "peak_mib")
            )
            print(
                f"{what}: {n} scans in {wall_s:.1f} s, {system_s:.1f} s of it in the kernel; {mib:.0f} MiB at the peak"
            )
        print(f"keeping freed memory: {spread(kept)} as fast")
        print(f"two processes at once: {spread(two)} as fast as one after the other")


if __name__ == "__main__":
    main()
