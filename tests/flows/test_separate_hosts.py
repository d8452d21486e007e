"""A scheduler and workers on hosts of their own, a workspace in an object store, and a cable that is pulled."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import hosts
import pandas as pd
import pytest

from flows.cohort import cohort

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LUNGPIPE = [sys.executable, "-c", "from flows.cli import main; main()"]
#: Work of some seconds a scan, so that a cable can be pulled in the middle of one.
RECIPE = """
[cohort]
dicom = "dicom"
annotations = "nodules.csv"
[segment]
methods = ["otsu", "gmm"]
[regions]
radii_mm = [0, 3]
[features]
filters = ["original", "wavelet"]
"""
#: Prints, as JSON lines, when the workers that the scheduler knows or their scans change.
WATCH = """
import json, sys, time
from distributed import Client
with Client(sys.argv[1], timeout=60) as client:
    last = None
    while True:
        host = lambda worker: worker.split("//")[1].split(":")[0]
        workers = sorted({host(w) for w in client.scheduler_info(n_workers=-1)["workers"]})
        scans = sorted({host(w) for w, keys in client.processing().items() for k in keys if str(k).startswith("process_scan")})
        if (workers, scans) != last:
            print(json.dumps({"time": time.time(), "workers": workers, "scans": scans}), flush=True)
            last = workers, scans
        time.sleep(0.1)
"""
READ = """
import sys, pandas as pd
for name in ("features", "exclusions", "series"):
    pd.read_parquet(f"{sys.argv[1]}/tables/{name}.parquet").to_parquet(f"{sys.argv[2]}/{name}.parquet")
"""


@contextmanager
def cluster(folder):
    """A store and a scheduler on one host, a worker on each of two others that is started anew when it ends."""
    if why := hosts.why_not():
        pytest.skip(why)
    pytest.importorskip("moto", reason="pip install 'moto[server]' s3fs")
    pytest.importorskip("s3fs")
    with hosts.hosts(["head", "one", "two"], folder) as made:
        head = made.address["head"]
        environment = {
            "PYTHONPATH": str(ROOT),
            "AWS_ENDPOINT_URL": f"http://{head}:5000",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
        }
        made.start("head", "store.log", [sys.executable, "-m", "moto.server", "-H", head, "-p", "5000"], environment)
        scheduler = f"tcp://{head}:8786"
        spoken = {**environment, "DASK_LOGGING__DISTRIBUTED": "info"}
        where = ["--host", head, "--port", "8786", "--dashboard-address", "127.0.0.1:0"]
        made.start("head", "scheduler.log", [*LUNGPIPE, "scheduler", *where], spoken)
        made.wait_for("scheduler.log", "Scheduler at", 120)
        for name in ("one", "two"):
            own = ["worker", scheduler, "--memory-per-worker", "3GiB", "--local-directory", str(folder / name)]
            # What `Restart=always` of a service does.
            forever = ["sh", "-c", 'while :; do "$@"; sleep 1; done', "sh", *LUNGPIPE, *own]
            made.start(name, f"{name}.log", forever, spoken)
        for name in ("one", "two"):
            made.wait_for("scheduler.log", f"Starting worker compute stream, tcp://{made.address[name]}", 120)
        made.wait_for("store.log", "Running on", 120)
        script = "import s3fs; s3fs.S3FileSystem().mkdir('results')"
        assert made.start("head", "bucket.log", [sys.executable, "-c", script], environment).wait(120) == 0
        yield made, scheduler, environment


def tables_of(made, environment, workspace, folder):
    """Tables of a workspace in the store, read on the host that reaches it."""
    folder.mkdir()
    command = [sys.executable, "-c", READ, workspace, str(folder)]
    assert made.start("head", "read.log", command, environment).wait(120) == 0, made.said("read.log")
    return {path.stem: pd.read_parquet(path) for path in folder.iterdir()}


def told(made, log) -> list[dict]:
    """What the watching process has seen."""
    return [json.loads(line) for line in made.said(log).splitlines() if line.startswith("{")]


def test_hosts_apart_and_a_pulled_cable_change_nothing(prefect_server, sound_cohort, tmp_path):
    """Over three hosts features equal those of one machine, and also where a worker's cable is pulled during a scan.

    The scheduler counts the silent worker out within a minute, its scan is done on the other host, no scan is left out,
    and once the cable is back the worker works again.
    """
    recipe = sound_cohort.folder / "hosts.toml"
    recipe.write_text(RECIPE)
    cohort(str(recipe), str(tmp_path / "local"))
    expected = pd.read_parquet(tmp_path / "local" / "tables" / "features.parquet")
    with cluster(tmp_path) as (made, scheduler, environment):
        run = [*LUNGPIPE, "run", str(recipe), "--strict", "--dask", scheduler, "--workspace"]
        assert made.start("head", "run.log", [*run, "s3://results/whole"], environment).wait(400) == 0, made.said(
            "run.log"
        )
        found = tables_of(made, environment, "s3://results/whole", tmp_path / "whole")
        pd.testing.assert_frame_equal(found["features"], expected, check_exact=True)

        made.start("head", "watch.log", [sys.executable, "-c", WATCH, scheduler], environment)
        cut_off = made.address["two"]
        both = json.dumps(sorted(made.address[name] for name in ("one", "two")))
        made.wait_for("watch.log", f'"workers": {both}', 60)
        process = made.start("head", "cut.log", [*run, "s3://results/cut"], environment)
        made.wait_for("watch.log", f'"scans": {both}', 200)
        made.pull_cable("two")
        at = told(made, "watch.log")[-1]
        alone = json.dumps([made.address["one"]])
        made.wait_for("watch.log", f'"workers": {alone}', 90)
        noticed = next(one for one in told(made, "watch.log") if one["workers"] == [made.address["one"]])
        assert cut_off in at["scans"]
        assert 5 < noticed["time"] - at["time"] < 60
        made.put_cable_back("two")
        assert process.wait(400) == 0, made.said("cut.log")
        made.wait_for("scheduler.log", "Remove worker addr: tcp://" + cut_off, 1)
        gone = made.said("scheduler.log").index("Remove worker addr: tcp://" + cut_off)
        made.wait_for("scheduler.log", f"Register worker addr: tcp://{cut_off}", 120, after=gone)
        found = tables_of(made, environment, "s3://results/cut", tmp_path / "cut")
    pd.testing.assert_frame_equal(found["features"], expected, check_exact=True)
    assert found["exclusions"].empty
    assert len(found["series"]) == len(sound_cohort.uids)
    assert set(found["features"]["series_uid"]) == set(found["series"]["series_uid"])


def test_hosts_leave_nothing_behind(tmp_path):
    """A failure among hosts leaves no namespace and no process."""
    if why := hosts.why_not():
        pytest.skip(why)
    left = []

    def fail():
        with hosts.hosts(["alone"], tmp_path) as made:
            left.append(made.start("alone", "sleep.log", ["sleep", "600"], {}))
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert left[0].returncode is not None
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"lp{os.getpid()}-" not in spaces
