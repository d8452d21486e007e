"""A trace of a run in OpenTelemetry's terms, run > stage > scan, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lungpipe.watching.events import RunEnded, ScanEnded, StageBegan, StageEnded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.watching.events import Event, Listener
    from lungpipe.watching.state import State

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Spans that wait to be sent; more than that are dropped rather than kept in memory.
WAITING = 65536
#: How long the end of a run waits for a collector.
LAST_WAIT_S = 10.0

log = logging.getLogger(__name__)


@contextmanager
def spans(state: State) -> Iterator[Listener]:
    """Send spans while the block lasts; without a collector named in the environment nothing is imported.

    They have a tracer of their own: what the workflow engine would trace, parameters of flows included, is not sent.

    Yields
    ------
    Listener
    """
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or not any(os.environ.get(name, "").strip() for name in VARIABLES):
        yield lambda _: None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but no spans are sent: pip install 'lungpipe[watching]'", VARIABLES[1])
        yield lambda _: None
        return
    version = metadata.version("lungpipe")
    named = {"service.version": version}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        named["service.name"] = "lungpipe"
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=WAITING))
    tree = _Tree(provider.get_tracer("lungpipe", version), state)
    try:
        yield tree
    finally:
        # A collector that does not answer is tried again and again, for longer than anybody waits.
        ending = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(LAST_WAIT_S)
        if ending.is_alive():
            log.warning("the collector of spans did not answer within %g s; some are lost", LAST_WAIT_S)


class _Tree:
    """Makes the spans of a run from its events."""

    def __init__(self, tracer: Any, state: State) -> None:
        from opentelemetry import trace

        self._trace, self._tracer = trace, tracer
        about = {"lungpipe.run": state.run, "lungpipe.title": state.title}
        self._run = self._tracer.start_span("run", start_time=_ns(state.began_s), attributes=about)
        self._stage = self._run

    def __call__(self, event: Event) -> None:
        """Begin or end a span."""
        match event:
            case StageBegan(name):
                self._stage = self._begin(f"stage {name}", self._run, time.time(), {"lungpipe.stage": name})
            case StageEnded(_, _, failure):
                self._end(self._stage, time.time(), failure)
                self._stage = self._run
            case ScanEnded():
                self._scan(event)
            case RunEnded(how, error, _):
                self._run.set_attribute("lungpipe.outcome", how)
                self._end(self._run, time.time(), error or ("" if how == "finished" else how))

    def _scan(self, event: ScanEnded) -> None:
        """Span of a scan: as long as the worker had it, by the worker's clock; a moment where no worker lived to say it."""
        result = event.result
        measured = result.began_s > 0
        began_s = result.began_s if measured else time.time()
        about = {
            "lungpipe.scan": result.series_uid,
            "lungpipe.outcome": event.outcome,
            "lungpipe.times": "worker" if measured else "unknown",
            **({"lungpipe.code": event.code} if event.code else {}),
            **{f"lungpipe.seconds.{stage}": seconds for stage, seconds in result.seconds.items()},
        }
        span = self._begin("scan", self._stage, began_s, about)
        self._end(span, began_s + result.took_s, event.code)

    def _begin(self, name: str, parent: Any, at_s: float, about: dict[str, Any]) -> Any:
        context = self._trace.set_span_in_context(parent)
        return self._tracer.start_span(name, context, start_time=_ns(at_s), attributes=about)

    def _end(self, span: Any, at_s: float, failure: str) -> None:
        if failure:
            span.set_status(self._trace.StatusCode.ERROR, failure)
        span.end(_ns(at_s))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
