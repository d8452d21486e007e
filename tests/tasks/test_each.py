"""Whatever befalls an item on Dask ends as its result or its failure."""

import errno
import os
import socket
import time
from types import SimpleNamespace

import dask
import pytest
from distributed import Scheduler, SpecCluster, Worker, get_worker

from lungpipe.errors import DatasetError
from tasks.cluster import dask_cluster
from tasks.each import Failure, _able, _lacking, _overdue, _Seen, each


def work(item, offset=0):
    """Do what the item says."""
    if item == "refuse":
        raise DatasetError("5 patients are too few for 3 folds")
    if item == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    if item == "unplugged":
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    if item == "raise":
        raise ValueError("patient Jane Roe")
    if item == "die":
        os._exit(1)
    if item == "hang":
        time.sleep(600)
    return item + offset


@pytest.fixture
def address(dask_workers):
    return dask_workers


def test_every_item_comes_back_with_the_shared_arguments(address):
    """Each item's result comes once, under its position."""
    assert dict(each(address, work, [1, 2, 3, 4, 5], 10)) == {i: i + 11 for i in range(5)}


def test_one_bad_item_fails_alone_and_says_little(address):
    """An exception becomes a failure whose message names its kind and quotes nothing of it."""
    found = dict(each(address, work, [1, "raise", 2]))
    assert found[0] == 1
    assert found[2] == 2
    assert found[1].code == "internal_error"
    assert "ValueError" in found[1].message
    assert "Jane" not in found[1].message
    assert "test_each.py:" in found[1].message


@pytest.mark.parametrize(
    ("item", "code", "words"),
    [
        ("refuse", "refused", "5 patients are too few for 3 folds"),
        ("full", "no_room", "no room was left on the disk at test_each.py"),
        ("unplugged", "io_failed", "ConnectionResetError (ECONNRESET) at test_each.py"),
    ],
)
def test_what_is_no_bug_is_not_called_one(address, item, code, words):
    """Our own errors keep their words; a full disk and a failing disk or server have codes of their own."""
    found = dict(each(address, work, [item, 1]))
    assert found[1] == 1
    assert found[0].code == code
    assert words in found[0].message
    assert "bug" not in found[0].message


def test_item_that_kills_its_worker_fails_alone(address):
    """An item whose process dies every time is told apart from its neighbours, which all finish."""
    items = [1, 2, "die", *range(3, 30)]
    found = dict(each(address, work, items, 100))
    assert found.pop(2).code == "worker_died"
    assert found == {i: item + 100 for i, item in enumerate(items) if item != "die"}


def test_item_past_its_time_is_stopped(address):
    """An item that hangs is ended after its time, and the others finish."""
    start = time.monotonic()
    found = dict(each(address, work, ["hang", 1, 2, 3], timeout_s=4))
    assert time.monotonic() - start < 60
    assert isinstance(found[0], Failure)
    assert found[0].code == "timeout"
    assert [found[i] for i in (1, 2, 3)] == [1, 2, 3]


class Clock:
    """A client that says what runs where, as the scheduler would."""

    def __init__(self, *moments):
        self.moments = iter(moments)

    def processing(self):
        return next(self.moments)

    def restart_workers(self, workers, raise_for_error):
        self.restarted = workers


class Item:
    def __init__(self, key):
        self.key = key

    def cancel(self, force):
        self.cancelled = force


def test_time_is_counted_from_the_last_start(monkeypatch):
    """An item that waits again, or runs again on another worker, has its whole time again; one that goes on has not."""
    moments = iter([0.0, 3.0, 6.0, 8.0])
    # In this module alone: the clock of the process is also that of Dask's event loop, which another's values end.
    monkeypatch.setattr("tasks.each.time", SimpleNamespace(monotonic=lambda: next(moments)))
    steady, moved, queued = (Item(name) for name in ("steady", "moved", "queued"))
    client = Clock(
        {"a": ["steady"], "b": ["moved"], "c": ["queued"]},
        {"a": ["steady"], "d": ["moved"]},
        {"a": ["steady"], "d": ["moved"], "c": ["queued"]},
        {"d": ["moved"], "c": ["queued"]},
    )
    started = {}
    late = [_overdue(client, dict.fromkeys((steady, moved, queued), 0), started, 5.5) for _ in range(4)]
    assert late == [[], [], [steady], []]
    assert client.restarted == ["a"]


@pytest.mark.slow
def test_worker_that_dies_twice_in_a_quarter_of_a_minute_comes_back():
    """A cluster that looks again 15 s after a death, and finds the worker restarting, must not give it up."""
    with dask_cluster(None, 1, "2GiB") as where:
        assert next(iter(each(where, work, ["die"])))[1].code == "worker_died"
        died = time.monotonic()
        assert dict(each(where, work, ["hang"], timeout_s=11))[0].code == "timeout"
        assert time.monotonic() - died < 40
        assert dict(each(where, work, [1], timeout_s=30)) == {0: 1}


