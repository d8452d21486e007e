"""The Parquet tables of a workspace: their columns, keys and types, checked whenever one is written."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from lungpipe.errors import DatasetError
from lungpipe.store.ledger import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns of a table and the keys that identify a row.

    Parameters
    ----------
    columns : mapping
        Name to pandas dtype, in order.
    keys : tuple of str
        Columns by which rows are sorted and unique; empty where rows may repeat.
    open : bool
        Whether further float columns (features) may follow.
    """

    columns: Mapping[str, str]
    keys: tuple[str, ...]
    open: bool = False


_WHO = {"dataset": "str", "intensities": "str", "patient_id": "str", "series_uid": "str"}

SCHEMAS: Mapping[str, Schema] = {
    "series": Schema(
        {
            **_WHO,
            "study_uid": "str", "stack": "int64", "modality": "str", "n_slices": "int64", "rows": "int64", "columns": "int64",
            "spacing_z_mm": "float64", "spacing_y_mm": "float64", "spacing_x_mm": "float64",
            "manufacturer": "str", "model": "str", "kernel": "str", "kvp": "float64", "tube_current_ma": "float64",
            "slice_thickness_mm": "float64", "ctdi_vol_mgy": "float64", "exposure_mas": "float64",
            "transfer_syntax": "str", "padding_voxels": "int64", "codes": "str", "detail": "str", "verdict": "str",
            "volume_id": "str",
        },
        ("dataset", "patient_id", "series_uid"),
    ),
    "exclusions": Schema(
        {
            "stage": "str", "intensities": "str", "patient_id": "str", "series_uid": "str", "nodule_id": "str",
            "file": "str", "code": "str", "message": "str",
        },
        (),
    ),
    "nodules": Schema(
        {
            **_WHO,
            "nodule_id": "str", "segmenter": "str", "malignant": "Int64", "split": "str",
            "x_mm": "float64", "y_mm": "float64", "z_mm": "float64", "n_voxels": "int64", "volume_mm3": "float64",
            "sphere_diameter_mm": "float64", "mean_hu": "float64", "codes": "str", "mask_id": "str",
            "volume_id": "str", "source_sha256": "str",
        },
        ("dataset", "patient_id", "series_uid", "nodule_id", "segmenter"),
    ),
    "features": Schema(
        {
            **_WHO,
            "nodule_id": "str", "segmenter": "str", "region": "str", "radius_mm": "float64", "n_voxels": "int64",
            "volume_mm3": "float64", "clipped_fraction": "float64", "mask_id": "str",
        },
        ("dataset", "patient_id", "series_uid", "nodule_id", "segmenter", "region", "radius_mm"),
        open=True,
    ),
}  # fmt: skip


def make_table(name: str, rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Build a table from rows: columns in the schema's order and types, rows sorted by key.

    Parameters
    ----------
    name : str
        A key of :data:`SCHEMAS`.
    rows : iterable of mapping
        Extra columns are kept, as float64, where the schema is open.

    Raises
    ------
    DatasetError
        If a column is missing or unexpected, or two rows share a key.
    """
    schema = SCHEMAS[name]
    frame = pd.DataFrame(list(rows))
    if frame.empty:
        frame = pd.DataFrame(columns=list(schema.columns))
    return conform(name, frame)


def conform(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Check a table against its schema and put columns and rows in order; errors as :func:`make_table`."""
    schema = SCHEMAS[name]
    missing = [c for c in schema.columns if c not in frame]
    extra = [c for c in frame if c not in schema.columns]
    if missing or (extra and not schema.open):
        raise DatasetError(f"table {name!r}: missing columns {missing}, unexpected columns {extra}")
    frame = frame[[*schema.columns, *extra]].astype({**schema.columns, **dict.fromkeys(extra, "float64")})
    order = list(schema.keys) or list(schema.columns)
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    repeated = frame.duplicated(order) if schema.keys else pd.Series(False, index=frame.index)
    if repeated.any():
        row = frame.loc[repeated, order].iloc[0].to_dict()
        raise DatasetError(f"table {name!r}: {int(repeated.sum())} rows repeat a key, the first {row}")
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, atomically."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote.

    Raises
    ------
    DatasetError
        If it is missing.
    """
    if not path.is_file():
        raise DatasetError(f"no table at {path}; is this a lungpipe workspace, and did its run finish?")
    return pd.read_parquet(path)
