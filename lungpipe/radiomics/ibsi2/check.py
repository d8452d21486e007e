"""Every published value of IBSI 2's CT phantom beside ours: ``python -m lungpipe.radiomics.ibsi2.check CSV FOLDER``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.errors import LungpipeError
from lungpipe.radiomics.ibsi2.phantom import CONFIGURATIONS, prepare, read_references, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.radiomics.ibsi2.phantom import Reference

HEADER = f"{'':5}{'code':5} {'feature':36}{'published':>12}{'tolerance':>12}{'ours':>14}  pass"


def check(references: Sequence[Reference], folder: Path) -> tuple[list[str], int]:
    """Lines of the table, and how many values are missed.

    Parameters
    ----------
    references : sequence of Reference
    folder : Path
        The phantom, see :func:`lungpipe.radiomics.ibsi2.phantom.prepare`.
    """
    prepared = prepare(folder)
    lines, missed, published, cpu_s = [HEADER], 0, 0, {}
    for configuration in dict.fromkeys(reference.configuration for reference in references):
        if configuration not in CONFIGURATIONS:
            lines.append(f"{configuration}: not offered")
            missed += 1
            continue
        start = time.process_time()
        found = values_of(configuration, prepared[configuration[-1]])
        cpu_s[configuration] = time.process_time() - start
        for reference in references:
            if reference.configuration == configuration:
                published += reference.value is not None
                missed += not reference.is_met(found[reference.tag])
                lines.append(_line(reference, found[reference.tag]))
    lines.append("CPU seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in cpu_s.items()))
    lines.append(
        f"published values: {published}, missed: {missed}, without a published value: {len(references) - published}"
    )
    return lines, missed


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 if every published value is met, 1 if not, 2 if a file is not there."""
    parser = argparse.ArgumentParser(prog="python -m lungpipe.radiomics.ibsi2.check", description=__doc__)
    parser.add_argument("reference_csv", type=Path, help="ibsi2_ct_phantom_reference_values.csv")
    parser.add_argument("phantom_folder", type=Path, help="the CT phantom, with nifti/image and nifti/mask")
    given = parser.parse_args(arguments)
    try:
        lines, missed = check(read_references(given.reference_csv), given.phantom_folder)
    except LungpipeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if missed else 0


def _line(reference: Reference, ours: float) -> str:
    if reference.value is None or reference.tolerance is None:
        published, tolerance, verdict = "none", "", "not published"
    else:
        published, tolerance = f"{reference.value:.3g}", f"{reference.tolerance:.3g}"
        verdict = "yes" if reference.is_met(ours) else "NO"
    name = f"{reference.configuration:5}{reference.code:5} {reference.feature:36}"
    return f"{name}{published:>12}{tolerance:>12}{ours:>14.6g}  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
