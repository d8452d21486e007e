"""The data dictionary: every table, column and feature, from the declarations that also make the checks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lungpipe.radiomics.ibsi_codes import AGGREGATIONS, NUMBERING, Feature, original_features
from lungpipe.store.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.store.columns import Column, Schema

_TITLES = {
    "shape": "Shape",
    "firstorder": "First order",
    "glcm": "Grey-level co-occurrence (GLCM)",
    "glrlm": "Grey-level run length (GLRLM)",
    "glszm": "Grey-level size zone (GLSZM)",
    "gldm": "Grey-level dependence (GLDM; IBSI: NGLDM)",
    "ngtdm": "Neighbourhood grey-tone difference (NGTDM)",
}


def as_dict() -> dict[str, Any]:
    """Return the dictionary as JSON values: ``tables``, ``features``, ``aggregations``, ``numbering``."""
    return {
        "tables": {name: _table(name, schema) for name, schema in SCHEMAS.items()},
        "features": [{**asdict(feature), "definition": feature.definition} for feature in original_features().values()],
        "aggregations": dict(AGGREGATIONS),
        "numbering": NUMBERING,
    }


def _table(name: str, schema: Schema) -> dict[str, Any]:
    return {
        "file": f"tables/{name}.parquet",
        "meaning": schema.meaning,
        "optional": schema.optional,
        "keys": list(schema.keys),
        "sorted": schema.sorted,
        "further_columns": "float64"
        if schema.open
        else {kind.prefix: list(kind.dtypes) for kind in schema.further} or None,
        "columns": [_column(column) for column in schema.declared],
        "relations": [relation.words for relation in schema.relations],
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.dtype,
        "unit": column.unit,
        "meaning": column.meaning,
        "allowed": column.allowed,
        "nullable": column.nullable,
        "example": column.example,
    }


def as_markdown() -> str:
    """Return the dictionary as Markdown; ``docs/data-dictionary.md`` is this text."""
    return "\n".join([*_head(), *_tables(), *_features()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Data dictionary"
    yield ""
    yield "Every table of a workspace, held against these columns whenever it is written or read. Written by"
    yield "`lungpipe dictionary`; change `lungpipe/store/schemas.py` or `lungpipe/radiomics/ibsi_codes.toml` instead."
    yield ""
    yield "A unit of 1 means a number without dimension. Points are LPS, in mm. Identifiers are pseudonyms under the user's key."


def _tables() -> Iterator[str]:
    for name, schema in SCHEMAS.items():
        yield ""
        yield f"## {name}"
        yield ""
        when = " It is there where the recipe has a `[benchmark]` section." if schema.optional else ""
        yield f"`tables/{name}.parquet`. A row is: {_lower(schema.meaning)}.{when}"
        yield ""
        if schema.keys:
            keys = ", ".join(f"`{key}`" for key in schema.keys)
            yield f"Key: {keys}; no row repeats it{', and rows are sorted by it' if schema.sorted else ''}."
            yield ""
        yield from _grid(
            ("Column", "Type", "Unit", "Meaning", "Allowed", "Example"),
            [
                (f"`{c.name}`", c.dtype, c.unit, c.meaning, c.allowed, f"`{c.example}`" if c.example != "" else "")
                for c in schema.declared
            ],
        )
        if schema.open:
            yield ""
            yield "Further columns are features, float64, missing where undefined; see [Features](#features)."
        for kind in schema.further:
            yield ""
            yield f"Further columns may be `{kind.prefix}<name>` ({' or '.join(kind.dtypes)}): {kind.meaning}."
        for relation in schema.relations:
            yield ""
            yield f"In every row: {relation.words}."


def _features() -> Iterator[str]:
    features = list(original_features().values())
    counts = {kind: sum(f.definition == kind for f in features) for kind in ("same", "differs", "not in IBSI")}
    yield ""
    yield "## Features"
    yield ""
    yield f"The {len(features)} features of the extractors `nested` and `pyradiomics` by the names and codes of the Image Biomarker Standardisation"
    yield f"Initiative (IBSI 1, arXiv:1612.07003): {counts['same']} are defined as there, {counts['differs']} differ, and IBSI has no"
    yield f"counterpart of {counts['not in IBSI']}. The first group equals IBSI's published values on its digital and CT phantoms (tested)."
    yield ""
    yield "Aggregation: " + "; ".join(f"{code}, {said}" for code, said in AGGREGATIONS.items() if code) + "."
    yield ""
    yield f"Features marked # depend on the numbering of grey levels. {NUMBERING}"
    yield ""
    yield "Features of filtered images have the same codes under their own prefix (`wavelet-LLH_glcm_Contrast`); for the gradient"
    yield "read HU/mm for HU, and 1 for local binary patterns. The filter has to be named beside the code."
    for kind, title in _TITLES.items():
        here = [feature for feature in features if feature.name.split("_")[1] == kind]
        yield ""
        yield f"### {title}"
        yield ""
        made = f" By default: {here[0].matrix}." if here[0].matrix else ""
        yield (
            "; ".join(f"{family} ({code})" for family, code in dict.fromkeys((f.family, f.family_code) for f in here))
            + f".{made}"
        )
        yield ""
        yield from _grid(
            ("Column", "Unit", "IBSI code", "IBSI name", "Aggregation", "Remark"),
            [(f"`{f.name}`", f.unit, f.ibsi_code or "none", f.ibsi_name, f.aggregation, _remark(f)) for f in here],
        )


def _remark(feature: Feature) -> str:
    parts = ["#" if feature.numbered else "", f"differs: {feature.differs}" if feature.differs else "", feature.note]
    return "; ".join(part for part in parts if part)


def _grid(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
