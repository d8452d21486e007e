"""One run a workspace: who holds it is told, and what was killed holds nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lungpipe.errors import LungpipeError
from lungpipe.lineage.withdraw import RUN
from lungpipe.store import lock
from lungpipe.store.gc import find_garbage
from lungpipe.store.lock import NAME, WorkspaceBusyError, one_run, require_free
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace

HOLDER = """
import sys, time
from lungpipe.store.lock import one_run
from lungpipe.store.place import Place
with one_run(Place.at(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def quick(monkeypatch):
    """Leases of a fifth of a second, so that one expires while a test waits."""
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    monkeypatch.setattr(lock, "EXPIRES_S", 0.2)
    monkeypatch.setattr(lock, "_SETTLE_S", 0.1)


def test_a_second_run_is_told_who_is_at_work(place, quick):
    """The message names host, process and what to do; after the first has ended the second may run."""
    with one_run(place), pytest.raises(WorkspaceBusyError) as refused, one_run(place):
        pass
    assert f"process {os.getpid()} on {os.uname().nodename}, since 2" in str(refused.value)
    assert "wait for it to end or stop it" in str(refused.value)
    with one_run(place):
        pass


def test_a_held_folder_is_told_before_anything_starts(local):
    """A free folder passes and stays as it is, and so does one that is not there."""
    require_free(local)
    assert not local.exists("")
    with one_run(local), pytest.raises(WorkspaceBusyError):
        require_free(local)
    assert local.read(NAME) == b""
    before = local.path(NAME).stat().st_mtime_ns
    require_free(local)
    assert local.path(NAME).stat().st_mtime_ns == before


def test_a_killed_run_leaves_no_lock(local):
    """After kill -9 the next run starts at once."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(local)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WorkspaceBusyError, match=f"process {holder.pid} on"):
            require_free(local)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        start = time.monotonic()
        with one_run(local):
            assert time.monotonic() - start < 1
    finally:
        holder.kill()
        holder.communicate()


def test_a_lease_that_is_not_kept_up_expires(s3, quick):
    """An object that its writer left behind is taken over, and one that changes is not."""
    s3.write(NAME, json.dumps({"host": "elsewhere", "process": 1, "since_s": 0, "token": "old"}).encode())
    with one_run(s3):
        assert json.loads(s3.read(NAME))["token"] != "old"
        with pytest.raises(WorkspaceBusyError), one_run(s3):
            pass
    assert not s3.exists(NAME)


def test_of_two_that_take_over_a_lease_one_runs(s3, quick):
    """Both find the same dead lease; one is told that the other runs."""
    s3.write(NAME, b"{}")
    ended = []

    def run():
        try:
            with one_run(Place.at(str(s3))):
                time.sleep(0.5)
                ended.append("ran")
        except WorkspaceBusyError:
            ended.append("refused")

    both = [threading.Thread(target=run) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(ended) == ["ran", "refused"]


def test_a_run_that_lost_its_lease_says_so(s3, quick):
    """A process that stood still while another took over ends with what that may have done, and leaves the other's lease."""

    def stood_still():
        with one_run(s3):
            s3.write(NAME, b'{"token": "another"}')
            time.sleep(0.3)

    with pytest.raises(LungpipeError, match="run the recipe once more"):
        stood_still()
    assert json.loads(s3.read(NAME))["token"] == "another"


def test_the_lock_is_no_stray(finished):
    """Neither verification nor gc minds the file, held or not."""
    place = Place.at(finished[0])
    assert place.exists(RUN)
    with one_run(place):
        assert verify_workspace(place) == []
        assert find_garbage(place) == []
    assert place.exists(NAME)
    assert verify_workspace(place) == []
