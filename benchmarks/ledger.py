"""Trace and impact in a workspace of 100,000 ledger records, as whole processes: seconds and peak memory.

Usage: python benchmarks/ledger.py [--patients 10000] [--runs 5]. Ten records a patient, made up; 40,000 masks, each with
seven regions, in the tables.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lungpipe.store import ledger
from lungpipe.store.ledger import Record
from lungpipe.store.record import environment

SEGMENTERS = ("otsu", "kmeans", "gmm", "fcm")
REGIONS = 7
SLICES = 275


def pseudonym(kind: str, number: int) -> str:
    """A made-up pseudonym of the real form."""
    digest = hashlib.sha256(f"{kind}{number}".encode()).digest()
    return f"{kind}-{base64.b32encode(digest).decode()[:12]}"


def put(root: Path, entry: Record) -> str:
    """Write a record as the ledger does, but without waiting for the disk each time."""
    values = json.loads(json.dumps(asdict(entry)))
    values["sha256"] = ledger._checksum(values)
    path = root / ledger.path_of(entry.ref)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, sort_keys=True))
    return entry.ref


def build(root: Path, patients: int) -> int:
    """Write records and tables; returns the number of records."""
    maker = put(root, Record("environments", "environment", "0" * 16, settings=environment()))
    rows: dict[str, list[str]] = {
        n: [] for n in ("patient_id", "series_uid", "nodule_id", "segmenter", "artefact", "features", "volume_id")
    }
    parts: list[str] = []
    count = 1
    for k in range(patients):
        patient, series, nodule = (pseudonym(kind, k) for kind in "PSN")
        who = {"dataset": "generic", "intensities": "simulated", "patient_id": patient, "series_uid": series}
        uids = [f"2.25.{10**30 + k * SLICES + i}" for i in range(SLICES)]

        def named(kind: str, made_from: list[str], patient=patient, who=who, **what) -> str:
            entry = ledger.named(patient, kind, subject={**who, **what.pop("subject", {})}, made_from=made_from, **what)
            return put(root, replace(entry, made_by=maker, made_at_s=1_700_000_000))

        volume = named("volume", [], inputs={"instances": uids})
        notes = named("annotations", [volume])
        count += 2 + 2 * len(SEGMENTERS)
        for name in SEGMENTERS:
            masks = named("masks", [volume, notes], subject={"segmenter": name})
            features = named("features", [volume, masks], subject={"segmenter": name})
            parts += [masks, features]
            ids = (ref.rsplit("-", 1)[1] for ref in (masks, features, volume))
            for column, value in zip(rows, (patient, series, nodule, name, *ids), strict=True):
                rows[column].append(value)
    write_tables(root, rows)
    tables = []
    for name in ("nodules", "features", "exclusions", "series"):
        entry = ledger.named("cohort", "table", subject={"table": name}, made_from=sorted(parts))
        tables.append(put(root, replace(entry, made_by=maker)))
    scores = put(root, replace(ledger.named("cohort", "scores", subject={}, made_from=tables), made_by=maker))
    put(root, replace(ledger.named("cohort", "report", subject={}, made_from=[*tables, scores]), made_by=maker))
    return count + 6


def write_tables(root: Path, rows: dict[str, list[str]]) -> None:
    """The two tables that a trace reads, with the columns that matter and ten features."""
    (root / "tables").mkdir()
    n = len(rows["artefact"])
    common = {
        name: rows[name] for name in ("patient_id", "series_uid", "nodule_id", "segmenter", "artefact", "volume_id")
    }
    nodules = {"dataset": ["generic"] * n, **common, "mask_id": rows["artefact"]}
    pq.write_table(pa.table(nodules), root / "tables" / "nodules.parquet")
    many = {
        name: [value for value in rows[name] for _ in range(REGIONS)]
        for name in ("patient_id", "series_uid", "nodule_id")
    }
    many["artefact"] = [value for value in rows["features"] for _ in range(REGIONS)]
    many |= {f"feature_{i}": [float(i)] * (n * REGIONS) for i in range(10)}
    pq.write_table(pa.table(many), root / "tables" / "features.parquet")


def run(*arguments: str) -> tuple[float, float]:
    """Wall seconds and peak memory, MB, of a command as a process of its own."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(sys.executable, [sys.executable, "-c", "from flows.cli import main; main()", *arguments])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{arguments[0]} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = build(Path(folder), chosen.patients)
        middle = chosen.patients // 2
        commands = {
            "trace": ("trace", folder, "--nodule", pseudonym("N", middle)),
            "impact": ("impact", folder, "--patient", pseudonym("P", middle)),
        }
        for name, arguments in commands.items():
            found = [run(*arguments) for _ in range(chosen.runs)]
            seconds = [one[0] for one in found]
            print(
                f"{name} in {count} records: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}, "
                f"{chosen.runs} runs), peak {max(one[1] for one in found):.0f} MB"
            )


if __name__ == "__main__":
    main()
