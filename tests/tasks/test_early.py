"""Workers load what scans need before the first scan comes, and know their share of the cores."""

import os
import sys
import time

from dask.system import CPU_COUNT
from distributed import Client

from tasks.cluster import ADDRESS_VARIABLE, THREADS_VARIABLE, dask_cluster
from tasks.early import MODULES


def seen():
    """What a worker has loaded, and its threads."""
    return [name for name in MODULES if name in sys.modules], os.environ.get(THREADS_VARIABLE)


def test_workers_load_before_the_first_scan(monkeypatch):
    """A preload brings the modules of a scan in the background; a cluster without it loads none of them."""
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    for preload, expected in (((), []), (("tasks.early",), [*MODULES])):
        with (
            dask_cluster(None, 1, "2GiB", preload=preload) as address,
            Client(address, set_as_default=False) as client,
        ):
            until = time.monotonic() + 60
            while (found := next(iter(client.run(seen).values()))) != (expected, str(CPU_COUNT)):
                assert time.monotonic() < until, found
                time.sleep(0.5)
