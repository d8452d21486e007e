"""A whole run with everything that watches it switched on, held against its tables."""

import json
import shutil
import threading
from collections import Counter

import pandas as pd
import pytest
from event_server import Server
from scraping import free_port, scrape

import flows.cohort
from lungpipe.dicom.memory import all_terms
from lungpipe.dicom.pseudonymise import table_path
from lungpipe.identity import Term, audit_workspace, known_terms
from lungpipe.identity.matcher import Matcher
from lungpipe.store.place import Place

OPTIONS = ["segment.methods=['otsu']"]
STAGES = ["curate", "frame", "scans", "tables", "report"]


@pytest.mark.slow
def test_a_run_is_watched_from_all_sides(prefect_server, sound_cohort, tmp_path, monkeypatch, capfd):
    """Log, metrics, spans and status agree with the tables on every scan, one of them excluded, and name no patient."""
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    folder, workspace = shutil.copytree(sound_cohort.folder, tmp_path / "cohort"), tmp_path / "workspace"
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().partition("[benchmark]")[0])
    plan_run = flows.cohort.plan_run

    def then_a_file_changes(*args):
        plan = plan_run(*args)
        next(iter(sorted((folder / "dicom" / "Mustermann3").iterdir()))).write_bytes(b"torn")
        return plan

    monkeypatch.setattr(flows.cohort, "plan_run", then_a_file_changes)
    port, collector, scraped, over = free_port(), Server(), {}, threading.Event()
    monkeypatch.setenv("LUNGPIPE_LOG", "json")
    monkeypatch.setenv("LUNGPIPE_METRICS_PORT", str(port))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def keep_scraping():
        while not over.wait(0.2):
            try:
                scraped.update(scrape(port))
            except OSError:
                continue

    scraper = threading.Thread(target=keep_scraping)
    scraper.start()
    try:
        with collector.running() as address:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
            outcome = flows.cohort.cohort(str(recipe), str(workspace), OPTIONS)
    finally:
        over.set()
        scraper.join()

    exclusions = pd.read_parquet(workspace / "tables" / "exclusions.parquet")
    of_scans = Counter(exclusions.loc[exclusions["nodule_id"] == "", "code"])
    assert of_scans == {"changed_file": 1}
    series = set(pd.read_parquet(workspace / "tables" / "series.parquet")["series_uid"])

    text = capfd.readouterr().err
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "run", "stage", "scan", "message"} <= line.keys() for line in lines)
    (run,) = {line["run"] for line in lines}
    scans = [line for line in lines if line.get("event") == "scan_ended"]
    assert {line["scan"] for line in scans} == series
    assert Counter(line["status"] for line in scans) == {"made": 7, "excluded": 1}
    assert [line["stage"] for line in lines if line.get("event") == "stage_ended"] == STAGES

    assert scraped["lungpipe_scans_expected",] == outcome.scans == 8
    assert scraped["lungpipe_scans_total", "", "made"] == 7
    assert scraped["lungpipe_scans_total", "changed_file", "excluded"] == 1
    artefacts = json.loads((workspace / "run.json").read_text())["artefacts"]
    made = {key[1]: n for key, n in scraped.items() if key[0] == "lungpipe_artefacts_total" and key[2] == "made"}
    assert made == {kind: counts["made"] for kind, counts in artefacts.items() if kind in made}
    assert made["volume"] == 7

    messages = [service.ExportTraceServiceRequest.FromString(body) for _, _, body in collector.requests]
    spans = [s for m in messages for r in m.resource_spans for c in r.scope_spans for s in c.spans]
    assert Counter(span.name.split()[0] for span in spans) == {"run": 1, "stage": len(STAGES), "scan": 8}
    names = {a.value.string_value for s in spans for a in s.attributes if a.key == "lungpipe.scan"}
    assert names == series

    status = json.loads((workspace / "status.json").read_text())
    assert (status["run"], status["end"]["how"], [*status["stages"]]) == (run, "finished", STAGES)
    assert status["scans"]["excluded"] == {"changed_file": 1}

    terms = known_terms(table_path(), [Term(kind, word) for kind, word in all_terms()])
    told = text.encode() + b"".join(body for _, _, body in collector.requests)
    assert not list(Matcher(terms).anything(told))
    assert list(Matcher(terms).anything(told + b" Mustermann3 "))
    assert str(folder) not in text
    assert audit_workspace(Place.at(workspace), terms).sound
