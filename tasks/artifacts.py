"""What a run shows in Prefect: how far the scans are, what was left out, the honest AUC, and where the report is.

All of it is a view of what the workspace holds, under pseudonyms, and none of it can fail a run: a server that does not
answer is said once, and the run goes on without.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import runtime
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from lungpipe.store.tables import read_table
from tasks.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lungpipe.scan import ScanResult
    from lungpipe.store.place import Place

#: Seconds between two updates of the progress.
EVERY_S = 10.0
#: Seconds that the end of a stage waits for the last one.
_LAST_S = 5.0
#: Columns of the row of the honest choice that are shown.
_AUC_COLUMNS = ("dataset", "n", "n_patients", "auc", "auc_low", "auc_high", "brier")


def run_name() -> str:
    """Name of the flow run that is starting: the recipe's stem and the workspace's last part."""
    given = runtime.flow_run.parameters
    return f"{Path(str(given.get('recipe', 'run'))).stem} in {_last_part(str(given.get('workspace', '')))}"


@contextmanager
def shown_progress(
    title: str, place: Place, total: int, tell: Callable[[ScanResult], None]
) -> Iterator[Callable[[ScanResult], None]]:
    """Show in Prefect how often ``tell`` was called, at most every :data:`EVERY_S`; a thread of its own waits for the server.

    Yields a function to be called instead of ``tell``, from any thread. Outside a flow run it is ``tell`` itself.
    """
    if FlowRunContext.get() is None or not total:
        yield tell
        return
    done = 0
    one_at_a_time, over = threading.Lock(), threading.Event()

    def counted(result: ScanResult) -> None:
        nonlocal done
        with one_at_a_time:
            done += 1
        tell(result)

    def show() -> None:
        with _never_fatal():
            words = f"{title} of {_last_part(str(place))}"
            one: Any = create_progress_artifact(0.0, key=_key(place, title), description=words)
            shown = 0
            while not over.wait(EVERY_S) or shown != done:
                if shown != done:
                    shown = done
                    update_progress_artifact(one, 100.0 * shown / total, f"{words}: {shown} of {total}")

    thread = threading.Thread(target=copy_context().run, args=(show,), name=f"progress of {title}", daemon=True)
    thread.start()
    try:
        yield counted
    finally:
        over.set()
        thread.join(_LAST_S)


def show_results(place: Place, report: str, title: str) -> None:
    """Show exclusions by code, the honest AUC where there is one, and where the report is.

    Parameters
    ----------
    place : Place
        The workspace, its tables written.
    report : str
        Address of the page.
    title : str
        Of the run.
    """
    if FlowRunContext.get() is None:
        return
    with _never_fatal():
        exclusions = read_table(place, "tables/exclusions.parquet")
        codes = Counter(zip(exclusions["stage"], exclusions["code"], strict=True))
        rows = [{"stage": stage, "code": code, "cases": n} for (stage, code), n in sorted(codes.items())]
        words = f"What was left out of {_last_part(str(place))}"
        create_table_artifact(rows or [{"stage": "", "code": "nothing", "cases": 0}], _key(place, "exclusions"), words)
        if place.exists("tables/scores.parquet"):
            scores = read_table(place, "tables/scores.parquet")
            honest: Any = scores.loc[scores["selection"] == "inside", list(_AUC_COLUMNS)].astype(object)
            words = "Configuration chosen inside the training folds; the interval counts patients"
            create_table_artifact(honest.to_dict("records"), _key(place, "auc"), words)
        page = f"**{title}**: the report is `{report}`\n"
        create_markdown_artifact(page, _key(place, "report"), f"Report of {_last_part(str(place))}")


@contextmanager
def _never_fatal() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  a picture of the run is never worth the run
        _say_once(str(runtime.flow_run.id), type(error).__name__)


@cache
def _say_once(_flow_run: str, kind: str) -> None:
    say(f"Prefect shows no progress or tables of this run ({kind}); the run goes on, the workspace has them")


def _key(place: Place, what: str) -> str:
    """Key of an artifact: small letters, digits and dashes; one a workspace, so that Prefect shows its history."""
    return f"{re.sub(r'[^a-z0-9]+', '-', _last_part(str(place)).lower()).strip('-') or 'run'}-{what}"


def _last_part(workspace: str) -> str:
    return workspace.rstrip("/").rsplit("/", 1)[-1]
