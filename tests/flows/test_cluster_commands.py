"""`lungpipe scheduler` and `lungpipe worker`, as far as they go before Dask takes over."""

import sys

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.cluster import SETTINGS
from tasks.cluster_settings import as_environment


@pytest.fixture
def become(monkeypatch):
    """What a command turns into: its arguments and variables."""
    seen = []
    monkeypatch.setattr("os.execve", lambda _, command, environment: seen.append((command, environment)))

    def call(*arguments):
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return seen.pop()

    return call


def test_scheduler_is_dasks_with_the_settings(become, monkeypatch):
    """The scheduler is Dask's own with every setting; further options are passed on, and the user's variables stay."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "5 minutes")
    command, environment = become("scheduler", "--host", "10.0.0.1", "--no-dashboard")
    assert command == [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "10.0.0.1", "--no-dashboard"]
    expected = {**as_environment(SETTINGS), "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5 minutes"}
    assert {name: environment[name] for name in expected if name.startswith("DASK_")} == {
        name: value for name, value in expected.items() if name.startswith("DASK_")
    }


def test_workers_have_one_thread_and_their_memory(become):
    """Workers are Dask's own, one thread each and with the limit; further options are passed on."""
    command, _ = become("worker", "tcp://10.0.0.1:8786", "--workers", "3", "--memory-per-worker", "6GiB", "--name", "a")
    assert command[2:] == [
        "distributed.cli.dask_worker",
        "tcp://10.0.0.1:8786",
        *("--nthreads", "1", "--nworkers", "3", "--memory-limit", "6GiB"),
        *("--name", "a"),
    ]


def test_worker_without_a_scheduler_is_wrong_use(become):
    """Without an address nothing is started."""
    assert CliRunner().invoke(app, ["worker"]).exit_code == 2
