"""Audit a workspace: hold it against its ledger, prove that the search can see, then search for identities."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.identity.controls import Control, run_controls
from lungpipe.identity.matcher import Matcher
from lungpipe.identity.plants import make_canary
from lungpipe.identity.search import search
from lungpipe.store.verify import Finding, verify_workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lungpipe.identity.terms import Term
    from lungpipe.store.place import Place


#: Findings of one file that the text lists; the JSON has all.
MOST_LINES = 10


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found, and what it looked at.

    Parameters
    ----------
    findings : tuple of Finding
        Differences from the ledger, then identities; empty for a sound workspace.
    n_files, n_bytes : int
        Searched, containers as they lie on the disk.
    n_terms : int
        Names, ids, dates and the like that were searched for.
    n_not_searched : int
        Terms that cannot be searched for, because they are ordinary words of every workspace.
    controls : tuple of Control
        Where a made-up person was planted and found beforehand.
    """

    findings: tuple[Finding, ...]
    n_files: int
    n_bytes: int
    n_terms: int
    n_not_searched: int
    controls: tuple[Control, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing differs and nothing was found."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """JSON values; terms are masked."""
        return {
            "sound": self.sound,
            "files": self.n_files,
            "bytes": self.n_bytes,
            "terms": self.n_terms,
            "terms_not_searched": self.n_not_searched,
            "controls": [{"place": c.place, "copy_of_a_real_file": c.real} for c in self.controls],
            "findings": [
                {"kind": f.kind, "path": f.path, "place": f.place, "message": f.message} for f in self.findings
            ],
        }

    def as_text(self) -> str:
        """Lines for a person; terms are masked."""
        real = sum(control.real for control in self.controls)
        lines = [
            f"control: found the planted person in {', '.join(c.place for c in self.controls)} "
            f"({real} of {len(self.controls)} in copies of real files)",
            f"searched {self.n_files} files, {self.n_bytes / 1e6:.1f} MB, for {self.n_terms} terms",
        ]
        if self.n_not_searched:
            lines.append(f"{self.n_not_searched} terms are ordinary words and were not searched for")
        if self.sound:
            return "\n".join([*lines, "sound: every artefact is as the ledger says, and no identity was found"])
        counts = Counter(finding.kind for finding in self.findings)
        lines.append(
            f"{len(self.findings)} findings: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        )
        told: Counter[str] = Counter()
        for finding in self.findings:
            told[finding.path] += 1
            if told[finding.path] <= MOST_LINES:
                where = f"{finding.path} ({finding.place})" if finding.place else finding.path
                lines.append(f"  {finding.kind}: {where}: {finding.message}")
        lines += [f"  {path}: {n - MOST_LINES} more" for path, n in told.items() if n > MOST_LINES]
        return "\n".join(lines)


def audit_workspace(place: Place, terms: Iterable[Term], also: Sequence[Path] = ()) -> AuditReport:
    """Verify a workspace and search it, and other places, for identities.

    Parameters
    ----------
    place : Place
        The workspace; one that is no local folder is copied to a temporary one first.
    terms : iterable of Term
        See :func:`lungpipe.identity.known_terms`.
    also : sequence of Path
        Files and folders outside the workspace that are searched too, such as a workflow engine's database.

    Returns
    -------
    AuditReport

    Raises
    ------
    DatasetError
        If there is no workspace, or another place does not exist.
    LungpipeError
        If a control is not found.
    """
    differences = verify_workspace(place)
    with place.as_folder() as root:
        return _audit(root, differences, terms, also)


def _audit(root: Path, differences: list[Finding], terms: Iterable[Term], also: Sequence[Path]) -> AuditReport:
    canary = make_canary()
    looked_for = tuple(dict.fromkeys(terms))
    matcher = Matcher([*looked_for, *canary.terms])
    roots = [root, *also]
    controls = run_controls(roots, canary, matcher)
    seen = search(roots, matcher)
    # A file that should not be there may be called after a patient.
    told = [Finding(f.kind, matcher.masked_path(f.path), f.message, f.place) for f in differences]
    n_not_searched = len(matcher.unsearchable)
    return AuditReport(
        (*told, *seen.findings),
        seen.n_files,
        seen.n_bytes,
        len(looked_for) - n_not_searched,
        n_not_searched,
        tuple(controls),
    )
