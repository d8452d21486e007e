"""One scan from DICOM to feature rows: read once, crop, segment, expand, extract, write rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.scan.result import ScanResult
from lungpipe.scan.rows import rows_path
from lungpipe.scan.settings import ScanSettings, settings_from
from lungpipe.scan.stages import ScanJob, Stages, stages_by, stages_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ScanJob",
    "ScanResult",
    "ScanSettings",
    "Stages",
    "process_scan",
    "rows_path",
    "settings_from",
    "stages_by",
    "stages_of",
]


def process_scan(job: ScanJob, settings: ScanSettings, workspace: str | Path) -> ScanResult:
    """Process one scan, as far as its artefacts do not stand already.

    What reads and computes is loaded by whoever calls this, a worker, and not by whoever hands it out.

    Parameters
    ----------
    job : ScanJob
    settings : ScanSettings
    workspace : str or Path
        Folder or address; gets ``volumes/<id>.zarr``, ``parts/<artefact>/rows.json`` and their ledger records.

    Returns
    -------
    ScanResult
        With an exclusion instead of rows where the scan cannot be read. Failures of single nodules, masks and
        regions are rows of table ``exclusions`` in ``parts/<artefact>/rows.json``.
    """
    from lungpipe.scan.process import through_stages

    return through_stages(job, settings, workspace)
