"""Hold a workspace against its ledger: what is missing, changed, or known to nobody."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.errors import DatasetError
from lungpipe.store.ledger import digest_files, digest_folder
from lungpipe.store.tables import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Tables that indexing alone writes; the others come with a run.
_OF_INDEX = ("series", "exclusions")
_HEX_DIGITS = 64
#: What reading a damaged file may raise; pyarrow's errors are ValueError, KeyError, OSError or of these by inheritance.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Parameters
    ----------
    kind : str
        Of :func:`verify_workspace`: ``"damaged_entry"``, ``"missing_output"``, ``"changed_output"``, ``"orphan"``,
        ``"leftover"``, ``"missing_table"``, ``"damaged_table"``, ``"wrong_table"``, ``"missing_artefact"``. Of the
        identity audit: the kind of the term that was found, ``"unsearched"``, or ``"more"``.
    path : str
        Relative to the workspace, with ``/``.
    message : str
        What was expected and what was found.
    place : str
        Where inside the file.
    """

    kind: str
    path: str
    message: str
    place: str = ""


def verify_workspace(root: Path) -> list[Finding]:
    """Hold every artefact of a workspace against the ledger, and every table against its schema and artefacts.

    Every ledger entry's outputs are hashed. An output that several entries name (a mask that a later run made again)
    is sound if one of them has its hash.

    Parameters
    ----------
    root : Path
        The workspace.

    Returns
    -------
    list of Finding
        Empty for a sound workspace; sorted by path and kind.

    Raises
    ------
    DatasetError
        If there is no workspace. A damaged one never raises.
    """
    if not root.is_dir():
        raise DatasetError(f"no workspace at {root}; name the folder that `lungpipe run --workspace` wrote")
    if not any((root / name).exists() for name in ("ledger", "tables", "run.json")):
        raise DatasetError(f"{root} is no workspace: it has neither ledger nor tables nor run.json")
    findings: list[Finding] = []
    claimed = _claims(root, findings)
    findings += _outputs(root, claimed)
    findings += _orphans(root, claimed)
    findings += _tables(root, claimed)
    return sorted(dict.fromkeys(findings), key=lambda f: (f.path, f.kind, f.place, f.message))


def _claims(root: Path, findings: list[Finding]) -> dict[str, set[str]]:
    """Hashes that the ledger has for each output; damaged entries become findings."""
    claimed: dict[str, set[str]] = {}
    for path in _children(root / "ledger"):
        shown = f"ledger/{path.name}"
        if path.name.startswith("."):
            findings.append(Finding("leftover", shown, "a file that was not finished; it can be deleted"))
            continue
        try:
            entry = json.loads(path.read_bytes())
            outputs = {str(name): str(digest) for name, digest in entry["outputs"].items()}
            expected = f"{entry['kind']}-{entry['id']}.json"
        except _DAMAGE as error:
            findings.append(
                Finding("damaged_entry", shown, f"the ledger entry cannot be read ({type(error).__name__})")
            )
            continue
        if expected != path.name:
            findings.append(Finding("damaged_entry", shown, "the entry's kind and id are not those of its file name"))
        for name, digest in outputs.items():
            parts = PurePosixPath(name).parts
            if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
                findings.append(Finding("damaged_entry", shown, "the entry names an output outside the workspace"))
            elif not re.fullmatch(f"[0-9a-f]{{{_HEX_DIGITS}}}", digest):
                findings.append(Finding("damaged_entry", shown, "the entry holds something that is no SHA-256"))
            else:
                claimed.setdefault(name, set()).add(digest)
    return claimed


def _outputs(root: Path, claimed: Mapping[str, set[str]]) -> Iterator[Finding]:
    for name, digests in claimed.items():
        path = root / name
        try:
            if not path.exists():
                yield Finding("missing_output", name, "the ledger names it, but it is not there; run the recipe again")
            elif (digest_folder(path) if path.is_dir() else digest_files([path])) not in digests:
                message = "its content is not what the ledger recorded; run the recipe again to make it anew"
                yield Finding("changed_output", name, message)
        except OSError as error:
            yield Finding("changed_output", name, f"it cannot be read ({type(error).__name__})")


