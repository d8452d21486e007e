"""The error taxonomy: what stops a cohort, and what is one row in its exclusions table."""

from __future__ import annotations

from dataclasses import dataclass


class LungpipeError(Exception):
    """Root of every error that lungpipe raises on purpose."""


class CaseError(LungpipeError):
    """One series or nodule fails; the cohort goes on and records an exclusion.

    Parameters
    ----------
    code : str
        Reason code of the exclusion, in snake_case (``"outside_volume"``).
    message : str
        One sentence: what was expected, what was found, what to do. It names nothing that identifies a
        patient, because it is written to ``tables/exclusions.parquet`` and the report.
    """

    stage = "case"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[CaseError], tuple[str, str]]:
        """Pickle by code and message, so that a worker's error arrives whole."""
        return type(self), (self.code, self.message)


class DicomError(CaseError):
    """A series cannot be read as one CT volume."""

    stage = "read"


class AnnotationError(CaseError):
    """An annotation does not fit the series that it names."""

    stage = "annotation"


class SegmentationError(CaseError):
    """A segmenter finds no nodule where the annotation says there is one."""

    stage = "segment"


class RegionError(CaseError):
    """A region is empty, or leaves nothing after clipping."""

    stage = "region"


class FeatureError(CaseError):
    """Features are undefined for a region."""

    stage = "features"


class StoreError(CaseError):
    """A stored volume or mask is missing or damaged."""

    stage = "store"


class GeometryError(LungpipeError, ValueError):
    """Two grids that must agree do not: a bug or a mismatched pair of files; stop."""


class DatasetError(LungpipeError):
    """A recipe, file, column or label is wrong: stop before any work."""


class PluginError(LungpipeError, LookupError):
    """A plug-in of that name is not installed: stop and list those that are."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One row of ``tables/exclusions.parquet``: what was left out, at which stage, and why.

    Identifiers are pseudonyms by the time a row is written, that of the file included: paths may name patients.
    """

    stage: str
    code: str
    message: str
    patient_id: str = ""
    series_uid: str = ""
    nodule_id: str = ""
    file: str = ""

    @classmethod
    def of(cls, error: CaseError, *, patient_id: str = "", series_uid: str = "", nodule_id: str = "") -> Exclusion:
        """Make the row that records a case error."""
        return cls(error.stage, error.code, error.message, patient_id, series_uid, nodule_id)
