"""A run that lasts until it is killed, in a process of its own."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

_PROGRAM = """
import sys, time
from lungpipe.store.place import Place
from lungpipe.watching.watch import watched
with watched(Place.at(sys.argv[1]), "t") as watch, watch.stage("scans"):
    time.sleep(600)
"""


@contextmanager
def lasting_run(place):
    """Start it, and wait until its status says so; gives the process."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, str(place)]) as process:
        until(place, lambda status: status["stage"] == "scans")
        yield process


def until(place, wanted):
    """Wait for a status that is as wanted, and return it."""
    end = time.monotonic() + 60
    status = None
    while time.monotonic() < end:
        status = json.loads(place.read("status.json")) if place.exists("status.json") else None
        if status and wanted(status):
            return status
        time.sleep(0.01)
    raise AssertionError(status)
