"""Curate an archive: index it, look at the pixels of what may be kept, and judge every series."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lungpipe.dicom.index import headers_of, index_archive, one_after_another
from lungpipe.dicom.memory import remember
from lungpipe.dicom.pixel_report import PixelReport
from lungpipe.dicom.quality import QualitySettings, check_limits
from lungpipe.dicom.series import Series, SeriesTable
from lungpipe.errors import Exclusion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lungpipe.dicom.codes import Verdict
    from lungpipe.dicom.memory import Memory

#: Codes that another decoder, or a file that comes back, would change: such pixels are looked at again next time.
_OPEN = {"unreadable_pixels", "missing_decoder"}
#: Series whose headers are in memory at once while their pixels are looked at.
SERIES_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Judged:
    """A stack, and what curation says of it.

    Parameters
    ----------
    series : Series
    codes : tuple of str
        Keys of :data:`lungpipe.dicom.codes.CODES`, sorted.
    verdict : {"accept", "warn", "quarantine"}
    detail : str
        What a code leaves open, such as the name of a missing decoder.
    padding_voxels : int
        Voxels that were set to -1024 HU.
    source_sha256 : str
        Over the contents of its files; empty if its pixels were not looked at.
    """

    series: Series
    codes: tuple[str, ...]
    verdict: Verdict
    detail: str = ""
    padding_voxels: int = 0
    source_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Curation:
    """Every stack of an archive, judged; files that could not be indexed; objects that are no images."""

    stacks: tuple[Judged, ...]
    exclusions: tuple[Exclusion, ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    n_files: int = 0

    @property
    def table(self) -> SeriesTable:
        """The stacks as indexed."""
        return SeriesTable(tuple(judged.series for judged in self.stacks), self.exclusions, self.others, self.n_files)


@dataclass(frozen=True, slots=True)
class Look:
    """One stack whose pixels are to be looked at: wholly, or for a picture alone."""

    series: Series
    wholly: bool


def curate_folder(root: Path, settings: QualitySettings | None = None) -> Curation:
    """Index and judge an archive in this process, remembering nothing.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.dicom.index.index_archive`.
    """
    with remember(None) as memory:
        return curate(root, memory, one_after_another, settings or QualitySettings())


def curate(
    root: Path,
    memory: Memory,
    mapper: Any,
    settings: QualitySettings,
    *,
    pixels: bool = True,
    advance: Callable[[str, int, int], None] | None = None,
) -> Curation:
    """Index an archive and judge what is in it; what an earlier call found is not done again.

    Parameters
    ----------
    root : Path
        Folder of any tree shape, or a zip archive.
    memory : Memory
        Of this archive.
    mapper : callable
        As in :func:`lungpipe.dicom.index.index_archive`.
    settings : QualitySettings
    pixels : bool
        Whether to decode the series that their headers do not already quarantine. Without, codes that only pixels can show
        are missing.
    advance : callable, optional
        Called with what is counted (``"headers"``, ``"pixels"``), how many were done, and of how many.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.dicom.index.index_archive`.
    """

    def on_files(done: int, total: int) -> None:
        if advance is not None:
            advance("headers", done, total)

    table = index_archive(root, memory, mapper, on_files)
    stacks = memory.stacks()
    if pixels and _look(stacks, memory, mapper, settings, advance):
        stacks = memory.stacks()
    judged, digests = [], []
    for series, text in stacks:
        report, _ = _unpack(text)
        codes = {*series.codes, *check_limits(series, settings), *report.codes}
        judged.append(
            Judged(
                series,
                tuple(sorted(codes)),
                settings.verdict(codes),
                report.detail,
                report.padding_voxels,
                report.source_sha256,
            )
        )
        digests.append(report.digest)
    leaks = _leaks(judged, digests)
    for i, codes in leaks.items():
        every = {*judged[i].codes, *codes}
        judged[i] = replace(judged[i], codes=tuple(sorted(every)), verdict=settings.verdict(every))
    return Curation(tuple(judged), table.exclusions, table.others, table.n_files)


def _look(
    stacks: Sequence[tuple[Series, str | None]],
    memory: Memory,
    mapper: Any,
    settings: QualitySettings,
    advance: Callable[[str, int, int], None] | None,
) -> int:
    """Look at the pixels of every stack that needs it; how many did."""
    waiting = []
    for series, text in stacks:
        _, wholly = _unpack(text)
        needed = settings.verdict({*series.codes, *check_limits(series, settings)}) != "quarantine"
        if text is None or (needed and not wholly):
            waiting.append(Look(series, needed))
    for start in range(0, len(waiting), SERIES_AT_ONCE):
        part = [
            replace(item, series=headers_of(memory, item.series)) for item in waiting[start : start + SERIES_AT_ONCE]
        ]
        for position, outcome in _outcomes(mapper, part):
            item = part[position]
            report = {**asdict(outcome), "wholly": item.wholly and not _OPEN & set(outcome.codes)}
            picture = report.pop("thumbnail_png")
            memory.set_pixels(item.series, json.dumps(report), picture)
            if advance is not None:
                advance("pixels", 1, len(waiting))
        memory.save()
    return len(waiting)


def _outcomes(mapper: Any, part: Sequence[Look]) -> Iterator[tuple[int, PixelReport]]:
    for position, outcome in mapper(look, part):
        if isinstance(outcome, Exclusion):
            code = ("unreadable_pixels",) if part[position].wholly else ()
            yield position, PixelReport(code, f"{outcome.code}: {outcome.message}")
        else:
            yield position, outcome


def look(item: Look) -> PixelReport:
    """Check the pixels of one stack, or only make its picture."""
    from lungpipe.dicom.pixels import check_pixels
    from lungpipe.dicom.thumbnail import thumbnail

    if item.wholly:
        return check_pixels(item.series)
    return PixelReport((), thumbnail_png=thumbnail(item.series))


def _unpack(text: str | None) -> tuple[PixelReport, bool]:
    if text is None:
        return PixelReport(()), False
    values = json.loads(text)
    wholly = bool(values.pop("wholly"))
    values["codes"] = tuple(values["codes"])
    return PixelReport(**values), wholly


def _leaks(judged: list[Judged], digests: list[str]) -> dict[int, set[str]]:
    """Codes of the stacks that would carry one patient, or one scan, into two folds; the first of each stays clean."""
    found: dict[int, set[str]] = defaultdict(set)
    order = sorted(range(len(judged)), key=lambda i: judged[i].series.key)
    first: dict[str, int] = {}
    owner: dict[str, str] = {}
    for i in order:
        series = judged[i].series
        if digests[i] and first.setdefault(digests[i], i) != i:
            found[i].add("duplicate_pixels")
        if series.is_volume_file:
            continue
        uids = {uid for uid in (series.study_uid, series.frame_of_reference_uid, series.series_uid) if uid}
        if any(owner.get(uid, series.patient_id) != series.patient_id for uid in uids):
            found[i].add("two_patient_ids")
        for uid in uids:
            owner.setdefault(uid, series.patient_id)
    return found
