"""The tables of a workspace described in Croissant, the MLCommons format for data sets (version 1.0, arXiv:2403.19546)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.lineage.about import about_run, licence_address, needs_extra
from lungpipe.radiomics.ibsi_codes import AGGREGATIONS, describe
from lungpipe.store.tables import SCHEMAS

if TYPE_CHECKING:
    import pyarrow as pa

    from lungpipe.lineage.about import About, Source
    from lungpipe.store.place import Place

MEDIA_TYPE = "application/x-parquet"


def describe_tables(place: Place, source: Source) -> bytes:
    """Describe every table of a workspace, each column with type, meaning, unit and, for features, IBSI code.

    Paths are relative to the workspace, so the description belongs beside its ``run.json``, or wherever ``tables/`` is
    copied to.

    Parameters
    ----------
    place : Place
        The workspace.
    source : Source
        The data set, for licence and citation.

    Returns
    -------
    bytes
        JSON-LD that :mod:`mlcroissant` accepts.

    Raises
    ------
    DatasetError
        If the workspace has no finished run or no table, the description would not be valid, or the package is not
        installed.
    """
    try:
        import mlcroissant as mlc
    except ImportError as error:
        raise needs_extra("mlcroissant") from error
    about = about_run(place)
    names = [name for name in SCHEMAS if place.exists(f"tables/{name}.parquet")]
    if not names:
        raise DatasetError(f"no table in {place}; did its run finish?")
    context = mlc.Context(conforms_to="http://mlcommons.org/croissant/1.0")
    try:
        metadata = mlc.Metadata(
            ctx=context,
            name=about.title,
            description=about.description,
            license=[licence_address(source.licence) or source.licence],
            date_published=about.made_at.replace(tzinfo=None),
            version=f"{about.made_at.year}.{about.made_at.month}.{about.made_at.day}",
            distribution=[_file(mlc, context, place, name) for name in names],
            record_sets=[_record_set(mlc, context, place, name) for name in names],
            **_origin(about, source),
        )
        mlc.Dataset.from_metadata(metadata)
    except mlc.ValidationError as error:
        raise DatasetError(f"the tables cannot be described in Croissant: {error}") from error
    return (json.dumps(metadata.to_json(), indent=1, ensure_ascii=False) + "\n").encode()


def _origin(about: About, source: Source) -> dict[str, Any]:
    made = [
        f"lungpipe {about.environment['lungpipe']} made these tables from CT and annotations of {source.title}; settings "
        "are in run.json",
    ]
    cited = {"cite_as": source.citation} if source.citation != "none" else {"cite_as": source.title}
    return {**cited, "data_preprocessing_protocol": made}


def _file(mlc: Any, context: Any, place: Place, name: str) -> Any:
    path = f"tables/{name}.parquet"
    return mlc.FileObject(
        ctx=context,
        id=f"{name}.parquet",
        name=f"{name}.parquet",
        description=SCHEMAS[name].meaning,
        content_url=path,
        content_size=f"{place.size(path)} B",
        encoding_formats=[MEDIA_TYPE],
        sha256=place.digest(path),
    )


def _record_set(mlc: Any, context: Any, place: Place, name: str) -> Any:
    import pyarrow.parquet as pq

    schema: pa.Schema = pq.read_schema(io.BytesIO(place.read(f"tables/{name}.parquet")))
    return mlc.RecordSet(
        ctx=context,
        id=name,
        name=name,
        description=f"A row is: {SCHEMAS[name].meaning[:1].lower()}{SCHEMAS[name].meaning[1:]}.",
        key=[f"{name}/{column}" for column in SCHEMAS[name].keys] or None,
        fields=[
            mlc.Field(
                ctx=context,
                id=f"{name}/{column.name}",
                name=column.name,
                description=meaning_of(name, column.name),
                data_types=[_type(mlc, str(column.type))],
                source=mlc.Source(ctx=context, file_object=f"{name}.parquet", extract=mlc.Extract(column=column.name)),
            )
            for column in schema
        ],
    )


def _type(mlc: Any, arrow: str) -> Any:
    types = {"double": mlc.DataType.FLOAT64, "int64": mlc.DataType.INT64}
    return types.get(arrow, mlc.DataType.TEXT)


def meaning_of(table: str, column: str) -> str:
    """Describe a column in one line: what it is, its unit, and for a feature its IBSI name and code.

    Parameters
    ----------
    table : str
        A key of :data:`lungpipe.store.tables.SCHEMAS`.
    column : str
    """
    for declared in SCHEMAS[table].declared:
        if declared.name == column:
            return f"{declared.meaning}. {_unit(declared.unit)}Allowed: {declared.allowed}."
    feature = describe(column)
    if feature is None:
        return "Feature of an extractor plug-in; not in IBSI's list as far as is known."
    if not feature.ibsi_code:
        return (
            f"Radiomics feature {feature.name}, which IBSI does not define. {_unit(feature.unit)}{feature.note}".strip()
        )
    parts = [f"{feature.ibsi_name}, IBSI {feature.ibsi_code} ({feature.family}, {feature.family_code})."]
    parts += [f"{_unit(feature.unit)}".strip()]
    parts += [f"Aggregation {feature.aggregation}: {AGGREGATIONS[feature.aggregation]}."] if feature.aggregation else []
    parts += [f"Differs from IBSI: {feature.differs}."] if feature.differs else []
    parts += [f"Note: {feature.note}."] if feature.note else []
    return " ".join(part for part in parts if part)


def _unit(unit: str) -> str:
    if not unit:
        return ""
    return "No unit. " if unit == "1" else f"Unit: {unit}. "
