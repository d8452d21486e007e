"""`lungpipe status`: how a run is told, to people and to scripts."""

import json
import signal

import pytest
from lasting_run import lasting_run, until

from flows.cli import main
from lungpipe.errors import Exclusion
from lungpipe.scan import ScanResult
from lungpipe.store.page import write_page
from lungpipe.store.place import Place
from lungpipe.store.tables import make_table, write_table
from lungpipe.watching.watch import watched


@pytest.fixture
def told(monkeypatch, capsys):
    """Call the command; returns exit status, what it says, and its JSON."""

    def call(place):
        said = []
        for more in ([], ["--json"]):
            monkeypatch.setattr("sys.argv", ["lungpipe", "status", str(place), *more])
            with pytest.raises(SystemExit) as end:
                main()
            out, err = capsys.readouterr()
            said.append(out or err)
        return end.value.code or 0, said[0], json.loads(said[1]) if said[1].startswith("{") else said[1]

    return call


@pytest.fixture
def place(tmp_path):
    return Place.at(tmp_path / "workspace")


def scan(k, **more):
    return ScanResult(f"S-{k}", f"P-{k}", took_s=2.0, **more)


def test_a_run_that_lasts(place, told):
    """While a run lasts its stage, counts, pace and excluded scans by code are told, and the exit status is 0."""
    late = Exclusion("scan", "timeout", "it ran longer than 9 s", "P-2", "S-2")
    with watched(place, "Our cohort") as watch, watch.stage("scans"):
        watch.expect([(f"S-{k}", f"P-{k}") for k in range(10)], [])
        watch.scan(scan(1, made={"volume": 1}))
        watch.scan(scan(2, exclusion=late))
        with watch.stage("inner"):
            until(place, lambda s: s["stage"] == "inner")
            status, words, found = told(place)
    assert status == 0
    assert (found["condition"], found["stage"]) == ("running", "inner")
    assert found["scans"]["excluded"] == {"timeout": 1}
    assert found["scans"]["left_s"] is not None
    assert all(part in words for part in ("Our cohort", "running", "2 of 10", "scans/min", "1 timeout", "inner"))


def test_a_finished_run(place, told):
    """After the end the page is named and what was left out is counted from the table, nodules included."""
    rows = [Exclusion("segment", code, "words") for code in ("no_mask", "no_mask", "constant_region")]
    write_page(place, "report", "report/index.html", "<html></html>")
    table = [{name: getattr(row, name) for name in Exclusion.__slots__} | {"intensities": "simulated"} for row in rows]
    write_table(make_table("exclusions", table), place, "tables/exclusions.parquet")
    with watched(place, "t"):
        pass
    status, words, found = told(place)
    assert status == 0
    assert found["condition"] == "finished"
    assert found["exclusions"] == {"no_mask": 2, "constant_region": 1}
    assert found["report"] == f"{place}/report/index.html"
    assert found["report"] in words
    assert "2 no_mask" in words


def test_a_failed_run(place, told):
    """A failed run exits 3 with the error, the stage and how to go on; one that was interrupted exits 3 too."""
    for error in (ValueError("it broke"), KeyboardInterrupt()):
        with pytest.raises(type(error)), watched(place, "t") as watch, watch.stage("benchmark"):
            raise error
        status, words, found = told(place)
        assert status == 3
        assert found["stage"] == "benchmark"
        assert "resume with the same command" in words
        assert ("ValueError: it broke" in words) == isinstance(error, ValueError)
    assert found["condition"] == "interrupted"


def test_a_run_that_was_killed(place, told):
    """A run that ended without a word is told as that, with exit status 3."""
    with lasting_run(place) as process:
        process.send_signal(signal.SIGKILL)
    status, words, found = told(place)
    assert (status, found["condition"]) == (3, "died")
    assert "stopped without a word at" in words
    assert "resume with the same command" in words


def test_a_workspace_of_an_earlier_version(place, told):
    """Where no status was kept, run.json says what the run came to."""
    scans = {"processed": 3, "reused": 1, "excluded": 2}
    place.write(
        "run.json", json.dumps({"title": "old", "scans": scans, "timings_s": {"stages": {"scans": 9}}}).encode()
    )
    status, words, found = told(place)
    assert (status, found["condition"], found["scans"]["done"]) == (0, "finished", 6)
    assert "6 of 6" in words


def test_no_run(tmp_path, told):
    """A folder in which no run was begun exits 2 and says what to name."""
    status, words, _ = told(tmp_path)
    assert status == 2
    assert "--workspace" in words
