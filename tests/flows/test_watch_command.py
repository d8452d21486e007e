"""Runs again and again without a server: what is new is worked on, what fails is told, a signal ends it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from flows import cli, watch_command
from lungpipe.errors import DatasetError

PATIENCE_S = 600


@pytest.fixture
def own_signals():
    """The command's handlers do not outlive the test."""
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


def watch(*words):
    cli.app(["watch", *map(str, words)], standalone_mode=False)


def test_what_cannot_be_watched_is_told_at_once(sound_cohort):
    """A time without sense and a misspelt recipe end before the first look."""
    for every in ("often", "0s", "15 lightyears"):
        with pytest.raises(DatasetError, match="--every"):
            watch(sound_cohort.recipe, "--every", every)
    with pytest.raises(DatasetError, match="did you mean 'workers'"):
        watch(sound_cohort.recipe, "--set", "run.worker=2")


def test_a_failed_run_is_told_and_tried_again(sound_cohort, own_signals, monkeypatch, capsys):
    """A run that fails does not end the watch; it looks again in time, and a signal ends it."""
    ended = [3, 0]

    def run(words, stopped):
        assert words[1:4] == ["-m", "flows.cli", "run"]
        if not ended:
            os.kill(os.getpid(), signal.SIGTERM)
            return 0
        return ended.pop(0)

    monkeypatch.setattr(watch_command, "_run", run)
    monkeypatch.setattr(watch_command, "_LEAST_S", 0.0)
    watch(sound_cohort.recipe, "--every", "10ms")
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" at ")[0] for line in told] == [
        "watch: the run failed (exit 3); its last lines say why, and it is tried again",
        "watch: next look",
        "watch: next look",
        "watch: stopped; what is done is kept",
    ]


class Watching:
    """A watch in a process of its own, and what it has said so far."""

    def __init__(self, *words):
        command = [sys.executable, "-m", "flows.cli", "watch", *map(str, words)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self):
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reading.join(10)
        self.process.stderr.close()

    def wait_for(self, words, after=0):
        until = time.monotonic() + PATIENCE_S
        while not (found := [k for k, line in enumerate(self.lines) if words in line and k >= after]):
            assert time.monotonic() < until, "".join(self.lines)
            time.sleep(0.1)
        return found[0] + 1


@pytest.mark.slow
def test_a_new_patient_is_all_that_is_worked_on(sound_cohort, tmp_path):
    """Of a patient that comes while the archive is watched exactly its scan is made, and SIGTERM ends the watch."""
    shutil.copytree(sound_cohort.folder, tmp_path / "cohort")
    late = tmp_path / "cohort" / "dicom" / "Mustermann7"
    late.rename(tmp_path / "late")
    results = tmp_path / "results"
    # Seven patients are too few to compare anything.
    changes = ("--set", "benchmark.classifiers=[]", "--set", "segment.methods=['otsu']", "--workers", 1)
    watching = Watching(tmp_path / "cohort" / "recipe.toml", "--every", "2s", "--workspace", results, *changes)
    try:
        seen = watching.wait_for("7 scans (0 reused)")
        seen = watching.wait_for("nothing to do", seen)
        # One scan missing is told by its row; the archive grows while nothing runs.
        assert set(pd.read_parquet(results / "tables" / "exclusions.parquet")["code"]) == {"series_not_found"}
        seen = watching.wait_for("next look", seen)
        (tmp_path / "late").rename(late)
        seen = watching.wait_for("8 scans (7 reused), 0 exclusions", seen)
        watching.wait_for("next look", seen)
        watching.process.send_signal(signal.SIGTERM)
        assert watching.process.wait(60) == 0
        watching.wait_for("watch: stopped")
    finally:
        watching.end()


@pytest.mark.slow
def test_a_signal_interrupts_the_run_and_the_next_one_goes_on(sound_cohort, tmp_path):
    """SIGINT while scans are made ends run and watch, leaves no lock, and what was done is not done again."""
    words = (sound_cohort.recipe, "--every", "1h", "--workspace", tmp_path / "results", "--workers", 1)
    watching = Watching(*words)
    try:
        deadline = time.monotonic() + PATIENCE_S
        # A second patient has features, so the first one's scan is whole.
        while len({path.parent for path in tmp_path.glob("results/ledger/P-*/features-*.json")}) < 2:
            assert time.monotonic() < deadline, "".join(watching.lines)
            time.sleep(0.05)
        watching.process.send_signal(signal.SIGINT)
        assert watching.process.wait(90) == 0
        watching.wait_for("watch: stopped")
        assert not (tmp_path / "results" / "run.json").exists()
    finally:
        watching.end()
    again = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", *map(str, (sound_cohort.recipe, *words[3:]))],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert "8 scans (0 reused)" not in again.stderr
    assert "8 scans (" in again.stderr
