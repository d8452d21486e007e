"""The command ``corruption-ladder``: what a segmenter makes of a workspace's nodules as their images get worse."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

    from flows.ladder import Features
    from lungpipe.deep.shift import Reference
    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.segment import Segmenter
    from lungpipe.store.place import Place

#: Files that the command writes.
TABLE, PAGE, KNOWN = "ladder.parquet", "ladder.html", "reference.npz"
#: Nodules in an order that depends on no pseudonym, but where nothing else tells them apart.
ORDER = ["source_sha256", "z_mm", "y_mm", "x_mm", "patient_id", "series_uid", "nodule_id"]
#: What is told to rise with severity.
RISING = ("unsure_mm3", "entropy_bits", "mutual_information_bits", "mahalanobis", "prototype_distance")


def corruption_ladder(
    workspace: Annotated[str, typer.Argument(help="Workspace of a finished run: folder or address.")],
    out: Annotated[Path, typer.Option(help=f"Folder to write: {TABLE}, {PAGE}, {KNOWN} (of a network).")],
    segmenter: Annotated[str, typer.Option(help="Segmenter plug-in (`lungpipe segmenters`).")] = "network",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter of it, such as weights=unet.safetensors; repeatable."
        ),
    ] = None,
    corruptions: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="noise, blur, motion, sharp_kernel, soft_kernel, dose, slice_thickness; default: all.",
        ),
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Whose stored masks give the nodules' boxes; default: the first.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Stored masks to compare with, such as raters'; default: its own, uncorrupted."
        ),
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Also the AUC of this classifier, trained on images as they are.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help=f"{KNOWN} of another cohort to measure distances from; default: the other patients."),
    ] = None,
    nodules: Annotated[int | None, typer.Option(min=1, help="So many nodules only, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
) -> None:
    """Corrupt images in five severities, segment again, and plot Dice, AUC, uncertainty and distance against severity.

    Each nodule is segmented on its surroundings, as an image of its own. docs/uncertainty.md says what the figures are.

    Example: lungpipe corruption-ladder results --segmenter network --nodules 20 --out ladder
    """
    from flows.ladder import Climb, climbed
    from lungpipe.store.place import Place

    place = Place.at(workspace)
    names = _corruptions(corruptions)
    table = _nodules(place)
    recipe = json.loads(place.read("run.json")).get("recipe", {})
    found = _segmenter(segmenter, changes or [], recipe)
    features = _features_of(found)
    known = _known(reference, features)
    radiomics = _radiomics(classifier, recipe)
    chosen = _chosen(table, box, nodules, seed)
    masks = tuple(part.strip() for part in against.split(",")) if against else ()
    rows = climbed(place, table, chosen, Climb(found, names, masks, seed, features, radiomics))
    rows.insert(6, "segmenter", segmenter)
    out.mkdir(parents=True, exist_ok=True)
    if features is not None:
        _add_distances(rows, known, seed, out / KNOWN, features.about)
    auc = _add_auc(rows, classifier, recipe) if classifier else None
    _write(out, rows, auc, _about(segmenter, masks, rows), simulated="simulated" in set(chosen["intensities"]))
    print(out / PAGE)  # noqa: T201  the command line's own output


def _corruptions(given: str | None) -> tuple[str, ...]:
    from lungpipe.corrupt import CORRUPTIONS

    names = tuple(part.strip() for part in given.split(",")) if given else tuple(CORRUPTIONS)
    if unknown := [name for name in names if name not in CORRUPTIONS]:
        raise DatasetError(f"no corruption {unknown[0]!r}; there are {', '.join(CORRUPTIONS)}")
    return tuple(dict.fromkeys(names))


def _nodules(place: Place) -> pd.DataFrame:
    from lungpipe.store.tables import read_table

    if not place.exists("tables/nodules.parquet") or not place.exists("run.json"):
        raise DatasetError(
            f"{place} has no tables/nodules.parquet or run.json; give the workspace of a finished run (lungpipe run RECIPE)"
        )
    return read_table(place, "tables/nodules.parquet")


def _segmenter(name: str, changes: list[str], recipe: dict[str, Any]) -> Segmenter:
    """The segmenter with the recipe's parameters, and changes to them."""
    from flows.config import override
    from flows.sections import SegmentSection
    from lungpipe.scan.settings import segmenters_of
    from lungpipe.segment.outside.model import OutsideModel
    from lungpipe.segment.steps import Steps

    section = SegmentSection.model_validate(recipe.get("segment", {}))
    values: dict[str, Any] = {"parameters": dict(section.parameters.get(name, {}))}
    for text in changes:
        override(values, f"parameters.{text}")
    given = {name: values["parameters"]} if values["parameters"] else {}
    found = segmenters_of((name,), "", Steps(**section.steps.model_dump()), given)[name]
    if isinstance(found, OutsideModel):
        raise DatasetError(
            f"{name} labels whole scans; the ladder shows a segmenter a nodule and its surroundings alone"
        )
    return found


