"""A scheduler of the user's own: its code must be ours, and its settings are looked at."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from distributed import Client, Scheduler, SpecCluster

from lungpipe.errors import DatasetError
from tasks.cluster import SETTINGS, dask_cluster
from tasks.cluster_settings import as_environment, require_alike

ROOT = Path(__file__).parents[2]


@contextmanager
def scheduler(code: Path, **variables: str):
    """Address of Dask's own scheduler, which imports lungpipe from a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
    where = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *where],
        env={**environment, **variables, "PYTHONPATH": str(code)},
        cwd=code,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def copied(tmp_path):
    """A copy of our code, to be changed."""
    for package in ("lungpipe", "data_catalog", "tasks", "flows"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_differing_settings_are_named():
    """Each deciding setting that a scheduler has otherwise is a sentence with both values; others are none."""
    own = {"cls": Scheduler, "options": {"dashboard": False}}
    with (
        dask.config.set(SETTINGS),
        SpecCluster({}, own, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert require_alike(client, "tcp://a:1", SETTINGS) == []
        changed = {**SETTINGS, "distributed.scheduler.allowed-failures": 7, "distributed.worker.daemon": "never"}
        (said,) = require_alike(client, "tcp://a:1", changed)
    assert said.startswith("the scheduler at tcp://a:1 has distributed.scheduler.allowed-failures = 2, not 7")


@pytest.mark.slow
def test_settings_that_lose_scans_are_told_once(capsys):
    """A scheduler with Dask's own settings is used, and each that would lose scans is told; one with ours is used in silence."""
    with scheduler(ROOT) as address, dask_cluster(address, 1, "1GiB") as used:
        assert used == address
    told = capsys.readouterr().err
    assert "allowed-failures = 3, not 2; `lungpipe scheduler` sets it" in told
    assert "worker-ttl" in told
    with scheduler(ROOT, **as_environment(SETTINGS)) as address, dask_cluster(address, 1, "1GiB"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_other_code_is_refused(copied):
    """A scheduler whose lungpipe differs by a line is refused, and so is one that cannot import it; both are told what to do."""
    with (copied / "lungpipe" / "errors.py").open("a") as stream:
        stream.write("# changed\n")
    with (
        scheduler(copied) as address,
        pytest.raises(DatasetError, match="another version of lungpipe"),
        dask_cluster(address, 1, "1GiB"),
    ):
        pass
    shutil.rmtree(copied / "lungpipe" / "store")
    with (
        scheduler(copied) as address,
        pytest.raises(DatasetError, match=r"cannot import lungpipe\.store; install the same version there"),
        dask_cluster(address, 1, "1GiB"),
    ):
        pass
