"""A series as its headers describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lungpipe.dicom.source import VOLUME_SUFFIXES

if TYPE_CHECKING:
    from lungpipe.dicom.source import Source
    from lungpipe.errors import Exclusion
    from lungpipe.geometry import Geometry


@dataclass(frozen=True, slots=True)
class Header:
    """What the index keeps of one image (a file, or a frame of one); nothing here leaves ingestion unpseudonymised.

    Parameters
    ----------
    source : Source
        Where the image is.
    acquisition : str
        Acquisition number, and temporal position where there is one.
    position_mm, orientation, pixel_spacing_mm
        Image position (LPS x, y, z), image orientation (six cosines) and pixel spacing (row, column), as DICOM has
        them; None where missing or no numbers.
    size : tuple of int
        Rows, columns.
    slope, intercept : float, optional
        Of the rescale to HU.
    bits : tuple of int
        Samples per pixel, bits allocated, bits stored, high bit, pixel representation (1 signed).
    padding : int, optional
        Pixel padding value as stored.
    tilt_degrees : float
        Gantry or detector tilt; 0 where not given.
    marks : frozenset of str
        What else the header says of itself: ``"contrast"``, ``"burned_in"``, ``"lossy"``, ``"pet"`` (units, radiopharmaceutical
        or SOP class of PET), ``"secondary"`` (secondary capture), ``"dose"`` (a dose sheet), ``"localizer"``, ``"simulated"``.
    scanner : tuple of (str, value)
        Manufacturer, model, kernel, kVp, mA and the like, for the series table.
    identity : tuple of (str, str)
        Kind and text of what identifies (names, ids, dates): for the identity audit alone.
    """

    source: Source
    sop_uid: str
    patient_id: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    modality: str
    acquisition: str
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    size: tuple[int, int]
    slope: float | None
    intercept: float | None
    photometric: str
    bits: tuple[int, int, int, int, int]
    padding: int | None
    transfer_syntax: str
    tilt_degrees: float
    marks: frozenset[str]
    scanner: tuple[tuple[str, str | float | None], ...]
    identity: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """One stack of images: its files in order along the slice normal, and its grid if it has one.

    Identifiers are the archive's own: they stay in memory and pass through
    :class:`lungpipe.dicom.pseudonymise.Pseudonymiser` before anything is written.

    Parameters
    ----------
    files : tuple of Source
        One a slice, in the order of the z index; the one volume file of a NIfTI, NRRD or MetaImage.
    sop_uids : tuple of str
        SOP instance UID of each slice; a volume file's own name.
    headers : tuple of Header
        Aligned with ``files``; empty for a volume file, and for a series that comes from the index of an earlier run.
    codes : tuple of str
        Quality codes from the headers, keys of :data:`lungpipe.dicom.codes.CODES`.
    frame_of_reference_uid : str
    stack : int
        1, or the number of the stack inside a series that holds several (largest first).
    split_by : str
        Why a series has several stacks: ``"orientation"``, ``"acquisition"``, or ``"kind"`` (localizers, screen shots
        and dose sheets, set apart); empty for one stack.
    twins : tuple of (Source, Source, str)
        Pairs that claim the same place (``"position"``) or the same SOP instance (``"sop"``); the second of each is
        not in ``files``.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    modality: str
    files: tuple[Source, ...]
    sop_uids: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    codes: tuple[str, ...] = ()
    frame_of_reference_uid: str = ""
    geometry: Geometry | None = None
    scanner: dict[str, str | float | None] = field(default_factory=dict)
    simulated: bool = False
    stack: int = 1
    split_by: str = ""
    twins: tuple[tuple[Source, Source, str], ...] = ()

    @property
    def is_volume_file(self) -> bool:
        """Whether this is a NIfTI, NRRD or MetaImage file, which names no patient."""
        return len(self.files) == 1 and self.files[0].path.lower().endswith(VOLUME_SUFFIXES)

    @property
    def name(self) -> str:
        """Identifier of the stack: that of its series, with a number from the second stack on."""
        return self.series_uid if self.stack == 1 else f"{self.series_uid}#{self.stack}"

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells a stack from every other."""
        return self.patient_id, self.series_uid, self.stack


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """The result of indexing.

    Parameters
    ----------
    series : tuple of Series
    exclusions : tuple of Exclusion
        Files, folders and zip archives that could not be indexed.
    others : tuple of (str, int)
        Files that are no images, by kind.
    n_files : int
        Files met, these included.
    """

    series: tuple[Series, ...]
    exclusions: tuple[Exclusion, ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    n_files: int = 0

    def by_uid(self) -> dict[str, Series]:
        """First stack of each series by series instance UID (or file stem, for a volume file)."""
        return {s.series_uid: s for s in reversed(self.series)}
