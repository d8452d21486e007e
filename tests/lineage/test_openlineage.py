"""Events reach a real HTTP server in the form of OpenLineage; a dead one costs a run nothing but a warning."""

import logging
import subprocess
import sys
import time
import uuid
from itertools import pairwise

import jsonschema
import pytest
from event_server import RUN_EVENT, Server

from lungpipe.lineage.openlineage import Data, open_lineage, table_data
from lungpipe.store.schemas import SCHEMAS

pytest.importorskip("openlineage.client", reason="pip install 'lungpipe[provenance]'")
PARAMETERS = {"lungpipe": "0.1.0", "recipe_sha256": "ab" * 32, "code_sha256": "cd" * 32}


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy and none of the user's variables between the test and its server."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("URL", "ENDPOINT", "API_KEY", "NAMESPACE"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(monkeypatch):
    one = Server()
    with one.running() as address:
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        yield one


def run(**options):
    archive, series = Data("example/archive"), table_data("example", "series")
    with open_lineage("cohort", PARAMETERS, [archive], [series], **options) as events:
        with events.stage("curate", [archive], [series]):
            pass
        with events.stage("scans", [series], [table_data("example", "features")]):
            pass


def short(events):
    return [(event["eventType"], event["job"]["name"]) for event in events]


def test_a_run_and_its_stages_start_and_complete(server):
    run()
    assert short(server.events) == [
        ("START", "cohort"),
        ("START", "cohort.curate"),
        ("COMPLETE", "cohort.curate"),
        ("START", "cohort.scans"),
        ("COMPLETE", "cohort.scans"),
        ("COMPLETE", "cohort"),
    ]
    assert {path for path, _, _ in server.requests} == {"/api/v1/lineage"}
    times = [event["eventTime"] for event in server.events]
    assert all(before <= after for before, after in pairwise(times))


def test_every_event_has_the_form_of_the_standard(server):
    run()
    check = jsonschema.Draft202012Validator(RUN_EVENT, format_checker=jsonschema.FormatChecker())
    assert server.events
    for event in server.events:
        assert list(check.iter_errors(event)) == []
    spoilt = {**server.events[0], "run": {"runId": "not a UUID"}}
    assert len(list(check.iter_errors(spoilt))) == 1


def test_stages_have_runs_of_their_own_below_the_run(server):
    run(run_id="0190c0de-0000-7000-8000-000000000001")
    of = {(event["job"]["name"], event["run"]["runId"]) for event in server.events}
    assert len(of) == 3
    assert ("cohort", "0190c0de-0000-7000-8000-000000000001") in of
    for event in server.events:
        parent = event["run"]["facets"].get("parent")
        if event["job"]["name"] == "cohort":
            assert parent is None
        else:
            assert parent["run"]["runId"] == "0190c0de-0000-7000-8000-000000000001"
            assert parent["job"] == {"namespace": "lungpipe", "name": "cohort", "facets": {}}


def test_versions_digests_and_columns_are_facets(server):
    run()
    facets = server.events[0]["run"]["facets"]
    assert facets["processing_engine"]["version"] == "0.1.0"
    assert {one["key"]: one["value"] for one in facets["executionParameters"]["parameters"]} == PARAMETERS
    (output,) = server.events[3]["outputs"]
    assert output["name"] == "example/tables/features"
    found = {one["name"]: (one["type"], one["description"]) for one in output["facets"]["schema"]["fields"]}
    assert found == {one.name: (one.dtype, one.meaning) for one in SCHEMAS["features"].declared}
    assert "schema" not in server.events[0]["inputs"][0]["facets"]


def test_a_failure_is_told_by_its_type_alone(server):
    """Messages can name paths, and paths patients."""
    with (
        pytest.raises(ValueError, match="Roe"),
        open_lineage("cohort", PARAMETERS) as events,
        events.stage("scans"),
    ):
        raise ValueError("/archive/Roe^Jane is damaged")
    assert short(server.events)[-2:] == [("FAIL", "cohort.scans"), ("FAIL", "cohort")]
    assert server.events[-1]["run"]["facets"]["errorMessage"]["message"] == "ValueError"
    assert b"Roe" not in b"".join(body for _, _, body in server.requests)


