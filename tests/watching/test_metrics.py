"""Metrics for Prometheus, scraped over HTTP."""

import re
import shutil
import socket
import subprocess
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from scraping import free_port, scrape

from lungpipe.errors import DatasetError, Exclusion
from lungpipe.scan import ScanResult
from lungpipe.store.place import Place
from lungpipe.watching.watch import watched

pytest.importorskip("prometheus_client", reason="pip install 'lungpipe[watching]'")

DOCUMENT = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()


def test_what_is_scraped_is_what_happened(monkeypatch, tmp_path):
    """Scans by outcome and code, artefacts, seconds and the beat are served while the run lasts, and nothing after it."""
    port = free_port()
    monkeypatch.setenv("LUNGPIPE_METRICS_PORT", str(port))
    late = Exclusion("scan", "timeout", "it ran longer than 9 s", "P-2", "S-2")
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
        watch.expect([("S-1", "P-1"), ("S-2", "P-2"), ("S-3", "P-3")], [])
        made = {"volume": 1, "masks otsu": 2}
        watch.scan(
            ScanResult("S-1", "P-1", made=made, reused={"lung": 1}, seconds={"read": 0.2, "lung": 20.0}, took_s=21)
        )
        watch.scan(ScanResult("S-2", "P-2", exclusion=late))
        found = scrape(port)
    assert found["lungpipe_scans_expected",] == 3
    assert found["lungpipe_scans_total", "", "made"] == found["lungpipe_scans_total", "timeout", "excluded"] == 1
    assert found["lungpipe_scans_total", "", "reused"] == 0
    served = {name for name, *_ in found if not name.endswith("_created")}
    documented = set(re.findall(r"^\| `(lungpipe_\w+)`", DOCUMENT, re.M))
    parts = {"sum", "count", "bucket"}
    named = {name.rpartition("_")[0] if name.rpartition("_")[2] in parts else name for name in served}
    assert named == documented - {"lungpipe_stage_seconds"}  # no stage has ended
    assert found["lungpipe_artefacts_total", "masks otsu", "made"] == 2
    assert found["lungpipe_artefacts_total", "lung", "reused"] == 1
    assert found["lungpipe_scan_stage_seconds_sum", "lung"] == 20.0
    assert found["lungpipe_scan_stage_seconds_bucket", "10.0", "lung"] == 0
    assert found["lungpipe_scan_stage_seconds_bucket", "30.0", "lung"] == 1
    assert found["lungpipe_stage_running", "scans"] == 1
    assert found["lungpipe_run_info", "0.1.0", watch.run_id] == 1
    assert found["lungpipe_heartbeat_timestamp_seconds",] == pytest.approx(watch.state.began_s, abs=60)
    with pytest.raises(OSError, match="refused"):
        scrape(port)


def test_a_port_in_use_costs_a_warning(monkeypatch, tmp_path, caplog):
    """A port that another process has is told, and the run goes on; what is no port is refused."""
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("LUNGPIPE_METRICS_PORT", str(other.getsockname()[1]))
        with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
            pass
    assert watch.state.end.how == "finished"
    assert "no metrics are served" in caplog.text
    monkeypatch.setenv("LUNGPIPE_METRICS_PORT", "http")
    with pytest.raises(DatasetError, match="it is a port"), watched(Place.at(tmp_path), "t"):
        pass


RULE_TESTS = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'lungpipe_stage_running{instance="a", stage="scans"}', values: '1x200'}
      - {series: 'lungpipe_scans_total{instance="a", outcome="made", code=""}', values: '0+1x90 90x110'}
      - {series: 'lungpipe_scans_total{instance="a", outcome="excluded", code="timeout"}', values: '0x60 1+1x29 30x110'}
      - {series: 'lungpipe_heartbeat_timestamp_seconds{instance="a"}', values: '0+60x100 6000x100'}
      - {series: 'dask_scheduler_workers{instance="b", state="idle"}', values: '2x150 0x50'}
    alert_rule_test:
      - {eval_time: 80m, alertname: LungpipeManyExclusions, exp_alerts: [{exp_annotations: {summary: "%(many)s"}}]}
      - {eval_time: 60m, alertname: LungpipeManyExclusions, exp_alerts: []}
      - {eval_time: 120m, alertname: LungpipeNoProgress, exp_alerts: []}
      - {eval_time: 180m, alertname: LungpipeNoProgress, exp_alerts: [{exp_labels: {instance: a, stage: scans}, exp_annotations: {summary: "%(stuck)s"}}]}
      - {eval_time: 100m, alertname: LungpipeNoHeartbeat, exp_alerts: []}
      - {eval_time: 104m, alertname: LungpipeNoHeartbeat, exp_alerts: [{exp_labels: {instance: a}, exp_annotations: {summary: "%(silent)s"}}]}
      - {eval_time: 140m, alertname: LungpipeWorkersGone, exp_alerts: []}
      - {eval_time: 160m, alertname: LungpipeWorkersGone, exp_alerts: [{exp_labels: {instance: a, stage: scans}, exp_annotations: {summary: "%(alone)s"}}]}
"""


def test_documented_alerts_fire_when_they_should(tmp_path):
    """Prometheus takes the documented configuration, and each alert fires on its trouble and not before."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    blocks = [textwrap.dedent(text) for text in re.findall(r"(?:^    .*\n|^\n)+", DOCUMENT, re.M)]
    (scraping,), (rules,) = ([b for b in blocks if key in b] for key in ("scrape_configs:", "groups:"))
    said = dict(re.findall(r'alert: (\w+)[\s\S]*?summary: "(.*?)"', rules))
    names = ("LungpipeManyExclusions", "LungpipeNoProgress", "LungpipeNoHeartbeat", "LungpipeWorkersGone")
    words = dict(zip(("many", "stuck", "silent", "alone"), (said[name] for name in names), strict=True))
    files = {"prometheus.yml": scraping, "rules.yml": rules, "tests.yml": RULE_TESTS % words}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    for command in (
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "tests.yml"),
    ):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
