"""A scheduler that goes away and comes back loses only what was in flight."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from night import assert_as_undisturbed, finished, wait_until

from flows.cohort import cohort
from lungpipe.errors import LungpipeError
from tasks import each as each_module
from tasks.each import each


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Site:
    """A scheduler and two workers as an administrator runs them: what ends is started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.closing = threading.Event()
        scheduler = [
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--no-dashboard",
        ]
        worker = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-dashboard"]
        self.commands = {"scheduler": scheduler, "worker-1": worker, "worker-2": worker}
        self.processes = {name: self.start(name) for name in self.commands}
        self.keeper = threading.Thread(target=self.keep)
        self.keeper.start()

    def start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *self.commands[name]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def keep(self) -> None:
        while not self.closing.wait(0.5):
            for name, process in self.processes.items():
                if process.poll() is not None:
                    self.processes[name] = self.start(name)

    def close(self) -> None:
        self.closing.set()
        self.keeper.join()
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def site():
    one = Site()
    yield one
    one.close()


@pytest.mark.slow
def test_a_killed_scheduler_changes_nothing(recipe, undisturbed, site, tmp_path):
    """The scheduler is killed while scans are processed, and started again; the same run goes on to the same features."""

    def kill() -> None:
        wait_until(lambda: len(finished(tmp_path)) >= 3)
        os.kill(site.processes["scheduler"].pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    cohort(str(recipe), str(tmp_path), dask=site.address)
    thread.join()
    assert_as_undisturbed(tmp_path, undisturbed)


def double(item):
    return 2 * item


@pytest.mark.slow
def test_a_scheduler_that_stays_away_ends_the_run(site, monkeypatch):
    """Where none comes back in time, the error says for how long it was waited and what to do."""
    monkeypatch.setattr(each_module, "BACK_WITHIN_S", 3.0)
    monkeypatch.setattr("tasks.client.ANSWER_S", 1)
    found = each(site.address, double, range(2000))
    next(found)
    site.close()
    with pytest.raises(LungpipeError, match="has been away for 3 s; start it and its workers again"):
        list(found)
