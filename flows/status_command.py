"""The command ``status``: how a run is, while it lasts and after."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.store.place import Place

#: Exit status where the run needs somebody.
NOT_WELL = 3


def status(
    workspace: Annotated[str, typer.Argument(help="Workspace of a run: folder or address.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Say how the run in a workspace is: stage, pace, time left and failures while it lasts, what it came to after.

    Exit 0 if it runs well or finished, 3 if it failed, was interrupted, died or is silent, 2 if there is no run.

    Example: lungpipe status results
    """
    from lungpipe.store.place import Place

    found = _look(Place.at(workspace))
    if json_:
        print(json.dumps(found, indent=1))  # noqa: T201  the command line's own output
    else:
        _show(found)
    if found["condition"] not in {"running", "finished"}:
        raise SystemExit(NOT_WELL)


def _look(place: Place) -> dict[str, Any]:
    """What ``status.json`` says, with what its process, the tables and the page say."""
    from lungpipe.errors import DatasetError
    from lungpipe.watching.status_file import condition, read_status

    found = read_status(place)
    if found is None:
        found = _before_status(place)
    if found is None:
        raise DatasetError(f"no run was begun in {place}; name what `lungpipe run` writes to (its --workspace)")
    found = {"workspace": str(place), "condition": condition(found), **found}
    if found["condition"] == "finished":
        page = "report/index.html"
        found["exclusions"] = _exclusions(place)
        found["report"] = f"{place}/{page}" if place.exists(page) else None
    return found


def _before_status(place: Place) -> dict[str, Any] | None:
    """What ``run.json`` says of a run by a version that kept no status; None if there was none."""
    try:
        run = json.loads(place.read("run.json"))
    except FileNotFoundError:
        return None
    counts = run.get("scans", {})
    made, reused = counts.get("processed", 0), counts.get("reused", 0)
    done = made + reused + counts.get("excluded", 0)
    return {
        "run": None,
        "title": run.get("title", ""),
        "stages": run.get("timings_s", {}).get("stages", {}),
        "scans": {"of": done, "done": done, "made": made, "reused": reused, "excluded": None},
        "end": {"how": "finished", "at_s": None, "error": "", "message": ""},
    }


def _exclusions(place: Place) -> dict[str, int] | None:
    """Rows of the table of exclusions by code, the commonest first; None if there is no table."""
    from lungpipe.store.tables import read_table

    path = "tables/exclusions.parquet"
    if not place.exists(path):
        return None
    return {str(code): int(n) for code, n in read_table(place, path)["code"].value_counts().items()}


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    colour = {"running": "green", "finished": "green"}.get(found["condition"], "red")
    console.print(f"[bold]{found['title']}[/bold]" if found["title"] else "a run", end="  ")
    console.print(f"[bold {colour}]{found['condition']}[/]")
    for line in _sentences(found):
        console.print(line, markup=False)
    rows = Table.grid(padding=(0, 2))
    for label, value in _rows(found):
        rows.add_row(label, value)
    console.print(rows)
    if found.get("report"):
        console.print(found["report"], markup=False)


def _sentences(found: dict[str, Any]) -> Iterator[str]:
    """What a person must know first."""
    from lungpipe.watching.pace import duration

    resume = "what is done is kept; resume with the same command"
    how, end = found["condition"], found["end"]
    if how == "running":
        yield f"process {found['pid']} on {found['host']}, since {duration(time.time() - found['began_s'])}"
    elif how == "died":
        yield f"stopped without a word at {_clock(found['heartbeat_s'])} or soon after; {resume}"
    elif how == "silent":
        yield (
            f"process {found['pid']} on {found['host']} is there but wrote nothing since {_clock(found['heartbeat_s'])}: "
            "it was stopped, or cannot write to the workspace"
        )
    elif end["at_s"] is not None:
        took = f"at {_clock(end['at_s'])}, after {duration(end['at_s'] - found['began_s'])}"
        yield took if how == "finished" else f"{took}; {resume}"
    if end and end["error"] and how == "failed":
        yield f"{end['error']}: {end['message']}"


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from lungpipe.watching.pace import duration, rate

    scans, stage = found["scans"], found.get("stage")
    if stage:
        step = found.get("step")
        yield "stage", f"{stage}: {step['title']} {step['done']}/{step['of']}" if step else stage
    if scans["of"]:
        words = [f"{scans['done']} of {scans['of']}", f"{scans['made']} made", f"{scans['reused']} reused"]
        yield "scans", ", ".join(words)
    if found["condition"] == "running" and scans["per_min"] is not None and scans["done"] < scans["of"]:
        left = "" if scans["left_s"] is None else f", {duration(scans['left_s'])} left"
        yield "pace", f"{rate(scans['per_min'])}{left}"
    for code, n in (scans["excluded"] or {}).items():
        yield "scan excluded", f"{n} {code}"
    for code, n in (found.get("exclusions") or {}).items():
        yield "left out", f"{n} {code}"
    if found["stages"]:
        yield "took", ", ".join(f"{name} {duration(seconds)}" for name, seconds in found["stages"].items())


def _clock(seconds: float) -> str:
    """A moment as the clock on this machine's wall shows it, with its date."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
