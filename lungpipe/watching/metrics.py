"""Metrics of a run for Prometheus, where ``LUNGPIPE_METRICS_PORT`` asks for them."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.watching.events import RunEnded, ScanEnded, ScansExpected, StageBegan, StageEnded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.watching.events import Event, Listener
    from lungpipe.watching.state import State

PORT, ADDRESS = "LUNGPIPE_METRICS_PORT", "LUNGPIPE_METRICS_ADDRESS"
#: Seconds; stages of a scan take from milliseconds (all stands) to many minutes (a network without a GPU).
BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)

log = logging.getLogger(__name__)


@contextmanager
def metrics(state: State) -> Iterator[Listener]:
    """Serve metrics while the block lasts, on loopback unless ``LUNGPIPE_METRICS_ADDRESS`` names another address.

    Yields
    ------
    Listener

    Raises
    ------
    DatasetError
        If the port is no port.
    """
    asked = os.environ.get(PORT, "").strip()
    if not asked:
        yield lambda _: None
        return
    if not asked.isdigit() or int(asked) > 65535:
        raise DatasetError(f"{PORT} is {asked!r}; it is a port, 1 to 65535")
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        listener = _Metrics(registry, state)
        server, thread = start_http_server(int(asked), os.environ.get(ADDRESS, "127.0.0.1"), registry)
    except ImportError:
        log.warning("%s is set, but no metrics are served: pip install 'lungpipe[watching]'", PORT)
    except OSError as error:
        log.warning("%s is set, but no metrics are served: %s", PORT, error.strerror or error)
    else:
        try:
            yield listener
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        return
    yield lambda _: None


class _Metrics:
    """Counts events; ``docs/watching.md`` says what each name means."""

    def __init__(self, registry: Any, state: State) -> None:
        from prometheus_client import Counter, Gauge, Histogram, Info

        about: dict[str, Any] = {"namespace": "lungpipe", "registry": registry}
        Info("run", "The run that is watched.", **about).info(
            {"run": state.run, "lungpipe": metadata.version("lungpipe")}
        )
        self._expected = Gauge("scans_expected", "Scans that will be worked on or looked over.", **about)
        self._scans = Counter(
            "scans", "Scans that ended, by outcome and code of exclusion.", ["outcome", "code"], **about
        )
        for outcome in ("made", "reused"):  # there from the beginning: what is missing cannot be seen to stand still
            self._scans.labels(outcome, "")
        self._artefacts = Counter("artefacts", "Artefacts of scans made and reused.", ["kind", "result"], **about)
        self._in_scan = Histogram(
            "scan_stage_seconds", "Seconds of a scan by stage inside it.", ["stage"], buckets=BUCKETS_S, **about
        )
        self._stage = Gauge("stage_running", "1 for the stage that runs, 0 for those before it.", ["stage"], **about)
        self._took = Gauge("stage_seconds", "Seconds of finished stages of the run.", ["stage"], **about)
        self._failed = Gauge("run_failed", "1 once the run failed or was interrupted.", **about)
        beat = Gauge("heartbeat_timestamp_seconds", "When the status was written last, seconds since 1970.", **about)
        beat.set_function(lambda: state.beat_s)
        left = Gauge("scans_left_seconds", "Seconds that the rest of the scans takes; NaN while unknown.", **about)
        left.set_function(lambda: float("nan") if state.pace.left_s is None else state.pace.left_s)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case StageBegan(name):
                self._stage.labels(name).set(1)
            case StageEnded(name, seconds, _):
                self._stage.labels(name).set(0)
                self._took.labels(name).set(seconds)
            case ScansExpected(total):
                self._expected.set(total)
            case ScanEnded(result):
                self._scans.labels(event.outcome, event.code).inc()
                for kind, n in result.made.items():
                    self._artefacts.labels(kind, "made").inc(n)
                for kind, n in result.reused.items():
                    self._artefacts.labels(kind, "reused").inc(n)
                for stage, seconds in result.seconds.items():
                    self._in_scan.labels(stage).observe(seconds)
            case RunEnded(how, _, _):
                self._failed.set(how != "finished")
