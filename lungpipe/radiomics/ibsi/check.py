"""Every published row of IBSI 1 beside ours.

``python -m lungpipe.radiomics.ibsi.check FOLDER [--out TABLE.csv]``
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.errors import LungpipeError
from lungpipe.radiomics.ibsi.reference import Reference, read_references, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.radiomics.ibsi.profile import ProfileRow

#: What may become of a published row.
PASS, FAIL, UNPUBLISHED, NOT_OFFERED = "pass", "FAIL", "no published value", "not offered"
_HEADER = (
    "config",
    "family",
    "feature",
    "ibsi_code",
    "aggregation",
    "tag",
    "published",
    "tolerance",
    "ours",
    "verdict",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A published row, our value, and whether they agree.

    Parameters
    ----------
    reference : Reference
    ours : float, optional
        None where there is no such row in our profile.
    verdict : str
        ``"pass"``, ``"FAIL"``, ``"no published value"`` (IBSI found no consensus; we have a number) or ``"not offered"``.
    """

    reference: Reference
    ours: float | None
    verdict: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table, as text."""
        one = self.reference
        published = "" if one.value is None else f"{one.value:.15g}"
        tolerance = "" if one.tolerance is None else f"{one.tolerance:.15g}"
        ours = "" if self.ours is None else f"{self.ours:.6g}"
        names = (one.config, one.family, one.feature, one.ibsi_code, one.aggregation, one.tag)
        return (*names, published, tolerance, ours, self.verdict)


def judge(references: Sequence[Reference], data: Path) -> list[Verdict]:
    """Compute every configuration that is referred to and hold each published row against ours, none left out.

    Parameters
    ----------
    references : sequence of Reference
    data : Path
        Holds the phantoms, see :func:`lungpipe.radiomics.ibsi.reference.rows_of`.
    """
    found = []
    for config in dict.fromkeys(reference.config for reference in references):
        ours = {row.tag: row for row in rows_of(config, data)}
        found += [_verdict(one, ours.get(one.tag)) for one in references if one.config == config]
    return found


def _verdict(reference: Reference, ours: ProfileRow | None) -> Verdict:
    same_feature = ours is not None and (ours.ibsi_code, ours.aggregation) == (
        reference.ibsi_code,
        reference.aggregation,
    )
    if ours is None or not same_feature or math.isnan(ours.value):
        return Verdict(reference, None, NOT_OFFERED)
    if reference.value is None:
        return Verdict(reference, ours.value, UNPUBLISHED)
    return Verdict(reference, ours.value, PASS if reference.is_met(ours.value) else FAIL)


def summary(verdicts: Sequence[Verdict]) -> list[str]:
    """One line a configuration: how many rows there are, and what became of them."""
    lines = []
    for config in dict.fromkeys(one.reference.config for one in verdicts):
        counts = Counter(one.verdict for one in verdicts if one.reference.config == config)
        parts = ", ".join(f"{counts[name]} {name}" for name in (PASS, FAIL, NOT_OFFERED, UNPUBLISHED))
        lines.append(f"{config}: {counts.total()} rows: {parts}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the table; 0 if no published value is missed, 1 if one is, 2 if a file is not there."""
    parser = argparse.ArgumentParser(prog="python -m lungpipe.radiomics.ibsi.check", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="holds ibsi-reference/ibsi1_*.csv, ibsi1-digital-phantom/ and ibsi1-ct-phantom/"
    )
    parser.add_argument("--out", type=Path, default=None, help="CSV file for the table, besides the printed one")
    given = parser.parse_args(arguments)
    try:
        verdicts = judge(read_references(given.folder / "ibsi-reference"), given.folder)
    except LungpipeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    table = [_HEADER, *(one.cells for one in verdicts)]
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        with given.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    widths = [max(len(row[k]) for row in table) for k in range(len(_HEADER))]
    for row in table:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    sys.stdout.write("\n" + "\n".join(summary(verdicts)) + "\n")
    return int(any(one.verdict == FAIL for one in verdicts))


if __name__ == "__main__":
    sys.exit(main())