def _features_of(segmenter: Segmenter) -> Features | None:
    from flows.ladder import Features
    from lungpipe.deep.extra import needed
    from lungpipe.segment.network import Network

    if not isinstance(segmenter, Network):
        return None
    of = needed("lungpipe.deep.bottleneck", "deep").nodule_features(segmenter)
    return Features(of, {"network": segmenter.name, "weights_sha256": segmenter.weights_sha256})


def _known(path: Path | None, features: Features | None) -> Reference | None:
    from lungpipe.deep.shift import read_reference

    if path is None:
        return None
    if features is None:
        raise DatasetError(f"--reference {path}: only a network has features to measure distances by")
    found = read_reference(path)
    if found.about.get("weights_sha256") != features.about["weights_sha256"]:
        raise DatasetError(f"--reference {path} is of a network with other weights, whose features say other things")
    return found


def _radiomics(classifier: str | None, recipe: dict[str, Any]) -> tuple[Extractor, RadiomicsSettings] | None:
    """The extractor of the run and its settings, where a classifier asks for them."""
    from flows.sections import FeaturesSection
    from lungpipe import plugins

    if classifier is None:
        return None
    plugins.find("classifiers", classifier)
    section = FeaturesSection.model_validate(recipe.get("features", {}))
    return plugins.find("extractors", section.extractor)(), section.settings()


def _chosen(table: pd.DataFrame, box: str | None, count: int | None, seed: int) -> pd.DataFrame:
    name = box or str(table["segmenter"].iloc[0])
    chosen = table[(table["segmenter"] == name) & (table["volume_id"] != "")].sort_values(ORDER)
    if not len(chosen):
        raise DatasetError(f"no mask by {name}; there are: {', '.join(sorted(table['segmenter'].unique()))}")
    if count is not None and count < len(chosen):
        chosen = chosen.sample(count, random_state=seed).sort_values(ORDER)
    return chosen


def _add_distances(rows: pd.DataFrame, known: Reference | None, seed: int, path: Path, about: dict[str, str]) -> None:
    """Distances from known nodules; the uncorrupted ones are kept as a reference for other cohorts."""
    import numpy as np

    from lungpipe.corrupt.distance import distances
    from lungpipe.deep.shift import FEWEST, fit_reference, save_reference

    features, clean = np.stack(rows.pop("features").to_list()), (rows["severity"] == 0).to_numpy()
    if clean.sum() >= FEWEST:
        save_reference(path, fit_reference(features[clean], about, seed))
    try:
        found = distances(features, clean, rows["patient_id"].to_numpy(), known, seed)
    except DatasetError as error:
        print(f"no distances: {error}", file=sys.stderr)  # noqa: T201  the command line's own output
        return
    rows["mahalanobis"], rows["prototype_distance"] = found


def _add_auc(rows: pd.DataFrame, classifier: str, recipe: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    from flows.sections import BenchmarkSection
    from lungpipe import plugins
    from lungpipe.corrupt.auc import auc_table, predicted

    section = BenchmarkSection.model_validate(recipe.get("benchmark") or {})
    features = pd.DataFrame(rows.pop("radiomics").to_list(), index=rows.index).astype(float)
    model = plugins.find("classifiers", classifier)()
    rows["p"] = predicted(rows, features.to_numpy(), model, section.outer_folds, section.inner_folds, section.seed)
    return auc_table(rows, section.outer_folds)


def _about(segmenter: str, masks: tuple[str, ...], rows: pd.DataFrame) -> dict[str, str]:
    nodules = int((rows["severity"] == 0).sum())
    return {
        "Segmenter": segmenter,
        "Nodules": f"{nodules} of {rows['patient_id'].nunique()} patients",
        "Dice with": f"stored masks by {', '.join(masks)}" if masks else "its own mask of the image as it is",
    }


def _write(out: Path, rows: pd.DataFrame, auc: pd.DataFrame | None, about: dict[str, str], *, simulated: bool) -> None:
    from lungpipe.corrupt.summary import means, trends
    from lungpipe.report.ladder import ladder_html
    from lungpipe.store.place import write_atomically

    held = io.BytesIO()
    rows.to_parquet(held, index=False)
    write_atomically(out / TABLE, held.getvalue())
    found = trends(rows, ("dice", *RISING))
    page = ladder_html(
        rows, means(rows), found, title="Corruption ladder", about=about, simulated=simulated, auc=auc
    )  # fmt: skip
    write_atomically(out / PAGE, page.encode())
    print(f"{'corruption':16} {'figure':24} of means  median of nodules")  # noqa: T201  the command line's own output
    for row in found.to_dict("records"):
        print(f"{row['corruption']:16} {row['measure']:24} {row['of_means']:8.2f}  {row['of_nodules']:8.2f}")  # noqa: T201
