"""The command ``check-frame``: whether annotations are read in the frame that they were written in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.frame import FrameVerdict, SetVerdict

_MEMORY_PER_WORKER = "4GiB"
_TIMEOUT_S = 600.0


def check_frame(
    dicom_root: Annotated[Path, typer.Argument(help="Folder or zip archive of the images.")],
    annotations: Annotated[Path, typer.Argument(help="Annotation file or folder.")],
    dataset: Annotated[str, typer.Option(help="Data set of the catalog whose annotations these are.")] = "generic",
    workers: Annotated[int, typer.Option(min=1, help="Local worker processes.")] = 2,
    dask: Annotated[str | None, typer.Option(help="Address of your own Dask scheduler.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Test the LPS, RAS and voxel readings of annotations against the images; exit 2 if they fit another frame better.

    Every nodule is tested for lying inside its volume; those of up to 24 scans also for lying in or touching the lung and
    for being denser than their surroundings. Nodules with masks take no part. A run does the same before its first scan.

    Example: lungpipe check-frame /data/archive nodules.csv --dataset generic
    """
    from data_catalog import load_dataset, read_annotations
    from lungpipe.cohort import plan_cohort
    from lungpipe.dicom.pseudonymise import load_pseudonymiser
    from lungpipe.dicom.quality import QualitySettings
    from tasks.cluster import dask_cluster
    from tasks.curate import curate
    from tasks.frame import check_frame as check

    spec = load_dataset(dataset)
    quality = QualitySettings()
    pseudonym, _ = load_pseudonymiser()
    with dask_cluster(dask, workers, _MEMORY_PER_WORKER) as address:
        curation = curate.fn(address, str(dicom_root), quality, _TIMEOUT_S, pixels=False).curation
        found = read_annotations(spec, annotations, curation.table)
        plan = plan_cohort(spec.name, spec.intensities, curation, found.nodules, found.exclusions, pseudonym, quality)
        verdict = check(address, plan.jobs, _TIMEOUT_S)
    left_out = len(found.nodules) + len(found.exclusions) - len(plan.nodules)
    if left_out:
        print(f"{left_out} annotations could not be used or lie on no accepted series", file=sys.stderr)  # noqa: T201  the command line's own output
    print(json.dumps(verdict.as_dict()) if json_ else "\n".join(_table(verdict)))  # noqa: T201  the command line's own output
    for warning in verdict.warnings:
        print(f"lungpipe: {warning}", file=sys.stderr)  # noqa: T201  the command line's own output
    verdict.require()


def _table(verdict: FrameVerdict) -> Iterator[str]:
    if not verdict.sets:
        yield "no annotation is known by coordinates alone; nothing to check"
    for part in verdict.sets:
        yield f"{part.tallies[0].nodules} nodules that declare {part.declared}: {_outcome(part)}"
        yield f"  {'frame':<10} {'inside volume':>14} {'in lung':>9} {'and denser':>11}"
        for tally in part.tallies:
            inside, lung, denser = (
                f"{count}/{total}"
                for count, total in (
                    (tally.inside, tally.nodules),
                    (tally.in_lung, tally.looked_at),
                    (tally.denser, tally.looked_at),
                )
            )
            mark = "*" if tally.frame == part.declared else ""
            yield f"  {tally.frame + mark:<10} {inside:>14} {lung:>9} {denser:>11}"


def _outcome(part: SetVerdict) -> str:
    if part.better is None:
        return part.outcome
    return (
        f"{part.outcome}, {part.better} fits better" if part.outcome == "refused" else f"doubtful, may be {part.better}"
    )
