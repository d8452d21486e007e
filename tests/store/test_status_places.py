"""The status of a run on a disk and in a bucket."""

import time

from lungpipe.watching.status_file import condition, read_status
from lungpipe.watching.watch import watched


def test_a_status_is_kept_wherever_the_workspace_is(place):
    """While a run lasts its status can be read from another place object of the same address, and its end after it."""
    assert read_status(place) is None
    with watched(place, "t") as watch, watch.stage("scans"):
        end = time.monotonic() + 60
        while (status := read_status(place)) is None or status["stage"] != "scans":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert condition(status) == "running"
    assert condition(read_status(place)) == "finished"
