"""Whole runs on clusters that a recipe names: jobs of a batch system, and workers that come and go with the work."""

import os
import time

import dask
import fake_slurm
import pandas as pd
import pytest
from distributed import LocalCluster

from flows.cohort import cohort
from tasks.cluster import ADDRESS_VARIABLE, dask_cluster
from tasks.each import each
from tasks.named_cluster import NamedCluster

pytestmark = pytest.mark.slow

RECIPE = """
[cohort]
dicom = "dicom"
annotations = "nodules.csv"
[segment]
methods = ["otsu"]
[regions]
radii_mm = [0, 3]
[features]
filters = ["original", "wavelet"]
[run]
workers = 2
memory_per_worker = "2GiB"
"""


@pytest.fixture(scope="module")
def local(prefect_server, sound_cohort, tmp_path_factory):
    """The recipe's file, its features from local workers, and their key."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "key").write_text("fedcba9876543210fedcba9876543210")
    recipe = sound_cohort.folder / "clusters.toml"
    recipe.write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGPIPE_KEY_FILE", str(folder / "key"))
        cohort(str(recipe), str(folder / "workspace"))
        yield recipe, pd.read_parquet(folder / "workspace" / "tables" / "features.parquet"), folder / "key"


@pytest.fixture
def elsewhere(local, monkeypatch):
    """Runs under the key of the local one start the cluster of their recipe."""
    monkeypatch.delenv(ADDRESS_VARIABLE)
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(local[2]))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A batch system of one machine."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    (tmp_path / "slurm").mkdir()
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm'}:{os.environ['PATH']}")
    jobs = fake_slurm.Slurm(tmp_path / "slurm")
    yield jobs
    for session in jobs.sessions:
        jobs.kill(session)


def run(local, workspace, section):
    """The features of a run whose recipe ends with a section."""
    recipe, _, _ = local
    changed = recipe.with_name(f"{workspace.name}.toml")
    changed.write_text(RECIPE + section)
    outcome = cohort(str(changed), str(workspace))
    assert outcome.exclusions == 0
    return pd.read_parquet(workspace / "tables" / "features.parquet")


def test_jobs_of_a_batch_system_give_the_features_of_local_workers(local, elsewhere, slurm, tmp_path):
    """Two jobs carry a run to the same features, bit for bit, and are cancelled at its end."""
    section = """
[run.cluster]
cluster_class = "slurm"
options = { queue = "normal", interface = "lo", log_directory = "LOGS" }
"""
    found = run(local, tmp_path / "results", section.replace("LOGS", str(tmp_path / "logs")))
    pd.testing.assert_frame_equal(found, local[1], check_exact=True)
    assert len(slurm.scripts) == 2
    assert all("#SBATCH -p normal" in script and "--mem=2560M" in script for script in slurm.scripts)
    assert slurm.cancelled == 2


def test_a_job_that_ends_is_submitted_again(slurm, monkeypatch):
    """After a job was killed another is submitted, and work goes on in it."""
    monkeypatch.setattr("tasks.job_cluster.LOST_AFTER", "3s")
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    with dask_cluster(None, 1, "1GiB", NamedCluster("slurm", {"interface": "lo"})) as address:
        assert dict(each(address, abs, [-1])) == {0: 1}
        first = slurm.sessions
        assert len(first) == 1
        slurm.kill(first[0])
        assert dict(each(address, abs, [-2, -3])) == {0: 2, 1: 3}
        assert len(slurm.sessions) == 2
    end = time.monotonic() + 20
    while slurm.cancelled < 1 and time.monotonic() < end:
        time.sleep(0.1)
    assert slurm.cancelled >= 1


class Counted(LocalCluster):
    """Local workers, counted when they come and go."""

    counts: list[int] = []  # noqa: RUF012  of the one cluster that a test starts

    def _update_worker_status(self, op, msg):
        super()._update_worker_status(op, msg)
        self.counts.append(len(self.scheduler_info["workers"]))


def test_workers_come_with_the_work(local, elsewhere, tmp_path):
    """An adaptive cluster starts with the fewest workers, grows while scans wait, and gives the same features."""
    Counted.counts.clear()
    section = f"""
[run.cluster]
cluster_class = "{Counted.__module__}.Counted"
minimum = 1
maximum = 3
"""
    with dask.config.set({"distributed.adaptive.target-duration": "500ms", "distributed.adaptive.interval": "500ms"}):
        found = run(local, tmp_path / "results", section)
    pd.testing.assert_frame_equal(found, local[1], check_exact=True)
    assert Counted.counts[0] == 1
    assert 2 <= max(Counted.counts) <= 3
