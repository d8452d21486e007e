"""A cohort deployed as docs/operations.md says: a real server, pool, queue, worker and notification, on SQLite and PostgreSQL."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd
import pytest
from event_server import Server as Listener

from flows.deployed import check_deployment
from lungpipe.errors import DatasetError
from lungpipe.store.lock import require_free
from lungpipe.store.place import Place

ROOT = Path(__file__).parents[2]
#: Seconds in which a server, or a run of eight small scans, must be there on a machine that has other work.
PATIENCE_S = 900


def test_a_deployment_that_could_not_run_is_refused(sound_cohort):
    """What is not set, no absolute path, no recipe or no time zone is told by the name of its variable."""
    good = {"recipe": str(sound_cohort.recipe), "workspace": "/data/results", "timezone": "Europe/Berlin"}
    check_deployment(**good)
    check_deployment(**{**good, "workspace": "s3://bucket/results"})
    for change, message in (
        (
            {"recipe": "{{ $LUNGPIPE_RECIPE }}", "timezone": ""},
            "set LUNGPIPE_RECIPE, LUNGPIPE_TIMEZONE before deploying",
        ),
        ({"workspace": "results"}, "LUNGPIPE_WORKSPACE is 'results': expected an absolute path"),
        ({"recipe": "/nowhere.toml"}, "no recipe at /nowhere.toml"),
        ({"timezone": "Europe/Nowhere"}, "LUNGPIPE_TIMEZONE is 'Europe/Nowhere'"),
    ):
        with pytest.raises(DatasetError, match=message):
            check_deployment(**{**good, **change})


def test_the_file_of_the_root_is_the_packages():
    """Who installed the wheel finds the same file in the package `flows`."""
    assert (ROOT / "prefect.yaml").resolve() == ROOT / "flows" / "prefect.yaml"


@dataclass
class Deployed:
    """A server and how to call it."""

    folder: Path
    api: str
    environment: dict[str, str]
    worker: subprocess.Popen | None = None

    def call(self, *words, check=True):
        """Run a command of Prefect in the folder that was deployed from."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def asked(self, path, **question):
        """What the server answers to a question."""
        answer = httpx.post(f"{self.api}/{path}", json=question, timeout=60, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def runs(self, flow):
        return self.asked("flow_runs/filter", flows={"name": {"any_": [flow]}}, sort="START_TIME_ASC")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running(words, log, **options):
    """A process in the background; its output goes to a file."""
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, **options)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def postgresql(folder):
    """A PostgreSQL of its own on loopback, as a user that is not root; gives Prefect's address of its database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(programs[-1]) if programs else shutil.which("initdb")
    if found is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    found, as_user = str(Path(found).resolve()), []  # its other programs lie beside it
    if os.getuid() == 0:
        if subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data, port = Path(tempfile.mkdtemp(prefix="lungpipe-postgresql-")), free_port()
    try:
        if as_user:
            shutil.chown(data, "postgres", "postgres")
        initdb = [*as_user, found, "--auth=trust", "--username=prefect", "--encoding=UTF8", "-D", str(data / "db")]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/")
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(data)]
        server = [*as_user, str(Path(found).with_name("postgres")), "-D", str(data / "db"), *options]
        with running(server, folder / "postgresql.log", cwd="/"):
            createdb = [str(Path(found).with_name("createdb")), *options[:4], "-U", "prefect", "prefect"]
            wait_for(lambda: subprocess.run(createdb, capture_output=True, check=False).returncode == 0, "PostgreSQL")
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
    finally:
        shutil.rmtree(data, ignore_errors=True)


def wait_for(condition, what):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"{what} did not come in {PATIENCE_S} s"
        time.sleep(0.5)


def answers(api):
    try:
        return httpx.get(f"{api}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def deployed(request, sound_cohort, tmp_path_factory):
    """A server with the deployments of prefect.yaml for a small cohort, and a worker."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "key").write_text("fedcba9876543210fedcba9876543210")
    shutil.copy(ROOT / "prefect.yaml", folder)
    shutil.copy(ROOT / "prefect.toml", folder)
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "LUNGPIPE"))}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "LUNGPIPE_KEY_FILE": str(folder / "key"),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least that there is
    }
    one = Deployed(folder, environment["PREFECT_API_URL"], environment)
    with postgresql(folder) if request.param == "postgresql" else nullcontext() as address:
        served = {**environment, **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": address} if address else {})}
        words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with running(words, folder / "server.log", cwd=folder, env=served):
            wait_for(lambda: answers(one.api), "the server")
            one.call("work-pool", "create", "lungpipe", "--type", "process")
            one.call("work-queue", "create", "cohort", "--pool", "lungpipe", "--limit", "1")
            refused = one.call("deploy", "--all", check=False)
            assert refused.returncode != 0
            assert "set LUNGPIPE_RECIPE, LUNGPIPE_WORKSPACE, LUNGPIPE_TIMEZONE" in refused.stdout + refused.stderr
            one.environment |= {
                "LUNGPIPE_RECIPE": str(sound_cohort.recipe),
                "LUNGPIPE_WORKSPACE": str(folder / "results"),
                "LUNGPIPE_TIMEZONE": "Europe/Berlin",
            }
            one.call("deploy", "--all")
            worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "lungpipe", "--type", "process"]
            with running(worker, folder / "worker.log", cwd=folder, env=environment) as one.worker:
                yield one
            assert (folder / "home" / "prefect.db").exists() == (request.param == "sqlite")


