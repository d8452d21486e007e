"""The command ``stability``: which features of a workspace stand up to another look at the same nodules."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungpipe.errors import CaseError, DatasetError

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.region.specs import ShellSpec
    from lungpipe.store.place import Place

#: What nodules are looked at again by.
SOURCES = ("perturbation", "segmenters", "series")


def stability(
    workspace: Annotated[str, typer.Argument(help="Workspace of a finished run: folder or address.")],
    out: Annotated[
        Path, typer.Option(help="Table to write: .csv or .parquet, a row a feature and kind of correlation.")
    ],
    by: Annotated[
        str,
        typer.Option(metavar="|".join(SOURCES), help="New copies; masks of the run's segmenters; series of one study."),
    ] = "perturbation",
    segmenter: Annotated[
        str | None, typer.Option(help="Whose masks; with --by segmenters those compared: A,B,... Default: first; all.")
    ] = None,
    region: Annotated[str, typer.Option(help="Kind of region.")] = "nodule",
    radius_mm: Annotated[float, typer.Option(min=0.0, help="Radius of the region, mm.")] = 0.0,
    nodules: Annotated[int | None, typer.Option(min=2, help="Look at so many nodules only, drawn by --seed.")] = None,
    perturbations: Annotated[
        str,
        typer.Option(metavar="A,B+C,...", help="noise, rotation, translation, volume, growth, contour; + chains them."),
    ] = "rotation,translation,noise,contour,volume",
    dice: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Overlap that changed outlines are to have, as raters with each other."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="A feature is stable where its lower limit is at least this.")
    ] = 0.75,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    copies: Annotated[Path | None, typer.Option(help="Write the features of every copy too: .csv or .parquet.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Correlate each feature over copies of the same nodules (ICC(2,1) and ICC(3,1) with 95 % intervals).

    Copies are turned, shifted, noisier, redrawn, grown and shrunk (Zwanenburg et al. 2019), or what the workspace holds of a nodule
    already: other outlines (methods = ["rater-1", "rater-2"] are radiologists'), or the other kernel of its study. Flags of all
    nodules must not select features for a classifier: lungpipe.learn.stability.StableFeatures learns them on training rows.

    Example: lungpipe stability results --nodules 50 --out stability.csv
    """
    from lungpipe.learn.stability import stability_table
    from lungpipe.radiomics.perturb import Scheme
    from lungpipe.region.specs import ShellSpec
    from lungpipe.store.place import Place

    if by not in SOURCES:
        raise DatasetError(f"--by {by!r}: expected one of {', '.join(SOURCES)}")
    for path in (out, copies):
        if path is not None and path.suffix not in {".csv", ".parquet"}:
            raise DatasetError(f"{path}: expected a name that ends in .csv or .parquet")
    place = Place.at(workspace)
    spec = ShellSpec(region, radius_mm)  # type: ignore[arg-type]  # checked by it
    tables = {name: _table(place, name) for name in ("features", "nodules", "series")}
    if by == "perturbation":
        kinds = tuple(part.strip() for part in perturbations.split(",") if part.strip())
        scheme = Scheme(kinds=kinds, dice=dice)
        source = _perturbed(place, tables["nodules"], segmenter, spec, scheme, nodules, seed)
    else:
        source = _held(by, tables, segmenter, spec)
    found = stability_table(source, threshold=threshold)
    _write(out, found)
    if copies is not None:
        _write(copies, source)
    _say(found, threshold, json_)
    print(out)  # noqa: T201  the command line's own output


def _table(place: Place, name: str) -> pd.DataFrame:
    from lungpipe.store.tables import read_table

    path = f"tables/{name}.parquet"
    if not place.exists(path):
        raise DatasetError(f"{place} has no {path}; give the workspace of a finished run (lungpipe run RECIPE)")
    return read_table(place, path)


def _held(by: str, tables: dict[str, pd.DataFrame], segmenter: str | None, spec: ShellSpec) -> pd.DataFrame:
    from lungpipe.learn.copies import of_outlines, of_series

    every = sorted(tables["nodules"]["segmenter"].astype(str).unique())
    if by == "segmenters":
        chosen = [part.strip() for part in segmenter.split(",")] if segmenter else every
        return of_outlines(tables["features"], chosen, spec.kind, spec.radius_mm)
    return of_series(
        tables["features"], tables["nodules"], tables["series"], segmenter or every[0], spec.kind, spec.radius_mm
    )


