"""What can go goes, and nothing else."""

import pytest
import small_run

from lungpipe.store import ledger
from lungpipe.store.gc import find_garbage, remove_garbage
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace


@pytest.fixture
def workspace(finished):
    return finished[0]


def test_a_sound_workspace_has_no_garbage(workspace):
    """Nothing is found in a finished workspace, whatever is asked for."""
    for superseded in (False, True):
        assert find_garbage(Place.at(workspace), superseded=superseded) == []


def test_orphans_are_counted_and_removed(workspace):
    """What no record names is listed with its size; afterwards the workspace is sound."""
    place = Place.at(workspace)
    lost = next(iter(ledger.records(place, ledger.patients(place)[0], "features")))
    sizes = {name: (workspace / name).stat().st_size for name in lost.outputs}
    ledger.forget(place, lost.ref)
    (workspace / "parts" / ".half").write_bytes(b"123")
    found = find_garbage(place)
    assert {(g.why, g.path): g.n_bytes for g in found} == {
        ("orphan", f"parts/{lost.ref.split('/')[1]}"): sum(sizes.values()),
        ("leftover", "parts/.half"): 3,
    }
    remove_garbage(place, found)
    assert find_garbage(place) == []
    assert not any((workspace / name).exists() for name in sizes)


def test_superseded_artefacts_go_only_when_asked(workspace, small_archive):
    """After another setting, what the present tables are not of is superseded; the rest still stands."""
    place = Place.at(workspace)
    small_run.run(*small_archive, workspace, small_run.settings(radii_mm=(0, 4)))
    assert find_garbage(place) == []
    found = find_garbage(place, superseded=True)
    gone = [g.path.split("/")[-1].split("-")[0] for g in found if g.path.startswith("ledger/")]
    assert (gone.count("features"), gone.count("configuration")) == (16, 2)
    assert {g.why for g in found} == {"superseded"}
    remove_garbage(place, found)
    assert verify_workspace(place) == []
    again = small_run.run(*small_archive, workspace, small_run.settings(radii_mm=(0, 4)))
    assert not any(result.made for result in again.results)
