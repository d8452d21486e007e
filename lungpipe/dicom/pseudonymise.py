"""Pseudonyms: a keyed hash of every identifier, the same in every run of the same key."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from lungpipe.errors import DatasetError

KEY_VARIABLE = "LUNGPIPE_KEY_FILE"
_PREFIX = {"patient": "P", "study": "T", "series": "S", "instance": "I", "nodule": "N", "file": "F"}
_LENGTH = 12  # base-32 digits: 60 bits, one accidental clash in a million names has odds of 4e-7
#: Of the digest, as many as give them: five bytes make eight digits.
_BYTES = 10
_MIN_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Pseudonymiser:
    """Replace identifiers by HMAC-SHA-256 under the user's key (RFC 2104).

    Parameters
    ----------
    key : bytes
        The user's secret. Without it nobody can test a guess of an identifier against a pseudonym.
    """

    key: bytes = field(repr=False)
    _seen: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def __call__(self, kind: str, identifier: str) -> str:
        """Pseudonym of an identifier.

        Parameters
        ----------
        kind : str
            ``"patient"``, ``"study"``, ``"series"``, ``"instance"``, ``"nodule"`` or ``"file"`` (a path).
        identifier : str
            As the archive or annotation file has it. Empty stays empty.
        """
        if not identifier:
            return ""
        known = self._seen.get((kind, identifier))
        if known is None:
            digest = hmac.digest(self.key, f"{kind}\0{identifier}".encode(), "sha256")
            known = f"{_PREFIX[kind]}-{base64.b32encode(digest[:_BYTES]).decode()[:_LENGTH]}"
            self._seen[kind, identifier] = known
        return known

    def uid(self, uid: str) -> str:
        """Return the UID that takes the place of another, under the root for UUIDs (DICOM PS3.5 B.2).

        Its number is the first 128 bits of HMAC-SHA-256, so references between files still meet after each file was
        treated alone, in any run. It is not kept for the table: an archive has millions. Empty stays empty.
        """
        if not uid:
            return ""
        digest = hmac.new(self.key, f"uid\0{uid}".encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that tell two keys apart and give neither away."""
        return hmac.new(self.key, b"fingerprint", hashlib.sha256).hexdigest()[:8]

    def write_table(self, path: Path) -> None:
        """Add what was pseudonymised to the table ``kind, original, pseudonym`` that only the key's owner reads.

        The table lives beside the key, never in a workspace.
        """
        rows = dict(self._seen)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                rows.update({(kind, original): pseudonym for kind, original, pseudonym in csv.reader(stream)})
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows((*name, pseudonym) for name, pseudonym in sorted(rows.items()))
        temporary.replace(path)


def key_path() -> Path:
    """Where the key is: ``$LUNGPIPE_KEY_FILE``, else ``lungpipe/pseudonym.key`` in the user's configuration folder."""
    named = os.environ.get(KEY_VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "lungpipe" / "pseudonym.key"


def load_pseudonymiser() -> tuple[Pseudonymiser, bool]:
    """Read the user's key, or make one on first use.

    Returns
    -------
    pseudonymiser : Pseudonymiser
    made : bool
        Whether the key was made just now; the caller says so once.

    Raises
    ------
    DatasetError
        If ``$LUNGPIPE_KEY_FILE`` names a file that is missing or too short.
    """
    path = key_path()
    made = False
    if not path.is_file():
        if os.environ.get(KEY_VARIABLE):
            raise DatasetError(f"{KEY_VARIABLE} names {path}, which does not exist; create it or unset the variable")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass  # another run made it between the two looks
        else:
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(32) + "\n")
            made = True
    key = path.read_bytes().strip()
    if len(key) < _MIN_KEY_BYTES:
        raise DatasetError(f"the pseudonym key in {path} has {len(key)} bytes; it needs at least {_MIN_KEY_BYTES}")
    return Pseudonymiser(key), made


def table_path() -> Path:
    """Where the table of pseudonyms is kept: beside the key."""
    return key_path().with_suffix(".table.csv")
