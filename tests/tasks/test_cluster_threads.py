"""Local workers know their share of the cores, which networks use, and that they may use the machine's GPU."""

import os

import pytest
from dask.system import CPU_COUNT
from distributed import Client

from tasks.cluster import ADDRESS_VARIABLE, THREADS_VARIABLE, dask_cluster, threads_each


def share():
    """What a worker is told."""
    return os.environ.get(THREADS_VARIABLE)


def test_a_worker_knows_its_share(monkeypatch):
    """One worker has all cores for a network."""
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    with dask_cluster(None, 1, "2GiB") as address, Client(address, set_as_default=False) as client:
        assert list(client.run(share).values()) == [str(CPU_COUNT)]
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert worker["resources"] == {"GPU": 1}


@pytest.mark.parametrize(("workers", "threads"), [(1, CPU_COUNT), (CPU_COUNT, 1), (10 * CPU_COUNT, 1)])
def test_shares_add_up_to_the_cores(workers, threads):
    """Never more threads than cores, and never none."""
    assert threads_each(workers) == str(threads)
