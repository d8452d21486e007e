"""What a worker gives back of a scan: where its rows are, and nothing large."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.errors import Exclusion


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What became of a scan: where its rows are, or why it has none.

    Parameters
    ----------
    series_uid, patient_id : str
    volume_id : str
    parts : tuple of str
        References of the records whose parts hold its rows.
    made, reused : mapping
        Number of artefacts by kind; of masks and features by segmenter too (``"masks otsu"``).
    seconds : mapping
        Wall seconds by stage.
    exclusion : Exclusion, optional
        Why there are no rows.
    began_s, took_s : float
        When its worker began with it, in seconds since 1970 by the worker's clock, and wall seconds until its end; 0 where no
        worker said it. Scans that are done together share both: the same beginning, an equal part of the time.
    """

    series_uid: str
    patient_id: str
    volume_id: str = ""
    parts: tuple[str, ...] = ()
    made: Mapping[str, int] = field(default_factory=dict)
    reused: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    exclusion: Exclusion | None = None
    began_s: float = 0.0
    took_s: float = 0.0