def place_of(item):
    """Name of the worker that does the item."""
    return get_worker().name


def nap_on(item):
    """Take a moment."""
    time.sleep(0.1)
    return place_of(item)


#: Workers inside the process of the tests share its memory: they must not stop for it.
NO_PAUSE = dict.fromkeys((f"distributed.worker.memory.{what}" for what in ("target", "spill", "pause")), False)


def test_items_go_where_there_is_memory_for_them():
    """What one worker has no room for goes to the other; what neither has room for fails untried, with both figures."""
    small, large = ({"cls": Worker, "options": {"memory_limit": n, "nthreads": 1}} for n in ("1GiB", "4GiB"))
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0"}}
    with (
        dask.config.set(NO_PAUSE),
        SpecCluster({"small": small, "large": large}, scheduler, silence_logs=50) as cluster,
    ):
        needs = [2 * 2**30] * 6 + [5 * 2**30] + [2**20]
        found = dict(each(cluster.scheduler_address, place_of, needs, needs_bytes=needs))
    assert [found[i] for i in range(6)] == ["large"] * 6
    assert found[6].code == "too_large_for_a_worker"
    assert "5.0 GiB by its headers, and the largest worker may take 3.8 GiB" in found[6].message
    assert found[7] in {"small", "large"}


def test_what_needs_a_gpu_goes_where_one_is():
    """Items that need a resource are done by workers that have it; where none has, each fails and says so."""
    bare = {"cls": Worker, "options": {"nthreads": 1}}
    able = {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0"}}
    with SpecCluster({"bare": bare, "able": able}, scheduler, silence_logs=50) as cluster:
        assert set(dict(each(cluster.scheduler_address, place_of, [1] * 6, resource="GPU")).values()) == {"able"}
        assert set(dict(each(cluster.scheduler_address, place_of, [1] * 12)).values()) <= {"able", "bare"}
    with SpecCluster({"bare": bare}, scheduler, silence_logs=50) as cluster:
        found = dict(each(cluster.scheduler_address, place_of, [1, 2], resource="GPU"))
    assert [found[i].code for i in range(2)] == ["no_gpu"] * 2
    assert '--resources "GPU=1"' in found[0].message


def test_items_do_not_wait_for_a_worker_that_is_gone():
    """After the only worker with the memory is gone, what was meant for it is done all the same."""
    small, large = ({"cls": Worker, "options": {"memory_limit": n, "nthreads": 1}} for n in ("1GiB", "4GiB"))
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": "127.0.0.1:0"}}
    with (
        dask.config.set(NO_PAUSE),
        SpecCluster({"small": small, "large": large}, scheduler, silence_logs=50) as cluster,
    ):
        needs = [2 * 2**30] * 20
        coming = each(cluster.scheduler_address, nap_on, needs, needs_bytes=needs)
        found = dict([next(coming)])
        cluster.sync(cluster.workers["large"].close)
        found |= dict(coming)
    assert len(found) == 20
    assert set(found.values()) == {"small", "large"}


def test_a_worker_that_is_away_for_a_moment_was_there():
    """Where the connection was made anew, what a worker had before counts; what none ever had does not."""
    seen, small = _Seen(), {"a": 1.0}
    assert _able({"a": 1.0, "b": 4.0}, 2, _Seen(most_bytes=4.0)) == ("b",)
    assert isinstance(_able(small, 2, _Seen(most_bytes=1.0)), Failure)
    assert _able(small, 2, _Seen(most_bytes=4.0)) == ()
    clients = [
        SimpleNamespace(scheduler_info=lambda n_workers, has=has: {"workers": {"a": {"resources": has}}})
        for has in ({}, {"GPU": 1}, {})
    ]
    assert _lacking(clients[0], "GPU", seen).code == "no_gpu"
    assert _lacking(clients[1], "GPU", seen) is None
    assert _lacking(clients[2], "GPU", seen) is None


def test_no_scheduler_is_told_at_once(monkeypatch):
    """An address where nobody answers is an error that names it."""
    monkeypatch.setattr("tasks.client.ANSWER_S", 1)
    with pytest.raises(DatasetError, match=r"tcp://127\.0\.0\.1:9"), dask_cluster("tcp://127.0.0.1:9", 1, "1GiB"):
        pass


def test_what_takes_a_connection_and_says_nothing_is_no_scheduler(monkeypatch):
    """A port of something else is told in time too, where Dask alone would wait for ever."""
    monkeypatch.setattr("tasks.client.ANSWER_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(DatasetError, match=f"no Dask scheduler answers at {address}"),
            dask_cluster(address, 1, "1GiB"),
        ):
            pass
