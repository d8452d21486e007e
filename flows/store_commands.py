"""Commands that take volumes out of a workspace: export-ome, export-nifti."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.errors import Exclusion

Workspace = Annotated[str, typer.Argument(help="Workspace of a finished run: folder or address.")]
Series = Annotated[
    list[str] | None, typer.Option(metavar="S-...", help="Pseudonym of a series; repeatable. Default: all.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 if anything was excluded.")]


def export_ome(
    workspace: Workspace,
    out: Annotated[Path, typer.Option(help="Folder for the images, <series>.ome.zarr.")],
    series: Series = None,
    strict: Strict = False,
) -> None:
    """Write series as OME-Zarr 0.5 for viewers: HU in several resolutions, masks as labels, positions in mm.

    Example: lungpipe export-ome results --out viewing
    """
    from lungpipe.store import export_ome as ome
    from lungpipe.store.place import Place
    from tasks.progress import counted

    with counted() as advance:
        written, oblique, exclusions = ome.export_ome(
            Place.at(workspace), out, series or (), lambda _, total: advance("series", 1, total)
        )
    for uid in oblique:
        _tell(
            f"{uid} lies oblique: OME-Zarr 0.5 knows no rotation, so its direction is in the attribute lungpipe.direction"
        )
    _conclude(f"{len(written)} series in {out}", exclusions, strict)


def export_nifti(
    workspace: Workspace,
    out: Annotated[Path, typer.Option(help="Folder for the images, one folder a series.")],
    series: Series = None,
    strict: Strict = False,
) -> None:
    """Write series as NIfTI, <series>/ct.nii.gz in HU, with every mask beside it.

    Example: lungpipe export-nifti results --out nifti
    """
    from lungpipe.store import export_nifti as nifti
    from lungpipe.store.place import Place
    from tasks.progress import counted

    with counted() as advance:
        written, exclusions = nifti.export_nifti(
            Place.at(workspace), out, series or (), lambda _, total: advance("series", 1, total)
        )
    n_volumes = sum(path.name == "ct.nii.gz" for path in written)
    _conclude(f"{n_volumes} series and {len(written) - n_volumes} masks in {out}", exclusions, strict)


def _conclude(text: str, exclusions: Sequence[Exclusion], strict: bool) -> None:
    for item in exclusions:
        _tell(f"excluded: {item.series_uid} {item.nodule_id} {item.code}: {item.message}".replace("  ", " "))
    print(text)  # noqa: T201  the command line's own output
    if strict and exclusions:
        raise SystemExit(1)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201  the command line's own output
