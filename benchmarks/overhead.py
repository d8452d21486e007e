"""What a scan costs besides its own work: a cohort of 10,000 through the real flow, with a stub for what looks at voxels.

Archive (one small NIfTI file a scan), headers, annotations, plan, Prefect server, Dask workers, ledger, parts, tables and page are
real. Only the reading of pixels, in curation, in the scans and for the page's pictures, is not: an earlier curation is taken to have seen them, and in
place of reading, segmenting, expanding and extracting a worker computes for 2 ms and then writes what one segmenter and one
region of 107 features come to: four records, and three files with the rows of five tables.

``python benchmarks/overhead.py [--scans 10000] [--planned 100000]`` prints CPU a scan over all processes, the peak memory of the
flow's process, the size of Prefect's database, what became of every scan, and how long ``lungpipe plan`` takes for many more.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

#: What the issue of scale asks for: CPU of a scan besides its own work, memory, database, and time to plan.
AT_MOST = {"ms_a_scan": 25.0, "flow_mib": 500e6 / 2**20, "prefect_mib": 50.0, "plan_s": 60.0}
#: CPU seconds of the stub.
STUB_S = 0.002
FILES_A_FOLDER = 100
FEATURES = tuple(f"original_shape_Feature{k}" for k in range(107))
RECIPE = """
[cohort]
dicom = "archive"
annotations = "nodules.csv"
frame_check = "warn"
[segment]
methods = ["otsu"]
[regions]
radii_mm = [0]
kinds = ["grown"]
clip = "none"
[run]
workers = 2
"""


def write_archive(folder: Path, n: int) -> Path:
    """Write ``n`` volume files (hard links to a few), their annotations and a recipe; return the recipe."""
    import SimpleITK as sitk

    folder.mkdir(parents=True)
    image = sitk.GetImageFromArray(np.full((12, 16, 16), -800, np.int16))
    sitk.WriteImage(image, str(folder / "one.nii"))
    with (folder / "nodules.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["patient_id", "nodule_id", "series_uid", "x", "y", "z", "diameter_mm"])
        for k in range(n):
            where = folder / "archive" / f"{k // FILES_A_FOLDER:05}"
            if k % FILES_A_FOLDER == 0:
                where.mkdir(parents=True)
                first = where / f"scan{k:07}.nii"  # a file system allows some ten thousand links to one file
                shutil.copyfile(folder / "one.nii", first)
            else:
                os.link(first, where / f"scan{k:07}.nii")
            rows.writerow([f"patient{k:07}", f"nodule{k:07}", f"scan{k:07}", -8, -8, 6, 6])
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def curate_headers(folder: Path) -> None:
    """Read the headers, and note of every series that an earlier curation saw its pixels and found nothing wrong."""
    from lungpipe.curate import curate
    from lungpipe.dicom.index import one_after_another
    from lungpipe.dicom.memory import memory_path, remember
    from lungpipe.dicom.quality import QualitySettings

    archive = folder / "archive"
    with remember(memory_path(archive)) as memory:
        found = curate(archive, memory, one_after_another, QualitySettings(), pixels=False)
        for judged in found.stacks:
            digest = hashlib.sha256(judged.series.name.encode()).hexdigest()
            report = {"codes": [], "detail": "", "digest": digest, "padding_voxels": 0, "source_sha256": digest}
            memory.set_pixels(judged.series, json.dumps({**report, "wholly": True}), b"")


def stub_scan(job: Any, settings: Any, workspace: str) -> Any:
    """Do nothing for 2 ms, and write what comes of a scan."""
    from lungpipe.scan import ScanResult, rows_path, stages_of
    from lungpipe.store import ledger
    from lungpipe.store.history import counted_as
    from lungpipe.store.parts import write_rows
    from lungpipe.store.place import Place
    from lungpipe.store.schemas import SCHEMAS

    end = time.process_time() + STUB_S
    while time.process_time() < end:
        pass
    place, stages = Place.at(workspace), stages_of(job, settings)
    who = {**job.who, "nodule_id": job.nodules[0].nodule_id, "segmenter": "otsu"}
    region = {"region": "nodule", "radius_mm": 0.0, "clipped_fraction": 0.0, "clipped_wall": 0.0}
    seed = int(job.source_sha256[:8], 16)
    rows = {
        "nodules": {**SCHEMAS["nodules"].example, **who, "malignant": None},
        "features": {**SCHEMAS["features"].example, **who, **region}
        | {feature: float(seed % (k + 7)) for k, feature in enumerate(FEATURES)},
    }
    tables = {
        "annotations": ("exclusions",),
        "masks": ("exclusions", "nodules"),
        "features": ("exclusions", "features"),
    }
    made: dict[str, int] = {}
    for entry in stages:
        if ledger.stands(place, entry.ref) is not None:
            continue
        outputs = [rows_path(entry.ref)] if entry.kind in tables else []
        for path in outputs:
            write_rows(place, path, {table: [rows[table]] if table in rows else [] for table in tables[entry.kind]})
        ledger.record(place, entry, outputs)
        made[counted_as(entry)] = 1
    parts = tuple(entry.ref for entry in stages if entry.kind in tables)
    return ScanResult(job.series_uid, job.patient_id, stages.volume.id, parts, made)


def run_flow(recipe: str, workspace: str) -> None:
    """Run the flow with the stub in place of the scans' own work, and print what its processes took."""
    from flows.cli import _prefect_environment

    _prefect_environment()
    from flows.prefect_server import start_early

    server_is_up = start_early()  # as the command does
    import psutil

    import tasks.report
    import tasks.scans
    from flows.cohort import Account, cohort

    tasks.scans.process_scan = stub_scan
    stage_of_account, by_stage = Account.stage, {"before": time.process_time()}
    mib = {"before": psutil.Process().memory_info().rss / 2**20}

    @contextmanager
    def stage(self: Account, name: str, *args: Any) -> Iterator[None]:
        began = time.process_time()
        with stage_of_account(self, name, *args):
            yield
        by_stage[name] = time.process_time() - began
        mib[name] = psutil.Process().memory_info().rss / 2**20

    Account.stage = stage  # type: ignore[method-assign]
    tasks.report.MOST_NODULES = 0  # the page's pictures are of voxels
    server_is_up()
    start = time.perf_counter()
    outcome = cohort(recipe, workspace)
    wall_s = time.perf_counter() - start
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    alive = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    cpu_s = {
        "flow": own.ru_utime + own.ru_stime,
        "workers": ended.ru_utime + ended.ru_stime,
        "server": sum(times.user + times.system for times in alive),
    }
    print(
        json.dumps(
            {
                "wall_s": wall_s,
                "cpu_s": cpu_s,
                "flow_mib": own.ru_maxrss / 1024,
                "scans": outcome.scans,
                "flow_s": by_stage,
                "mib": mib,
            }
        )
    )