def test_an_interruption_is_told(server):
    with pytest.raises(KeyboardInterrupt), open_lineage("cohort", PARAMETERS):
        raise KeyboardInterrupt
    assert short(server.events) == [("START", "cohort"), ("ABORT", "cohort")]


def test_the_standard_variables_are_honoured(server, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "my/events")
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "key-of-the-test")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "ward-3")
    run()
    path, headers, _ = server.requests[0]
    assert (path, headers["Authorization"]) == ("/my/events", "Bearer key-of-the-test")
    assert {event["job"]["namespace"] for event in server.events} == {"ward-3"}


def warnings_of(caplog):
    return [
        record for record in caplog.records if record.levelno >= logging.WARNING and record.name.startswith("lungpipe")
    ]


def test_a_dead_server_is_told_once_and_costs_no_time(monkeypatch, caplog):
    with Server().running() as address:
        pass
    monkeypatch.setenv("OPENLINEAGE_URL", address)
    start = time.perf_counter()
    run()
    assert time.perf_counter() - start < 5
    assert len(warnings_of(caplog)) == 1
    assert "takes no events" in caplog.text


def test_a_server_that_refuses_is_told_once_and_left_alone(monkeypatch, caplog):
    refusing = Server(status=500)
    with refusing.running() as address:
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        run()
    assert len(refusing.requests) == 1
    assert len(warnings_of(caplog)) == 1


def test_a_slow_server_does_not_hold_up_the_stages(monkeypatch):
    slow = Server(wait_s=0.3)
    with slow.running() as address:
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        with open_lineage("cohort", PARAMETERS) as events:
            start = time.perf_counter()
            for _ in range(3):
                with events.stage("scans"):
                    pass
            inside = time.perf_counter() - start
    assert inside < 0.3
    assert len(slow.requests) == 8


def test_a_server_that_never_answers_ends_with_the_last_wait(monkeypatch):
    monkeypatch.setattr("lungpipe.lineage.openlineage.TIMEOUT_S", 0.2)
    monkeypatch.setattr("lungpipe.lineage.openlineage.LAST_WAIT_S", 2.0)
    silent = Server(wait_s=1.5)
    with silent.running() as address:
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        start = time.perf_counter()
        run()
        assert time.perf_counter() - start < 1.5


@pytest.mark.parametrize("address", ["not an address", "ftp-nothing", "http://"])
def test_a_wrong_address_is_told_and_the_run_goes_on(address, monkeypatch, caplog):
    monkeypatch.setenv("OPENLINEAGE_URL", address)
    run()
    assert len(warnings_of(caplog)) == 1


def test_an_event_that_cannot_be_made_does_not_end_the_run(server, caplog):
    run(run_id="not a UUID")
    assert server.requests == []
    assert len(warnings_of(caplog)) == 1


def test_without_the_package_a_run_goes_on_and_says_what_to_install(server, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openlineage.client.transport.http", None)
    run()
    assert "pip install 'lungpipe[provenance]'" in caplog.text
    assert server.requests == []


def test_without_the_variable_nothing_is_sent_imported_or_started():
    """In a process of its own, so that no other test has imported the client."""
    program = (
        "import sys, threading\n"
        "from lungpipe.lineage.openlineage import open_lineage\n"
        "with open_lineage('cohort', {}) as events:\n"
        "    with events.stage('scans'):\n"
        "        assert threading.active_count() == 1\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('openlineage', 'requests')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ids_are_new_for_each_run(server):
    run()
    run()
    ids = {event["run"]["runId"] for event in server.events if event["job"]["name"] == "cohort"}
    assert len(ids) == 2
    assert all(uuid.UUID(one) for one in ids)