def _orphans(root: Path, claimed: Mapping[str, set[str]]) -> Iterator[Finding]:
    known = {parent.as_posix() for name in claimed for parent in (PurePosixPath(name), *PurePosixPath(name).parents)}
    for folder in ("volumes", "parts"):
        for path in _children(root / folder):
            shown = f"{folder}/{path.name}"
            if path.name.startswith("."):
                yield Finding("leftover", shown, "it was not finished; it can be deleted")
            elif shown not in known:
                yield Finding("orphan", shown, "no ledger entry names it; run the recipe again, or delete it")
            elif folder == "volumes":
                yield from _orphan_masks(path, shown, known)
            else:
                for part in _children(path):
                    if f"{shown}/{part.name}" not in known:
                        yield Finding("orphan", f"{shown}/{part.name}", "no ledger entry names it; delete it")


def _orphan_masks(volume: Path, shown: str, known: set[str]) -> Iterator[Finding]:
    for nodule in _children(volume / "masks"):
        if not nodule.is_dir():
            continue
        for mask in _children(nodule):
            name = f"{shown}/masks/{nodule.name}/{mask.name}"
            if mask.is_dir() and name not in known:
                yield Finding("orphan", name, "no ledger entry names this mask; run the recipe again, or delete it")


def _tables(root: Path, claimed: Mapping[str, set[str]]) -> Iterator[Finding]:
    required = set(SCHEMAS) if (root / "run.json").exists() else set(_OF_INDEX)
    seen = {path.stem for path in _children(root / "tables") if path.suffix == ".parquet"}
    for name in sorted(required - seen):
        yield Finding("missing_table", f"tables/{name}.parquet", "the table is not there; run the recipe again")
    for path in _children(root / "tables"):
        shown = f"tables/{path.name}"
        if path.name.startswith("."):
            yield Finding("leftover", shown, "a file that was not finished; it can be deleted")
            continue
        if path.suffix != ".parquet":
            continue
        try:
            frame = pd.read_parquet(path)
            if path.stem in SCHEMAS:
                yield from (Finding("wrong_table", shown, message) for message in _faults(path.stem, frame))
            yield from _rows(root, path.stem, frame, claimed)
        except _DAMAGE as error:
            yield Finding("damaged_table", shown, f"the table cannot be read ({type(error).__name__})")


def _faults(name: str, frame: pd.DataFrame) -> Iterator[str]:
    """Where a table differs from its schema; cells are not quoted."""
    schema = SCHEMAS[name]
    missing = [column for column in schema.columns if column not in frame]
    extra = [str(column) for column in frame if column not in schema.columns]
    wrong = [c for c, kind in schema.columns.items() if c in frame and len(frame) and not _is(frame[c], kind)]
    wrong += [c for c in extra if schema.open and not _is(frame[c], "float64")]
    if missing:
        yield f"columns are missing: {', '.join(missing)}"
    if extra and not schema.open:
        yield f"{len(extra)} columns are not in the schema"
    if wrong:
        yield f"columns have another type than the schema says: {', '.join(wrong[:10])}"
    if schema.keys and not missing:
        repeated = int(frame.duplicated(list(schema.keys)).sum())
        if repeated:
            yield f"{repeated} rows repeat a key"


def _is(column: pd.Series[Any], kind: str) -> bool:
    if kind == "str":
        return bool(pd.api.types.is_string_dtype(column)) or bool(column.isna().all())
    return str(column.dtype).lower() == kind.lower()


def _rows(root: Path, name: str, frame: pd.DataFrame, claimed: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Rows whose volume or mask is missing or not in the ledger."""
    if "volume_id" not in frame:
        return
    shown = f"tables/{name}.parquet"
    ids = {str(one) for one in frame["volume_id"].dropna() if one}
    for volume in sorted(ids):
        path = f"volumes/{volume}.zarr"
        if not (root / path / "zarr.json").is_file():
            yield Finding("missing_artefact", path, f"{shown} has rows of it, but it is not there")
        elif not any(output.startswith(f"{path}/") for output in claimed):
            yield Finding("missing_artefact", path, f"{shown} has rows of it, but the ledger does not know it")
    if name != "nodules" or not {"nodule_id", "segmenter", "mask_id"} <= set(frame):
        return
    columns = ("volume_id", "nodule_id", "segmenter", "mask_id")
    for volume, nodule, segmenter, mask_id in zip(*(frame[c].astype(str) for c in columns), strict=True):
        path = f"volumes/{volume}.zarr/masks/{nodule}/{segmenter}"
        try:
            recorded = json.loads((root / path / "zarr.json").read_bytes())["attributes"]["content_id"]
        except _DAMAGE as error:
            yield Finding("missing_artefact", path, f"{shown} names this mask; reading it gave {type(error).__name__}")
            continue
        if recorded != mask_id:
            yield Finding("missing_artefact", path, f"{shown} has another mask_id than the mask itself")


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
