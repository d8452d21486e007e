"""A Dask cluster for a run: the user's own by address, or local worker processes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dask
from dask.system import CPU_COUNT
from distributed import LocalCluster

from lungpipe.errors import DatasetError
from tasks.client import client_of
from tasks.cluster_settings import require_alike
from tasks.named_cluster import NamedCluster, named_cluster
from tasks.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS_VARIABLE = "LUNGPIPE_DASK_ADDRESS"
#: Where the dashboard of local workers listens, with their metrics.
DASHBOARD_VARIABLE = "LUNGPIPE_DASK_DASHBOARD"

#: A worker's share of the cores, for networks alone: what else it does has one thread.
THREADS_VARIABLE = "LUNGPIPE_TORCH_THREADS"
#: Native thread pools of a worker: the parallelism is over scans.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"
)

#: A worker keeps what it freed for the next array, up to these bytes. Dask's own setting gives everything back to the system at
#: once, and the pages of every array are then made anew: a third of a scan's time (``benchmarks/worker_processes.py``).
_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}

#: Of Dask, wherever its processes run; :mod:`tasks.cluster_settings` carries them to other machines.
SETTINGS = {
    # A scan that kills its worker twice is the culprit; at 0 an innocent neighbour would be blamed.
    "distributed.scheduler.allowed-failures": 2,
    # One scan a worker at a time, the rest with the scheduler: a hung scan holds up nobody.
    "distributed.scheduler.worker-saturation": 1.0,
    # C code that holds the GIL looks dead to the scheduler; let it work.
    "distributed.scheduler.worker-ttl": "1h",
    "distributed.nanny.pre-spawn-environ": {**_ONE_THREAD, **_KEEPS_MEMORY},
    # The cluster forgets a worker that is away this long after a death, even one whose nanny is just restarting it.
    "distributed.deploy.lost-worker-timeout": "1000h",
    "distributed.worker.daemon": True,
    "distributed.admin.tick.limit": "1h",
    # Looking a hundred times a second what a worker is at, and fifty times whether each process still answers, takes a tenth of a
    # core with two workers that do nothing.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    # Headers of a thousand slices a series are what a worker is to look at.
    "distributed.admin.large-graph-warning-threshold": "1GiB",
    "logging.distributed": "critical",
}


def threads_each(workers: int) -> str:
    """Threads that each of some workers of this machine has for networks."""
    return str(max(1, CPU_COUNT // workers))


@contextmanager
def dask_cluster(
    address: str | None,
    workers: int,
    memory_per_worker: str,
    named: NamedCluster | None = None,
) -> Iterator[str]:
    """Give the address of a scheduler, and take the cluster down again if it was started here.

    Parameters
    ----------
    address : str, optional
        Of the user's own scheduler; else ``$LUNGPIPE_DASK_ADDRESS``; else local processes are started.
    workers : int
        Local worker processes.
    memory_per_worker : str
        Limit of each, as Dask writes it (``"4GiB"``).
    named : NamedCluster, optional
        Class of a cluster to start where there is no address.

    Raises
    ------
    DatasetError
        If no scheduler answers at the address or it has other code, or the named cluster cannot be started.
    """
    address = address or os.environ.get(ADDRESS_VARIABLE)
    with dask.config.set(SETTINGS):
        if address:
            try:
                with client_of(address) as client:
                    for line in require_alike(client, address, SETTINGS):
                        say(line)
            except (OSError, ValueError) as error:
                raise DatasetError(
                    f"no Dask scheduler answers at {address}; start it, or leave the address out"
                ) from error
            yield address
            return
        if named is not None:
            with named_cluster(named, workers, memory_per_worker, SETTINGS) as started:
                yield started
            return
        with LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory_per_worker,
            dashboard_address=os.environ.get(DASHBOARD_VARIABLE) or "127.0.0.1:0",
            silence_logs=50,
            env={THREADS_VARIABLE: threads_each(workers)},
            resources={"GPU": 1},  # this machine's, if it has one, is shared by its workers
        ) as cluster:
            yield cluster.scheduler_address
