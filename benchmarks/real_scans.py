"""Real work on 200 simulated scans: one worker against two, what is spent outside the scans' own work, and three scans more.

Every run reads DICOM, stores, segments by one method, finds the lungs, grows shells of 4 and 8 mm and extracts their features in
a fresh workspace; curation is done before, so that the scans' stage is what differs. Rounds alternate, as the speed of a shared
machine changes from minute to minute. Then three scans are added to the archive and the run with two workers is repeated.

``python benchmarks/real_scans.py [--scans 200] [--rounds 3]``. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: How much faster two workers must be, the greatest share of their time outside scans, and seconds for what is new.
AT_LEAST, MOST_OUTSIDE, ADDED_S = 1.8, 0.10, 30.0
ADDED = 3
#: Patients of one phantom.
AT_ONCE = 120
CHANGES = ('segment.methods=["otsu"]', "regions.radii_mm=[0, 4, 8]")


def run(recipe: Path, workspace: Path, workers: int) -> dict[str, Any]:
    """Run in a process of its own; what its record says, and its wall seconds."""
    words = ["run", str(recipe), "--workspace", str(workspace), "--workers", str(workers)]
    for change in CHANGES:
        words += ["--set", change]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *words], check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    return {**json.loads((workspace / "run.json").read_text()), "wall_s": seconds}


def without_benchmark(recipe: Path) -> None:
    """Leave a recipe at its feature table."""
    text = recipe.read_text()
    head, _, tail = text.partition("[benchmark]")
    rest = tail.partition("\n[")
    recipe.write_text(head + ("[" + rest[2] if rest[1] else ""))


def write_cohort(folder: Path, n: int) -> Path:
    """Write ``n`` simulated patients (an even number); return the recipe.

    One phantom has shapes for 160, so a second one of another seed gives the rest, under ids of its own.
    """
    import pydicom

    first, second = min(n, AT_ONCE), max(n - AT_ONCE, 0)
    _write_phantom(folder, first, seed=0)
    if not second:
        return folder / "recipe.toml"
    more = folder.with_name("more")
    _write_phantom(more, second, seed=1)
    for path in more.glob("dicom/*/**/*"):
        if path.is_file():
            image = pydicom.dcmread(path)
            image.PatientID = f"MORE-{image.PatientID}"
            image.save_as(path)
    for patient in (more / "dicom").iterdir():
        patient.rename(folder / "dicom" / f"MORE-{patient.name}")
    lines = (more / "annotations.csv").read_text().splitlines()[1:]
    with (folder / "annotations.csv").open("a") as table:
        table.writelines(f"MORE-{line}\n" for line in lines)
    return folder / "recipe.toml"


def _write_phantom(folder: Path, n: int, seed: int) -> None:
    words = ["phantom", str(folder), "--patients", str(n), "--seed", str(seed)]
    subprocess.run([sys.executable, "-c", "from flows.cli import main; main()", *words], check=True)


def hold_back(folder: Path, n: int) -> dict[str, Any]:
    """Take the last ``n`` patients out of archive and annotations; what ``give`` needs to bring them in."""
    table = folder / "annotations.csv"
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    patients = sorted({row["patient_id"] for row in rows})[-n:]
    kept = [row for row in rows if row["patient_id"] not in patients]
    whole = table.read_text()
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    moved = {}
    for patient in patients:
        moved[patient] = folder / "held-back" / patient
        moved[patient].parent.mkdir(exist_ok=True)
        shutil.move(folder / "dicom" / patient, moved[patient])
    return {"table": table, "whole": whole, "moved": moved}


def give(folder: Path, held: dict[str, Any]) -> None:
    """Bring in what was held back."""
    held["table"].write_text(held["whole"])
    for patient, path in held["moved"].items():
        shutil.move(path, folder / "dicom" / patient)


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    n = given.scans
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text("a key of this benchmark alone")
        os.environ["LUNGPIPE_KEY_FILE"] = str(folder / "key")
        cohort = folder / "cohort"
        recipe = write_cohort(cohort, n + ADDED + (n + ADDED) % 2)
        without_benchmark(recipe)
        held = hold_back(cohort, n + ADDED + (n + ADDED) % 2 - n)
        run(recipe, folder / "curated", 2)
        rounds = []
        for number in range(given.rounds):
            found = {workers: run(recipe, folder / f"{number}-{workers}", workers) for workers in (1, 2)}
            stage_s = {workers: record["timings_s"]["stages"]["scans"] for workers, record in found.items()}
            inside_s = {workers: sum(record["timings_s"]["inside_scans"].values()) for workers, record in found.items()}
            outside = [100 * (1 - inside_s[workers] / (workers * stage_s[workers])) for workers in (1, 2)]
            rounds.append((stage_s[1] / stage_s[2], *outside))
            print(f"{n} scans: {stage_s[1]:.1f} s with one worker, {stage_s[2]:.1f} s with two")
        ratios, one, two = zip(*rounds, strict=True)
        print(f"two workers: {spread(ratios)} times as fast; at least {AT_LEAST:g} is asked for")
        for workers, shares in ((1, one), (2, two)):
            print(
                f"{workers} workers: {spread(shares)} % outside the scans' own work; at most {100 * MOST_OUTSIDE:g} %"
            )
        give(cohort, held)
        again = run(recipe, folder / "0-2", 2)
        own_s = sum(again["timings_s"]["inside_scans"].values())
        added = again["scans"]["processed"]
        print(f"{len(held['moved'])} scans added: {added} worked on, {again['scans']['reused']} reused")
        print(f"{again['wall_s']:.1f} s in all, of which scans and their verification took {own_s:.1f} s")
        print(f"stages, seconds: {again['timings_s']['stages']}")


if __name__ == "__main__":
    main()
