"""What two cores can give: the same simulated scans in one process, and in two that share nothing but the machine.

No workflow engine, scheduler or server runs. Each process reads DICOM, stores, segments, finds the lungs, grows shells and extracts,
as a worker of ``benchmarks/real_scans.py`` does. ``python benchmarks/bare_scaling.py [--scans 24] [--rounds 3]`` prints how much
faster two are, round by round; the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from real_scans import CHANGES, without_benchmark, write_cohort

#: Native thread pools, as a worker has them.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"
)


def process_all(recipe: Path, workspace: Path) -> float:
    """Process every scan of a recipe in this process; wall seconds a scan, without the first, which compiles."""
    from flows.config import load_config
    from flows.plan import check_config, plan_run
    from lungpipe.curate import curate_folder
    from lungpipe.scan import process_scan

    config = load_config(recipe, list(CHANGES))
    spec, settings = check_config(config)
    jobs = plan_run(config, spec, curate_folder(Path(config.cohort.dicom))).jobs
    settings.prepare()
    process_scan(jobs[0], settings, workspace)
    start = time.perf_counter()
    for job in jobs[1:]:
        process_scan(job, settings, workspace)
    return (time.perf_counter() - start) / (len(jobs) - 1)


def side_by_side(recipe: Path, folder: Path, n: int) -> float:
    """Mean wall seconds a scan of ``n`` processes that run at once."""
    command = [sys.executable, __file__, "--one", str(recipe)]
    names = [folder / f"{n}-{k}-{time.monotonic_ns()}" for k in range(n)]
    running = [subprocess.Popen([*command, str(name)], stdout=subprocess.PIPE, text=True) for name in names]
    return statistics.mean(float(process.communicate()[0].splitlines()[-1]) for process in running)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(process_all(*given.one))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text("a key of this benchmark alone")
        os.environ.update({"LUNGPIPE_KEY_FILE": str(folder / "key"), **ONE_THREAD})
        recipe = write_cohort(folder / "cohort", given.scans)
        without_benchmark(recipe)
        ratios = []
        for _ in range(given.rounds):
            one_s, two_s = (side_by_side(recipe, folder, n) for n in (1, 2))
            ratios.append(2 * one_s / two_s)
            print(
                f"{one_s:.3f} s a scan alone, {two_s:.3f} s beside another: {ratios[-1]:.2f} times as fast", flush=True
            )
        print(f"two processes: {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
