"""Spans of a run, received over OTLP and decoded."""

import subprocess
import sys
import time

import pytest
from event_server import Server

from lungpipe.errors import Exclusion
from lungpipe.scan import ScanResult
from lungpipe.store.place import Place
from lungpipe.watching import spans
from lungpipe.watching.watch import watched

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="pip install 'lungpipe[watching]'"
)
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'lungpipe[watching]'")


def received(server):
    """Spans that a collector got, each with its attributes as a dict."""
    found = []
    for path, headers, body in server.requests:
        assert path == "/v1/traces"
        assert headers["Content-Type"] == "application/x-protobuf"
        message = trace_service.ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert about["service.name"] == "lungpipe"
            found += [(s, {a.key: a.value for a in s.attributes}) for c in resource.scope_spans for s in c.spans]
    return found


@pytest.fixture
def collector(monkeypatch):
    server = Server()
    with server.running() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def test_a_run_is_one_trace_of_stages_and_scans(collector, tmp_path):
    """A scan's span lies under its stage and that under the run, with the worker's times, outcome, code and seconds."""
    late = Exclusion("scan", "timeout", "it ran longer than 9 s", "P-2", "S-2")
    began_s = time.time() - 100
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
        done = ScanResult("S-1", "P-1", made={"volume": 1}, seconds={"lung": 3.0}, began_s=began_s, took_s=3.5)
        watch.scan(done)
        watch.scan(ScanResult("S-2", "P-2", exclusion=late))
    found = received(collector)
    spans_of = {name: [(s, a) for s, a in found if s.name == name] for name in ("run", "stage scans", "scan")}
    ((run, about_run),), ((stage, _),), scans = spans_of.values()
    assert len(found) == 4
    assert {span.trace_id for span, _ in found} == {run.trace_id}
    assert (run.parent_span_id, stage.parent_span_id) == (b"", run.span_id)
    assert {span.parent_span_id for span, _ in scans} == {stage.span_id}
    assert about_run["lungpipe.run"].string_value == watch.run_id
    assert about_run["lungpipe.outcome"].string_value == "finished"
    (good, about_good), (bad, about_bad) = scans
    assert good.start_time_unix_nano == pytest.approx(began_s * 1e9, abs=1e3)
    assert good.end_time_unix_nano - good.start_time_unix_nano == pytest.approx(3.5e9, abs=1e3)
    assert about_good["lungpipe.scan"].string_value == "S-1"
    assert about_good["lungpipe.seconds.lung"].double_value == 3.0
    assert about_good["lungpipe.times"].string_value == "worker"
    assert (good.status.code, bad.status.code, bad.status.message) == (0, 2, "timeout")
    assert (about_bad["lungpipe.code"].string_value, about_bad["lungpipe.times"].string_value) == ("timeout", "unknown")
    assert bad.start_time_unix_nano == bad.end_time_unix_nano


def test_a_failed_run_is_a_failed_trace_without_words(collector, tmp_path):
    """The type of the error ends run and stage as errors; its words, which may name a patient, are not sent."""
    with pytest.raises(ValueError, match="Roe"), watched(Place.at(tmp_path), "t") as watch, watch.stage("curate"):
        raise ValueError("Jane Roe")
    found = received(collector)
    assert [(s.name, s.status.code, s.status.message) for s, _ in found] == [
        ("stage curate", 2, "ValueError"),
        ("run", 2, "ValueError"),
    ]
    assert not any(b"Roe" in body for _, _, body in collector.requests)


def test_a_collector_that_does_not_answer_costs_the_end_a_moment(monkeypatch, tmp_path, caplog):
    """Where nobody listens the run ends well, after a bounded wait."""
    monkeypatch.setattr(spans, "LAST_WAIT_S", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    began = time.monotonic()
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
        pass
    assert watch.state.end.how == "finished"
    assert time.monotonic() - began < 20


def test_a_wrong_variable_costs_a_warning(collector, monkeypatch, tmp_path, caplog):
    """What OpenTelemetry cannot understand is told, and the run goes on without spans."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(2 * spans.WAITING))
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
        pass
    assert watch.state.end.how == "finished"
    assert "spans cannot be given (ValueError)" in caplog.text
    assert not collector.requests


IMPORTS = """
import sys
from lungpipe.store.place import Place
from lungpipe.watching.watch import watched
with watched(Place.at(sys.argv[1]), "t") as watch, watch.stage("scans"):
    pass
print([name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client"))])
"""


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path, monkeypatch):
    """Without its variable neither spans nor metrics import a package."""
    for name in (*spans.VARIABLES, "LUNGPIPE_METRICS_PORT"):
        monkeypatch.delenv(name, raising=False)
    words = [sys.executable, "-c", IMPORTS, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "[]"
