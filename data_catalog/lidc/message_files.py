"""Read the XML files below a folder: one message a series, whatever else lies there and however often it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_catalog.lidc.message import ROOT, Message, UnreadableMessageError, message_series_uid, read_message
from lungpipe.errors import DatasetError, Exclusion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

#: A file with this in its name replaces others of its series. The archive publishes one (LIDC-IDRI-0101, March 2012),
#: beside the readings that it corrects.
CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class MessageFiles:
    """What was found below a path.

    Parameters
    ----------
    messages : dict
        From series instance UID to its readings.
    exclusions : tuple of Exclusion
        Damaged files, files that contradict each other or were superseded, and nodules without ratings.
    """

    messages: dict[str, Message]
    exclusions: tuple[Exclusion, ...]

    @property
    def excluded_series(self) -> frozenset[str]:
        """Series of which some file was excluded."""
        return frozenset(item.series_uid for item in self.exclusions)


def read_messages(
    path: Path, wanted: Collection[str] | None = None, advance: Callable[[int], None] = lambda _: None
) -> MessageFiles:
    """Read every ``LidcReadMessage`` at or below a path.

    Readings of chest radiographs and other XML are passed over. Several files of a series count once where they hold the
    same readings; where they differ, a file named a correction is used, and without one the series is excluded: nothing
    else in the files says which of them is right. A damaged file becomes an exclusion.

    Parameters
    ----------
    path : Path
        A file, or a folder that is searched for ``*.xml``.
    wanted : collection of str, optional
        Series to read; of the others the headers alone are read. All by default.
    advance : callable
        Called after each file with the number of files there are.

    Raises
    ------
    DatasetError
        If there is no XML below the path, or none of it is a reading of CT or damaged.
    """
    files = (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() == ".xml" and p.is_file())
    )
    if not files:
        raise DatasetError(f"no XML file below {path}; LIDC-IDRI's readings are the XML files beside its images")
    found: dict[str, list[tuple[Path, Message]]] = {}
    exclusions: list[Exclusion] = []
    n_messages = 0
    for file in files:
        uid: str | None = ""
        try:
            uid = message_series_uid(file)
            n_messages += uid is not None
            if uid is not None and (wanted is None or uid in wanted):
                message = read_message(file)
                found.setdefault(uid, []).append((file, message))
        except UnreadableMessageError as error:
            text = f"the readings cannot be read ({error}); fetch the file again"
            exclusions.append(
                Exclusion("annotation", "unreadable_annotation", text, series_uid=uid or "", file=str(file))
            )
        advance(len(files))
    if not n_messages and not exclusions:
        raise DatasetError(f"none of the {len(files)} XML files below {path} is a reading of CT (root element {ROOT})")
    messages = {}
    for uid, candidates in sorted(found.items()):
        chosen, left_out = _choose(uid, candidates)
        exclusions += left_out
        if chosen is not None:
            messages[uid] = chosen
            if chosen.unrated:
                text = f"{chosen.unrated} outlined nodules lack ratings and are left out; the radiologist gave none"
                exclusions.append(Exclusion("annotation", "incomplete_ratings", text, series_uid=uid))
    return MessageFiles(messages, tuple(exclusions))


def _choose(uid: str, candidates: list[tuple[Path, Message]]) -> tuple[Message | None, list[Exclusion]]:
    """Decide which of a series' files count."""
    first = candidates[0][1]
    if all(first.same_readings(message) for _, message in candidates):
        return first, []
    corrections = [message for file, message in candidates if CORRECTION in file.stem.lower()]
    if corrections and all(corrections[0].same_readings(message) for message in corrections):
        text = "the readings were replaced by a file named a correction"
        left_out = [file for file, message in candidates if not corrections[0].same_readings(message)]
        return corrections[0], [
            Exclusion("annotation", "superseded_annotation", text, series_uid=uid, file=str(file)) for file in left_out
        ]
    text = f"{len(candidates)} files hold different readings of the series; keep the right one"
    return None, [
        Exclusion("annotation", "conflicting_annotations", text, series_uid=uid, file=str(file))
        for file, _ in candidates
    ]
