"""A shard of scans: who gets how much memory, and what becomes of what nobody has memory for."""

import small_run

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
