"""Tell what happens in a run, once, to all that listen."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.watching import here, logs
from lungpipe.watching.events import RunEnded, ScanEnded, ScansExpected, StageBegan, StageEnded
from lungpipe.watching.metrics import metrics
from lungpipe.watching.screen import screened
from lungpipe.watching.spans import spans
from lungpipe.watching.state import State
from lungpipe.watching.status_file import kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lungpipe.scan import ScanResult
    from lungpipe.store.place import Place
    from lungpipe.watching.events import Event, Listener

log = logging.getLogger(__name__)


class Watch:
    """What a run tells of itself, from any of its threads.

    Parameters
    ----------
    state : State
        What is known of the run; brought up to date before anybody is told.
    listeners : iterable of Listener
    """

    def __init__(self, state: State, listeners: Iterable[Listener] = ()) -> None:
        self.state = state
        self._listeners = list(listeners)
        self._lock = threading.RLock()

    @property
    def run_id(self) -> str:
        """UUID of the run."""
        return self.state.run

    def listen(self, listener: Listener) -> None:
        """Add one that is told."""
        self._listeners.append(listener)

    def tell(self, event: Event) -> None:
        """Tell all that listen; one that fails is told nothing more, and the run goes on."""
        with self._lock:
            self.state.take(event)
            for listener in tuple(self._listeners):
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001  whatever it is, watching never stops a run
                    self._listeners.remove(listener)
                    log.warning("a part of watching failed and is off for this run: %s", type(error).__name__)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell that a stage begins, and how it ended."""
        began = time.perf_counter()
        failure = ""
        self.tell(StageBegan(name))
        try:
            yield
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self.tell(StageEnded(name, time.perf_counter() - began, failure))

    def expect(self, scans: Iterable[tuple[str, str]], patients: Iterable[str]) -> None:
        """Tell which scans will come, by series and patient, and which patients have records already."""
        with self._lock:
            self.state.expect(scans, patients)
        self.tell(ScansExpected(self.state.total))

    def scan(self, result: ScanResult) -> None:
        """Tell what became of a scan."""
        self.tell(ScanEnded(result))

    def now(self) -> dict[str, Any]:
        """What is known now; see :meth:`State.as_dict`."""
        with self._lock:
            return self.state.as_dict()

    def note(self) -> str:
        """Pace, time left and failures so far, for a line of progress."""
        with self._lock:
            return self.state.note()


@contextmanager
def watched(place: Place, title: str, *paths: str) -> Iterator[Watch]:
    """Watch a run while it lasts, and tell how it ended.

    ``status.json`` of the workspace is kept up to date. The log is written as JSON, metrics are served and spans sent where
    the environment asks for it; see ``docs/watching.md``. None of it can fail the run.

    Parameters
    ----------
    place : Place
        The workspace.
    title : str
        Of the recipe.
    *paths : str
        Of archive and annotations: they may name patients, so they are taken out of messages.

    Raises
    ------
    DatasetError
        If a variable that configures watching is wrong.
    """
    with ExitStack() as stack:
        stack.enter_context(logs.json_log())
        state = State(here.next_run(paths), title)
        watch = Watch(state, [logs.tell])
        for listener in (metrics, spans):
            try:
                watch.listen(stack.enter_context(listener(state)))
            except DatasetError:
                raise
            except Exception as error:  # noqa: BLE001  such as a variable of OpenTelemetry that is no number
                log.warning("%s cannot be given (%s); the run goes on", listener.__name__, type(error).__name__)
        watch.listen(stack.enter_context(kept(place, watch)))
        try:
            yield watch
        except Exception as error:
            watch.tell(RunEnded("failed", type(error).__name__, screened(error, paths)))
            raise
        except BaseException as error:
            watch.tell(RunEnded("interrupted", type(error).__name__))
            raise
        watch.tell(RunEnded("finished"))
