"""One scan from DICOM to feature rows: read once, crop, segment, expand, extract, write rows."""

from lungpipe.scan.process import process_scan
from lungpipe.scan.result import ScanResult
from lungpipe.scan.rows import rows_path
from lungpipe.scan.settings import ScanSettings, settings_from
from lungpipe.scan.stages import ScanJob, Stages, stages_by, stages_of

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
