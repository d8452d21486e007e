"""Take paths and identities out of words that others chose: messages of errors, warnings, lines of programs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lungpipe.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Folders that are in every workspace or in the documentation.
_OURS = ("tables/", "report/", "ledger/", "parts/", "volumes/", "docs/")
_PATH = re.compile(r"[^\s'\"()<>\[\]{},;=]*[/\\][^\s'\"()<>\[\]{},;]*")
_SOURCE = re.compile(r"[\w-]+\.py(:\d+)?:?$")
WITHHELD = "its words are withheld: what may not be in them is not known"


def without_paths(text: str, paths: Iterable[str] = ()) -> str:
    """Return a text with ``[path]`` in place of these paths and of all that looks like one; code keeps its file's name."""
    for path in sorted((p for p in paths if p), key=len, reverse=True):
        text = text.replace(path, "[path]")
    return _PATH.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    found = match.group()
    if found.startswith(_OURS):
        return found
    source = _SOURCE.search(found)
    return source.group() if source else "[path]"


def masker() -> Callable[[str], str]:
    """Return a function that masks every name, id, date and UID that is known under this key.

    Raises
    ------
    DatasetError, OSError
        If what is known cannot be read.
    """
    from lungpipe.dicom.memory import all_terms
    from lungpipe.dicom.pseudonymise import table_path
    from lungpipe.identity import Term, known_terms
    from lungpipe.identity.matcher import Matcher

    return Matcher(known_terms(table_path(), [Term(kind, text) for kind, text in all_terms()])).masked


def screened(error: BaseException, paths: Iterable[str] = ()) -> str:
    """Message of an error without paths and identities, on one line."""
    if isinstance(error, CaseError):  # these are written to the tables, so they name nobody
        return error.message
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(without_paths(words, paths).split())
    try:
        return masker()(text) if text else ""
    except Exception:  # noqa: BLE001  telling an error must not raise another
        return WITHHELD