@pytest.mark.slow
def test_a_deployed_cohort_runs_to_its_report(deployed):
    """A run that is asked for ends with report and tables, under its name and tags; a second never runs beside it."""
    watched = [sys.executable, "-m", "prefect", "deployment", "run", "--watch"]
    where = {"cwd": deployed.folder, "env": deployed.environment}
    with running([*watched, "cohort/benchmark"], deployed.folder / "first.log", **where) as first:
        wait_for(lambda: deployed.runs("cohort"), "the first run")
        second = subprocess.run(
            [*watched, "features/weekly-features"], check=False, **where, capture_output=True, timeout=PATIENCE_S
        )
        assert first.wait(PATIENCE_S) == 0, (deployed.folder / "worker.log").read_text()[-3000:]
        assert second.returncode == 0, (deployed.folder / "worker.log").read_text()[-3000:]
    (benchmark,), (weekly,) = deployed.runs("cohort"), deployed.runs("features")
    assert {benchmark["name"], weekly["name"]} == {"recipe in results"}
    assert set(benchmark["tags"]) == {"benchmark", "lungpipe"}
    assert benchmark["end_time"] <= weekly["start_time"]
    # Nothing changed, so the second found the benchmark standing and left its scores.
    assert len(deployed.runs("cohort")) == 1
    results = deployed.folder / "results"
    assert len(pd.read_parquet(results / "tables" / "features.parquet")) == 8 * 5
    assert "auc" in pd.read_parquet(results / "tables" / "scores.parquet")
    assert (results / "report" / "index.html").stat().st_size > 10_000
    shown = {one["key"]: one for one in deployed.asked("artifacts/filter")}
    assert set(shown) == {"results-scans", "results-exclusions", "results-auc", "results-report"}
    assert {one["flow_run_id"] for one in shown.values()} == {benchmark["id"]}
    assert shown["results-scans"]["data"] == 100
    assert json.loads(shown["results-auc"]["data"])[0]["n"] == 8
    assert str(results / "report" / "index.html") in shown["results-report"]["data"]
    assert "Mustermann" not in json.dumps(shown)


@pytest.mark.slow
def test_nightly_curation_writes_beside_the_cohort(deployed):
    """The scheduled flow does what `lungpipe index` does, in a workspace of its own."""
    deployed.call("deployment", "run", "--watch", "curation/nightly-curation")
    series = pd.read_parquet(deployed.folder / "results-curation" / "tables" / "series.parquet")
    assert len(series) == 8
    (schedule,) = deployed.asked("deployments/filter", deployments={"name": {"any_": ["nightly-curation"]}})[0][
        "schedules"
    ]
    assert schedule["schedule"]["cron"] == "0 1 * * *"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"


@pytest.mark.slow
def test_a_failed_run_is_told(deployed):
    """The automation of docs/operations.md sends the failed run's name to the address; a sound run sends nothing."""
    listener = Listener()
    with listener.running() as address:
        notify = [sys.executable, "-m", "flows.notify"]
        for url in ("http://127.0.0.1:9/an-older-address", address):
            subprocess.run(
                [*notify, url], cwd=deployed.folder, env=deployed.environment, check=True, timeout=PATIENCE_S
            )
        deployed.call("deployment", "run", "--watch", "curation/nightly-curation")
        failed = deployed.call(
            "deployment", "run", "--watch", "cohort/benchmark", "--param", "recipe=/nowhere/lost.toml", check=False
        )
        assert failed.returncode != 0
        wait_for(lambda: listener.events, "the notification")
    (told,) = listener.events
    assert "cohort 'lost in results' ended as Failed" in told["text"]
    assert "/nowhere" not in told["text"]


@pytest.mark.slow
def test_a_run_that_falls_silent_is_called_crashed_and_told(deployed):
    """After kill -9 of worker and run, as in a power cut, Prefect notices, tells, and lets the queue go on."""
    listener = Listener()
    with listener.running() as address:
        notify = [sys.executable, "-m", "flows.notify", address]
        subprocess.run(notify, cwd=deployed.folder, env=deployed.environment, check=True, timeout=PATIENCE_S)
        changed = 'overrides=["regions.radii_mm=[0, 5]"]'
        deployed.call("deployment", "run", "cohort/benchmark", "--param", changed)
        lock = deployed.folder / "results" / "run.lock"
        wait_for(lambda: lock.exists() and lock.read_bytes(), "the run")
        deployed.worker.kill()
        os.kill(json.loads(lock.read_bytes())["process"], signal.SIGKILL)
        deployed.worker.wait()
        time.sleep(1)  # the kernel takes the process down, and its lock with it
        require_free(Place.at(deployed.folder / "results"))
        wait_for(lambda: listener.events, "the notification")
    (told,) = listener.events
    assert "cohort 'recipe in results' ended as Crashed" in told["text"]