def measure(folder: Path, n: int) -> dict[str, Any]:
    """Run ``n`` scans in processes of their own."""
    recipe = write_archive(folder, n)
    curate_headers(folder)
    home, workspace = folder / "prefect", folder / "workspace"
    command = [sys.executable, str(Path(__file__).resolve()), "--flow", str(recipe), str(workspace)]
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["prefect_mib"] = sum(path.stat().st_size for path in home.rglob("prefect.db*")) / 2**20
    found["workspace_mib"] = sum(path.stat().st_size for path in workspace.rglob("*") if path.is_file()) / 2**20
    found["files"] = sum(path.is_file() for path in workspace.rglob("*"))
    return found


def accounted(workspace: Path, n: int) -> str:
    """Whether each scan has its one row of features."""
    import pandas as pd

    series = pd.read_parquet(workspace / "tables" / "features.parquet", columns=["series_uid"])["series_uid"]
    lost = n - series.nunique()
    return f"{len(series)} rows of {series.nunique()} scans, {lost} lost, {len(series) - series.nunique()} twice"


def plan_s(folder: Path, n: int) -> tuple[float, int]:
    """Seconds that ``lungpipe plan`` takes, and the scans that it counts."""
    recipe = write_archive(folder, n)
    curate_headers(folder)
    command = [sys.executable, "-c", "from flows.cli import main; main()", "plan", str(recipe), "--json"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--workspace", str(folder / "workspace")], stdout=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - start, int(json.loads(done.stdout)["scans"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--planned", type=int, default=100_000)
    parser.add_argument("--flow", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.flow:
        run_flow(*given.flow)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text("a key of this benchmark alone")
        os.environ["LUNGPIPE_KEY_FILE"] = str(folder / "key")
        if given.scans:
            found = measure(folder / "run", given.scans)
            cpu_s = sum(found["cpu_s"].values())
            each_ms = {name: 1000 * seconds / given.scans for name, seconds in found["cpu_s"].items()}
            print(f"{given.scans} scans in {found['wall_s']:.0f} s with 2 workers, {cpu_s:.0f} s of CPU")
            print(
                f"CPU a scan without its own {1000 * STUB_S:g} ms: {1000 * (cpu_s / given.scans - STUB_S):.1f} ms "
                f"({', '.join(f'{name} {ms:.1f}' for name, ms in each_ms.items())}); "
                f"at most {AT_MOST['ms_a_scan']:g} ms are allowed"
            )
            print(f"CPU seconds of the flow process by stage: { {k: round(v, 1) for k, v in found['flow_s'].items()} }")
            after = ", ".join(f"{name} {mib:.0f}" for name, mib in found["mib"].items())
            print(
                f"flow process {found['flow_mib']:.0f} MiB at its peak (after {after}); at most {AT_MOST['flow_mib']:.0f}"
            )
            print(f"Prefect's database {found['prefect_mib']:.1f} MiB; at most {AT_MOST['prefect_mib']:g}")
            print(f"workspace {found['workspace_mib']:.0f} MiB in {found['files']} files")
            print(accounted(folder / "run" / "workspace", given.scans))
        if given.planned:
            seconds, n = plan_s(folder / "plan", given.planned)
            print(f"{n} scans planned in {seconds:.0f} s; at most {AT_MOST['plan_s']:g}")


if __name__ == "__main__":
    main()
