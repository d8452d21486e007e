"""What Prefect shows of a run: progress, exclusions, the honest AUC and the report, and never at the run's cost."""

import json
import time

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from lungpipe.scan import ScanResult
from lungpipe.store.place import Place
from tasks import artifacts
from tasks.artifacts import run_name, show_results, shown_progress


def told(flow_run_id):
    """Artifacts of a flow run by key."""
    with get_client(sync_client=True) as client:
        found = client._client.post("/artifacts/filter", json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}})
    return {one["key"]: one for one in found.json()}


def test_progress_and_results_are_shown_under_pseudonyms(prefect_server, finished, monkeypatch):
    """A thousand scans cost a few updates, the last of which is whole; tables are those of the workspace."""
    monkeypatch.setattr(artifacts, "EVERY_S", 0.2)
    place, updates, counted = Place.at(finished[0]), [], []
    update = artifacts.update_progress_artifact
    monkeypatch.setattr(artifacts, "update_progress_artifact", lambda *a: (updates.append(a[1]), update(*a)))

    @flow(name="shows", flow_run_name=run_name)
    def shows(recipe: str, workspace: str):
        with shown_progress("scans", place, 1000, counted.append) as tell:
            for k in range(1000):
                tell(ScanResult(f"S-{k}", "P"))
                time.sleep(0.001)
        show_results(place, f"{place}/report/index.html", "small")
        with get_client(sync_client=True) as client:
            return client.read_flow_run(artifacts.runtime.flow_run.id)

    run = shows("/somewhere/night.toml", str(place))
    assert run.name == "night in workspace"
    assert [result.series_uid for result in counted] == [f"S-{k}" for k in range(1000)]
    assert 1 <= len(updates) <= 12
    assert updates[-1] == 100
    found = told(run.id)
    assert set(found) == {"workspace-scans", "workspace-exclusions", "workspace-auc", "workspace-report"}
    assert found["workspace-scans"]["data"] == 100
    assert json.loads(found["workspace-exclusions"]["data"]) == [{"stage": "", "code": "nothing", "cases": 0}]
    (row,) = json.loads(found["workspace-auc"]["data"])
    assert (row["n"], row["n_patients"]) == (8, 8)
    assert 0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1
    assert "report/index.html" in found["workspace-report"]["data"]
    assert "ORIGINAL" not in json.dumps(found)


def test_a_server_that_is_down_is_said_once(prefect_server, finished, monkeypatch, capsys):
    """Where Prefect answers nothing the run goes on to its end, and one line says that it shows nothing."""

    def down(*_args, **_options):
        raise httpx.ConnectError("refused")

    for name in ("create_progress_artifact", "create_table_artifact", "create_markdown_artifact"):
        monkeypatch.setattr(artifacts, name, down)
    place, counted = Place.at(finished[0]), []

    @flow
    def shows():
        for _ in range(2):
            with shown_progress("scans", place, 2, counted.append) as tell:
                tell(ScanResult("S", "P"))
        show_results(place, "page", "small")
        return "done"

    assert shows() == "done"
    assert len(counted) == 2
    assert capsys.readouterr().err.count("Prefect shows no progress or tables of this run (ConnectError") == 1


def test_without_a_flow_run_nothing_is_shown(finished, monkeypatch):
    """What calls the stages by themselves needs no server."""
    monkeypatch.setattr(artifacts, "create_progress_artifact", pytest.fail)
    monkeypatch.setattr(artifacts, "create_table_artifact", pytest.fail)
    tell = print
    with shown_progress("scans", Place.at(finished[0]), 5, tell) as given:
        assert given is tell
    show_results(Place.at(finished[0]), "page", "small")
