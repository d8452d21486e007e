"""Workers as jobs of a batch system (SLURM and its kin), each with the settings that local workers have."""

from __future__ import annotations

import shlex
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_bytes
from distributed.core import Status

from lungpipe.errors import DatasetError
from tasks.cluster_settings import as_environment
from tasks.named_cluster import MEMORY, NUMBER, ONE_THREAD, built, parameters, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: A job that ended is asked for again after this long; a worker that its nanny restarts is back before.
LOST_AFTER = "2 minutes"
#: Memory of a job beside its workers' limits: the nannies that watch them, which would else be killed first.
NANNY_BYTES = 2**29

#: Options that follow from the recipe.
OURS = {
    "cores": f"{ONE_THREAD}; for several workers in one job set processes",
    "memory": MEMORY,
    "nanny": "it restarts a worker whose scan took too long",
    "n_workers": NUMBER,
}


@contextmanager
def open_jobs(
    cls: type[Any],
    options: Mapping[str, Any],
    workers: tuple[int, int],
    memory_per_worker: str,
    settings: Mapping[str, Any],
) -> Iterator[Any]:
    """Start a scheduler here and submit jobs; a job that ends too early is submitted again.

    Parameters
    ----------
    cls : type
        A class of dask-jobqueue.
    options : mapping
        Of that class.
    workers : tuple of int
        Fewest and most.
    memory_per_worker : str
    settings : mapping
        Of Dask.

    Raises
    ------
    DatasetError
        If an option is unknown or not the user's, or the batch system is not here or refuses the first jobs.
    """
    asked = job_options(cls, options, memory_per_worker, settings)
    command = shlex.split(cls.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise DatasetError(f"run.cluster: {command} is not on this machine; start the run where jobs can be submitted")
    # A worker that is away for long is a job that is over: the cluster has to know, or it would not ask for another.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": LOST_AFTER}),
        built(cls, asked, parameters(cls.job_cls) | parameters(cls)) as cluster,
    ):
        try:
            cluster.sync(_submitted, cluster, workers[0])
        except (RuntimeError, ValueError, OSError) as error:
            raise DatasetError(f"run.cluster: {command} did not take a job: {error}") from error
        # Adaptive even where the number is fixed: only then are jobs that ended submitted again.
        cluster.adapt(minimum=workers[0], maximum=workers[1])
        yield cluster


def job_options(
    cls: type[Any], options: Mapping[str, Any], memory_per_worker: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Options for a class of dask-jobqueue: the user's, and what makes its workers like local ones.

    Raises
    ------
    DatasetError
        If an option is not the user's, or not of its kind.
    """
    refuse(options, OURS)
    processes, prologue = options.get("processes", 1), options.get("job_script_prologue", [])
    if not isinstance(processes, int) or not isinstance(prologue, list):
        raise DatasetError("run.cluster.options: processes is a whole number, job_script_prologue a list of lines")
    memory = parse_bytes(memory_per_worker) * processes
    exports = [f"export {name}={shlex.quote(value)}" for name, value in as_environment(settings).items()]
    mine: dict[str, Any] = {
        **options,
        "processes": processes,
        "cores": processes,
        "memory": f"{memory} B",
        "scheduler_options": {"dashboard_address": "127.0.0.1:0", **options.get("scheduler_options", {})},
        "job_script_prologue": [*exports, *prologue],
    }
    if cls.job_cls.config_name == "slurm":
        mine.setdefault("job_mem", f"{(memory + NANNY_BYTES) // 2**20}M")
    return mine


async def _submitted(cluster: Any, workers: int) -> None:
    """Submit the first jobs; what the batch system says against them is raised here, and not only logged."""
    cluster.scale(workers)
    try:
        await cluster
        for job in cluster.workers.values():
            await job
    except Exception:
        for job in cluster.workers.values():
            if job.status == Status.created:
                job.status = Status.failed  # so that the cluster does not wait for its end
        raise
