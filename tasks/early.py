"""A Dask preload: workers load what scans need while headers are read. It takes seconds, which their first scans would wait for."""

from __future__ import annotations

from importlib import import_module
from threading import Thread

#: What a scan's first steps load, and what the features of its regions do.
MODULES = ("lungpipe.scan.process", "lungpipe.radiomics.nested.regions")


def dask_setup(worker: object) -> None:
    """Start loading in a thread of its own, so that the worker answers, and works, meanwhile; Dask calls this at its start."""
    del worker
    Thread(target=_load, name="load early", daemon=True).start()


def _load() -> None:
    for name in MODULES:
        import_module(name)
