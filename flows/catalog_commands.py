"""The command ``datasets``: what the catalog holds, and all that it knows of one entry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data_catalog import DatasetSpec


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show all that is known of this one.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """List the data sets of the catalog, or show one: licence, label, split, pitfalls, and who has seen it.

    Example: lungpipe datasets luna16
    """
    from data_catalog import list_datasets, load_dataset

    if name is None:
        titles = {one: load_dataset(one).title for one in list_datasets()}
        text = json.dumps(titles) if json_ else "\n".join(f"{one:16} {title}" for one, title in titles.items())
    else:
        spec = load_dataset(name)
        text = spec.model_dump_json(indent=1) if json_ else "\n".join(entry_lines(spec))
    print(text)  # noqa: T201  the command line's own output


def entry_lines(spec: DatasetSpec) -> Iterator[str]:
    """One entry for a person to read, with the section of a recipe that uses it."""
    yield spec.title
    counts = ", ".join(f"{n:,} {kind}" for kind, n in spec.counts.model_dump().items() if n)
    facts = {
        "doi": spec.doi,
        "licence": spec.licence,
        "citation": spec.citation,
        "obtain": spec.obtain,
        "published": counts,
        "label": spec.label,
        "split": spec.split,
        "frame": spec.frame,
        "intensities": spec.intensities,
        "patients in": ", ".join(spec.same_patients),
    }
    yield from (f"{name:12} {value}" for name, value in facts.items() if value)
    yield from (f"{'pitfall':12} {text}" for text in spec.pitfalls)
    yield from (f"{'trained on':12} {model.name}: {model.source}" for model in spec.trained_on_it)
    yield ""
    yield "[cohort]"
    yield f'dataset = "{spec.name}"'
    if spec.intensities != "none":
        yield 'dicom = "PATH OF THE IMAGES"'
    if spec.needs_annotations:
        yield 'annotations = "PATH OF THE ANNOTATIONS"'
