"""Scans that end their worker, each in its own way; a module that workers can import."""

import ctypes
import time
from pathlib import Path

from lungpipe.scan import process_scan as real_process_scan

#: Folder of the patient in the archive, and what befalls the worker.
WAYS = {"p1": "crash", "p4": "sleep", "p7": "eat"}


def process_scan(job, settings, workspace):
    """Process a scan, unless it is one of the bad ones."""
    way = WAYS.get(Path(job.files[0].path).parent.name)
    if way == "crash":
        ctypes.string_at(0)
    if way == "sleep":
        time.sleep(3600)
    hoard = []
    while way == "eat":
        hoard.append(bytearray(b"x") * (64 * 2**20))
        time.sleep(0.02)
    return real_process_scan(job, settings, workspace)