def _perturbed(
    place: Place,
    nodules: pd.DataFrame,
    segmenter: str | None,
    spec: ShellSpec,
    scheme: Any,
    count: int | None,
    seed: int,
) -> pd.DataFrame:
    import pandas as pd

    from flows.sections import FeaturesSection
    from lungpipe import plugins
    from lungpipe.learn.cohort import IDENTITY
    from lungpipe.radiomics.perturbed_features import perturbed_features
    from lungpipe.store.contents import stored_mask, volume_name
    from lungpipe.store.volumes import read_volume
    from tasks.progress import progress

    recipe = json.loads(place.read("run.json"))["recipe"]
    features = FeaturesSection(**recipe["features"])
    extractor, settings = plugins.find("extractors", features.extractor)(), features.settings()
    if recipe["segment"]["preset"] == "pins":  # its cuboids and whole HU, as in the run
        spec, settings = replace(spec, metric="cuboid"), replace(settings, interpolation="int16")
    name = segmenter or str(nodules["segmenter"].iloc[0])
    chosen = nodules[nodules["segmenter"] == name].sort_values(list(IDENTITY))
    if not len(chosen):
        raise DatasetError(f"no mask by {name}; there are: {', '.join(sorted(nodules['segmenter'].unique()))}")
    if count is not None and count < len(chosen):
        chosen = chosen.sample(count, random_state=seed).sort_values(list(IDENTITY))
    rows: list[dict[str, Any]] = []
    lost: dict[str, int] = {}
    with progress("nodules", len(chosen)) as advance:
        for series, group in chosen.groupby("series_uid"):
            volume = read_volume(place, volume_name(str(group["volume_id"].iloc[0])))
            for row in group.to_dict("records"):
                key = {"patient_id": row["patient_id"], "series_uid": str(series), "nodule_id": row["nodule_id"]}
                mask = stored_mask(place, row)
                found = perturbed_features(volume, mask, str(row["nodule_id"]), spec, scheme, extractor, settings, seed)
                for values, copy in found:
                    if isinstance(values, CaseError):
                        lost[values.code] = lost.get(values.code, 0) + 1
                    else:
                        rows.append({"dataset": row["dataset"], **key, "perturbation": copy, **values})
                advance(1, "")
    for code, n in sorted(lost.items()):
        print(f"{code}: {n} copies have no features; their nodules are left out", file=sys.stderr)  # noqa: T201  as below
    if not rows:
        raise DatasetError("no copy of any nodule has features")
    return pd.DataFrame(rows)


def _write(path: Path, table: pd.DataFrame) -> None:
    from lungpipe.store.place import write_atomically

    if path.suffix == ".parquet":
        held = io.BytesIO()
        table.to_parquet(held, index=False)
        write_atomically(path, held.getvalue())
    else:
        write_atomically(path, table.to_csv(index=False, lineterminator="\r\n").encode())


def _say(found: pd.DataFrame, threshold: float, json_: bool) -> None:
    """Print the stable features by image and class."""
    own = found[found["kind"] == "ICC(2,1)"].copy()
    own["class"] = own["feature"].str.rsplit("_", n=1).str[0]
    summary = own.groupby("class", sort=False).agg(
        stable=("stable", "sum"), features=("stable", "size"), median=("icc", "median")
    )
    if json_:
        rows = [
            {"class": name, "stable": int(row["stable"]), "features": int(row["features"])}
            | {"median_icc": None if math.isnan(row["median"]) else float(row["median"])}
            for name, row in summary.iterrows()
        ]
        print(json.dumps({"threshold": threshold, "n_nodules": int(own["n_nodules"].max()), "classes": rows}, indent=1))  # noqa: T201
        return
    print(f"{'class':28} stable      median ICC(2,1)")  # noqa: T201
    for name, row in summary.iterrows():
        print(f"{name:28} {int(row['stable']):3d} of {int(row['features']):3d}  {row['median']:.2f}")  # noqa: T201
    nodules, copies = int(own["n_nodules"].max()), int(own["n_perturbations"].max())
    print(f"{int(own['stable'].sum())} of {len(own)} features are stable over {copies} copies of {nodules} nodules")  # noqa: T201
