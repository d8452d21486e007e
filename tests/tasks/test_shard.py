"""A shard of scans: who gets how much memory, and what becomes of what nobody has memory for."""

import pytest
import small_run

from lungpipe.errors import LungpipeError
from lungpipe.scan.memory import projected_bytes
from lungpipe.store import ledger
from lungpipe.store.place import Place
from tasks import scans
from tasks.each import Failure


def test_memory_is_asked_for_work_and_not_for_what_stands(finished, monkeypatch):
    """Of finished scans one that lacks a record needs memory; a scan too large for all workers is an exclusion with its code."""
    workspace, done = finished
    place, jobs = Place.at(workspace), list(done.plan.jobs)
    lost = next(iter(ledger.records(place, jobs[2].patient_id, "features")))
    ledger.forget(place, lost.ref)
    asked = []

    def none_has_room(_address, _function, items, *_, needs_bytes, **__):
        asked.extend(needs_bytes)
        yield from ((i, Failure("too_large_for_a_worker", "it needs more")) for i in range(len(items)))

    monkeypatch.setattr(scans, "each", none_has_room)
    results = scans.process_shard.fn("", jobs, small_run.settings(), str(place), 10.0, lambda *_: None)
    expected = [0] * len(jobs)
    expected[2] = projected_bytes(jobs[2].geometry, needs_lungs=False)
    assert asked == expected
    assert {result.exclusion.code for result in results} == {"too_large_for_a_worker"}
    assert {result.exclusion.stage for result in results} == {"scan"}


@pytest.mark.parametrize("heals", [True, False])
def test_a_scan_for_which_a_server_failed_is_tried_once_more(finished, monkeypatch, heals):
    """The second try counts, after all other scans; there is no third."""
    workspace, done = finished
    jobs, results = list(done.plan.jobs), {result.series_uid: result for result in done.results}
    tries = []

    def fails_at_first(_address, _function, items, *_, **__):
        tries.append([job.series_uid for job in items])
        for i, job in enumerate(items):
            failed = job is jobs[1] and not (heals and len(tries) == 2)
            yield i, Failure("io_failed", "a server failed") if failed else results[job.series_uid]

    monkeypatch.setattr(scans, "each", fails_at_first)
    found = scans.process_shard.fn("", jobs, small_run.settings(), str(workspace), 10.0, lambda *_: None)
    assert tries == [[job.series_uid for job in jobs], [jobs[1].series_uid]]
    assert len(found) == len(jobs)
    assert [result.exclusion.code for result in found if result.exclusion] == ([] if heals else ["io_failed"])


def test_a_full_disk_ends_the_shard(finished, monkeypatch):
    """No further scan is tried: each would fail, and leave an exclusion that says nothing of the scan."""
    workspace, done = finished

    def full(_address, _function, items, *_, **__):
        yield 0, Failure("no_room", "no room was left on the disk at place.py:1")
        pytest.fail("went on")

    monkeypatch.setattr(scans, "each", full)
    jobs = list(done.plan.jobs)
    with pytest.raises(LungpipeError, match=r"no room was left on the disk at place\.py:1; free some"):
        scans.process_shard.fn("", jobs, small_run.settings(), str(workspace), 10.0, lambda *_: None)
