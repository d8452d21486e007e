"""Commands on archives: index, export-dicom, export-masks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.errors import Exclusion

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]
Workers = Annotated[int, typer.Option(min=1, help="Local worker processes.")]
Dask = Annotated[str | None, typer.Option(help="Address of your own Dask scheduler.")]
Recipe = Annotated[Path | None, typer.Option(help="Recipe whose [quality] section counts; default: the usual limits.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="quality.KEY=VALUE", help="Change one limit; repeatable.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 if anything was excluded.")]

_MEMORY_PER_WORKER = "4GiB"
_TIMEOUT_S = 600.0


def index(
    dicom_root: Annotated[Path, typer.Argument(help="Folder or zip archive of the images.")],
    workspace: Annotated[
        str, typer.Option(help="Folder or address; gets tables/series.parquet, tables/exclusions.parquet and a report.")
    ],
    recipe: Recipe = None,
    changes: Changes = None,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Decode no pixels; codes that only pixels show are then missing.")
    ] = False,
    workers: Workers = 2,
    dask: Dask = None,
    strict: Strict = False,
    json_: Json = False,
) -> None:
    """Curate an archive: read headers, check every series, write pseudonymous tables and a page; no pixels are stored.

    A second call reads only what is new or changed.

    Example: lungpipe index /data/archive --workspace curated --set quality.max_slice_mm=3
    """
    from flows.config import load_quality
    from flows.curation import write_curation
    from lungpipe.store.lock import one_run
    from lungpipe.store.place import Place

    quality = load_quality(recipe, changes)
    curated = _curate(dicom_root, quality, workers, dask, pixels=not headers_only)
    place = Place.at(workspace)
    with one_run(place):
        found = write_curation(place, curated, quality)
    series, exclusions = found.series, found.exclusions
    counts = {verdict: int((series["verdict"] == verdict).sum()) for verdict in ("accept", "warn", "quarantine")}
    codes = series["codes"].str.split(";").explode().replace("", None).value_counts().sort_index().to_dict()
    files = exclusions.loc[exclusions["stage"] == "index", "code"].value_counts().sort_index().to_dict()
    if json_:
        others = dict(curated.curation.others)
        _print(json.dumps({"series": len(series), **counts, "codes": codes, "files": files, "others": others}))
    else:
        _print(
            f"{len(series)} series: {counts['accept']} accepted, {counts['warn']} accepted with a warning, "
            f"{counts['quarantine']} quarantined"
        )
        for code, count in {**codes, **files}.items():
            _print(f"  {code}: {count}")
            _print(found.page)
    if strict and len(exclusions):
        raise SystemExit(1)


def _curate(root: Path, quality: Any, workers: int, dask: str | None, *, pixels: bool = True) -> Any:
    from tasks.cluster import dask_cluster
    from tasks.curate import curate

    with dask_cluster(dask, workers, _MEMORY_PER_WORKER) as address:
        return curate.fn(address, str(root), quality, _TIMEOUT_S, pixels)


def export_dicom(
    dicom_root: Annotated[Path, typer.Argument(help="Folder or zip archive of the images.")],
    out: Annotated[Path, typer.Option(help="Folder of the de-identified copy.")],
    recipe: Recipe = None,
    changes: Changes = None,
    workers: Workers = 2,
    dask: Dask = None,
    strict: Strict = False,
) -> None:
    """Write a de-identified copy of the accepted series (DICOM PS3.15, basic profile) with an account of what changed.

    Example: lungpipe export-dicom /data/archive --out shareable
    """
    from flows.config import load_quality
    from lungpipe.dicom.export import export_cohort
    from lungpipe.dicom.pseudonymise import load_pseudonymiser, table_path
    from tasks.progress import progress

    pseudonym, _ = load_pseudonymiser()
    curated = _curate(dicom_root, load_quality(recipe, changes), workers, dask)
    accepted = [judged.series for judged in curated.curation.stacks if judged.verdict != "quarantine"]
    with progress("series", len(accepted)) as advance:
        _, exclusions = export_cohort(accepted, out, pseudonym, lambda: advance(1, ""))
    pseudonym.write_table(table_path())
    _tell(exclusions)
    _print(str(out / "account.json"))
    if strict and exclusions:
        raise SystemExit(1)


def export_masks(
    workspace: Annotated[str, typer.Argument(help="Folder or address of the workspace of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks, one folder a series.")],
    formats: Annotated[
        list[str] | None, typer.Option("--format", help='"nifti" (the default) or "seg" (DICOM); repeatable.')
    ] = None,
    dicom: Annotated[Path | None, typer.Option(help="Folder or zip archive of the source series, for seg.")] = None,
    strict: Strict = False,
) -> None:
    """Write every mask of a workspace as NIfTI, or as DICOM SEG over its source series.

    A SEG names the patient, study and series that it lies over, as a viewer needs; keep it where the archive is kept.

    Example: lungpipe export-masks results --out masks --format seg --dicom /data/archive
    """
    from lungpipe.dicom import export_masks as masks
    from lungpipe.dicom.index import index_archive, one_after_another
    from lungpipe.dicom.memory import memory_path, remember
    from lungpipe.dicom.pseudonymise import load_pseudonymiser
    from lungpipe.store.place import Place
    from tasks.progress import counted

    pseudonym, _ = load_pseudonymiser()
    series = {}
    if dicom is not None:
        with remember(memory_path(dicom)) as memory:
            found = index_archive(dicom, memory, one_after_another).series
        series = {pseudonym("series", stack.name): stack for stack in found}
    chosen: Any = tuple(formats or ("nifti",))
    with counted() as advance:
        written, exclusions = masks.export_masks(
            Place.at(workspace), series, out, chosen, lambda _, total: advance("masks", 1, total)
        )
    _tell(exclusions)
    _print(f"{written} masks in {out}")
    if strict and exclusions:
        raise SystemExit(1)


def _tell(exclusions: Sequence[Exclusion]) -> None:
    for item in exclusions:
        print(f"excluded: {item.series_uid} {item.code}: {item.message}", file=sys.stderr)  # noqa: T201  the command line's own output


def _print(text: str) -> None:
    print(text)  # noqa: T201  the command line's own output
