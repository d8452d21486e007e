"""The proof that the audit can see: made-up people, planted in copies of real files, are found."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.errors import LungpipeError
from lungpipe.identity.matcher import Matcher
from lungpipe.identity.plants import PLANTS, Canary, Plant, make_canary
from lungpipe.identity.search import search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lungpipe.identity.terms import Term

#: A larger file is not copied for a control; one of its kind is made instead.
_LARGEST = 32 << 20


@dataclass(frozen=True, slots=True)
class Control:
    """One place where the made-up person was planted and found.

    Parameters
    ----------
    place : str
    real : bool
        Whether the file is a copy of one that the audit searches; else one of its kind was made.
    """

    place: str
    real: bool


def prove(root: Path | Sequence[Path], terms: Iterable[Term] = ()) -> list[Control]:
    """Plant a made-up name, id and date in a copy of a real file of each kind, and find them.

    Where the searched folders hold no file of a kind, or only large ones, one is made.

    Parameters
    ----------
    root : Path or sequence of Path
        Workspace, and other folders that the audit searches.
    terms : iterable of Term
        What the audit looks for besides, so that the controls run under the same load.

    Returns
    -------
    list of Control

    Raises
    ------
    LungpipeError
        If one is not found: the audit is blind there, and its silence would mean nothing.
    """
    canary = make_canary()
    return run_controls([root] if isinstance(root, Path) else root, canary, Matcher([*terms, *canary.terms]))


def run_controls(roots: Sequence[Path], canary: Canary, matcher: Matcher) -> list[Control]:
    """Run every control with a matcher that knows the canary; errors as :func:`prove`."""
    samples = _samples(roots)
    controls, blind = [], []
    with tempfile.TemporaryDirectory(prefix="lungpipe-control-") as name:
        for number, (place, (kind, seen_in, plant)) in enumerate(PLANTS.items()):
            folder = Path(name, str(number))
            real = _plant(folder, samples.get(kind), plant, canary)
            findings = search([folder], matcher).findings
            # A reader that fails must not pass because the bytes of a small file happen to be readable.
            found = {(f.kind, f.message) for f in findings if seen_in in f.place}
            missed = [term.kind for term in canary.terms if (term.kind, term.masked) not in found]
            if missed:
                blind.append(f"{place} ({', '.join(missed)})")
            controls.append(Control(place, real))
    if blind:
        raise LungpipeError(
            f"the identity audit did not find what it had planted in: {'; '.join(blind)}; its result would mean "
            "nothing, so none is given. This is a bug: please report it"
        )
    return controls


def _samples(roots: Sequence[Path]) -> dict[str, Path]:
    """The smallest file of each kind below the roots; of a zarr store, its folder."""
    best: dict[str, tuple[int, Path]] = {}
    for root in roots:
        for path in [root] if root.is_file() else root.rglob("*"):
            try:
                kind = _kind_of(path)
                if kind is not None:
                    size = path.stat().st_size
                    if size <= _LARGEST and (kind not in best or size < best[kind][0]):
                        best[kind] = (size, path)
            except OSError:
                continue
    return {kind: path for kind, (_, path) in best.items()}


def _kind_of(path: Path) -> str | None:
    if path.name == "zarr.json":
        return "zarr" if b'"group"' in path.read_bytes() and path.parent.suffix == ".zarr" else None
    kinds = {".parquet": "parquet", ".json": "json", ".html": "html", ".log": "log", ".db": "sqlite", ".png": "png"}
    kind = kinds.get(path.suffix)
    return kind if kind and path.is_file() and path.stat().st_size else None


def _plant(folder: Path, sample: Path | None, plant: Plant, canary: Canary) -> bool:
    """Plant in a copy of the sample, else in a file made for it; whether it was a copy."""
    if sample is not None:
        try:
            folder.mkdir()
            if sample.name == "zarr.json":  # the group alone: its attributes are what is changed
                (folder / "copy.zarr").mkdir()
                copied = folder / "copy.zarr" / "zarr.json"
            else:
                copied = folder / f"copy{sample.suffix}"
            plant(folder, Path(shutil.copyfile(sample, copied)), canary)
        except Exception:  # noqa: BLE001  a damaged sample is told by the search itself
            shutil.rmtree(folder)
        else:
            return True
    folder.mkdir()
    plant(folder, None, canary)
    return False
