"""The status of a run: what is kept while it lasts, and how a run is by it."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest
from lasting_run import lasting_run, until

from lungpipe.errors import DatasetError, Exclusion
from lungpipe.scan import ScanResult
from lungpipe.store.gc import find_garbage
from lungpipe.store.page import write_page
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace
from lungpipe.watching.status_file import SILENT_S, condition, read_status
from lungpipe.watching.watch import watched

MADE = ScanResult("S-1", "P-1", made={"volume": 1}, took_s=2.0)


@pytest.fixture
def place(tmp_path):
    return Place.at(tmp_path / "workspace")


def test_a_run_is_told_while_it_lasts_and_after(place):
    """Stage, counts by code and beats are there during the run, and how it ended after it; no name of a scan is."""
    failed = replace(MADE, series_uid="S-3", made={}, exclusion=Exclusion("scan", "timeout", "too long", "P-3", "S-3"))
    with watched(place, "a title") as watch:
        with watch.stage("curate"):
            pass
        with watch.stage("scans"):
            watch.expect([("S-1", "P-1"), ("S-2", "P-2"), ("S-3", "P-3"), ("S-4", "P-4")], ["P-2"])
            for result in (MADE, replace(MADE, series_uid="S-2", patient_id="P-2", made={}), failed):
                watch.scan(result)
            with watch.stage("inner"):  # a change of stage is written at once
                status = until(place, lambda s: s["stage"] == "inner")
        counts = {"of": 4, "done": 3, "made": 1, "reused": 1, "excluded": {"timeout": 1}}
        assert status["scans"].items() >= counts.items()
        assert (status["title"], status["end"], condition(status)) == ("a title", None, "running")
        assert status["pid"] == os.getpid()
        assert "curate" in status["stages"]
    status = read_status(place)
    assert status["end"]["how"] == condition(status) == "finished"
    assert status["run"] == watch.run_id
    text = place.read("status.json").decode()
    assert not any(name in text for name in ("S-1", "P-1", "S-3", "P-3", "too long"))


@pytest.mark.parametrize(
    ("error", "how", "message"),
    [
        (DatasetError("no image at /data/Mustermann Max/CT 1: set cohort.dicom"), "failed", "no image at [path]: set"),
        (OSError(28, "No space left on device", "/data/Roe/1.dcm"), "failed", "No space left on device"),
        (KeyboardInterrupt(), "interrupted", ""),
    ],
)
def test_how_a_run_failed_is_told_without_paths(place, error, how, message):
    """A failure has its type and words without the archive's path; an interruption is one."""
    with pytest.raises(type(error)), watched(place, "t", "/data/Mustermann Max/CT 1") as watch, watch.stage("curate"):
        raise error
    status = read_status(place)
    assert status["end"]["how"] == how
    assert status["end"]["error"] == type(error).__name__
    assert message in status["end"]["message"]
    assert status["stage"] == "curate"
    text = place.read("status.json").decode()
    assert not any(word in text for word in ("Mustermann", "Roe", "CT 1"))


def test_a_status_that_cannot_be_written_stops_nothing(place, monkeypatch, caplog):
    """A store that takes no file costs one warning, and the run ends as it would."""

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Place, "write", refuse)
    with watched(place, "t") as watch:
        for name in ("a", "b"):
            with watch.stage(name):
                pass
    assert [r.message for r in caplog.records] == ["status.json cannot be written (OSError); the run goes on"]


def test_a_killed_run_is_known_at_once(place):
    """A run whose process was killed with SIGKILL has died, and while it lived it ran."""
    with lasting_run(place) as process:
        status = read_status(place)
        assert condition(status) == "running"
        assert condition(status, time.time() + 2 * SILENT_S) == "silent"
        process.send_signal(signal.SIGKILL)
    assert condition(status) == "died"
    assert read_status(place)["end"] is None


def test_a_number_that_another_process_took_over_is_not_the_run(place):
    """The same process number with another beginning is another process: the run has died."""
    with watched(place, "t"):
        status = until(place, lambda s: s["end"] is None)
        assert condition(status) == "running"
        assert condition({**status, "process_began_s": status["process_began_s"] - 100}) == "died"


def test_a_run_on_another_machine_is_known_by_its_beats():
    """Elsewhere no process can be looked for: a run is alive as long as it writes."""
    now = 1e9
    status = {"end": None, "heartbeat_s": now - SILENT_S / 2, "host": "another machine", "pid": 1, "process_began_s": 0}
    assert condition(status, now) == "running"
    assert condition(status, now + SILENT_S) == "died"


def test_ledger_and_clearing_up_leave_it_alone(place):
    """A status is no finding and no garbage; a half-written one that a power cut left is garbage."""
    write_page(place, "report", "report/index.html", "<html></html>")
    before = verify_workspace(place)
    with watched(place, "t"):
        pass
    assert place.exists("status.json")
    assert verify_workspace(place) == before
    assert find_garbage(place, superseded=True) == []
    place.write(".status.json.17", b"{")
    assert [g.path for g in find_garbage(place)] == [".status.json.17"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"run": 1}', json.dumps({"scans": {}}).encode()])
def test_a_damaged_status_is_an_error_that_says_what_to_do(place, content):
    """What no run wrote is not taken for a status."""
    place.write("status.json", content)
    with pytest.raises(DatasetError, match="next run writes it anew"):
        read_status(place)
