"""The command ``compare``: what two runs share and what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    run_a: Annotated[str, typer.Argument(help="Workspace of a finished run: folder or address.", metavar="RUN_A")],
    run_b: Annotated[str, typer.Argument(help="Workspace to hold against it.", metavar="RUN_B")],
    out: Annotated[Path | None, typer.Option(help="Write a self-contained page too: FILE.html.")] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit 1 if cohort, features or scores differ; settings and versions do not count."
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Say what changed between two runs in settings, cohort, features and scores; both are only read.

    Nodules are matched by pseudonym, or under different keys by the content of scan and mask. AUCs are compared on the nodules
    that both predicted: DeLong's test with patients as the unit, Holm's adjustment.

    Example: lungpipe compare results results-of-last-week --out changes.html
    """
    from lungpipe.comparing.account import account
    from lungpipe.comparing.compare import compare_runs
    from lungpipe.errors import DatasetError
    from lungpipe.report.comparison import comparison_html
    from lungpipe.store.place import write_atomically

    if out is not None and out.suffix != ".html":
        raise DatasetError(f"--out {out}: expected a name that ends in .html")
    found = compare_runs(run_a, run_b)
    if out is not None:
        write_atomically(out, comparison_html(found).encode())
    print(json.dumps(found.as_dict(), indent=1) if json_ else account(found))  # noqa: T201  the command line's own output
    if strict and found.results_differ:
        raise SystemExit(1)
