"""Names, records and what they lead back to."""

from pathlib import Path

import pytest

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.store import ledger
from lungpipe.store.closure import closure
from lungpipe.store.place import Place

FRAME = Geometry((4, 6, 6), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def named(kind, **what):
    return ledger.named("P-1", kind, subject={}, **what)


def test_an_artefact_stands_only_whole(tmp_path):
    """An artefact stands while every output has the recorded content, and no longer when a byte differs."""
    place = Place.at(tmp_path)
    place.write("parts/a.txt", b"content")
    entry = named("masks")
    assert ledger.stands(place, entry.ref) is None
    written = ledger.record(place, entry, ["parts/a.txt"])
    assert ledger.stands(place, entry.ref) == written
    place.write("parts/a.txt", b"contenT")
    assert ledger.stands(place, entry.ref) is None
    place.remove("parts/a.txt")
    assert ledger.stands(place, entry.ref) is None


def test_a_file_more_in_a_folder_counts(tmp_path):
    """A folder stands only with the files it had, under the names they had."""
    place = Place.at(tmp_path)
    place.write("parts/x/a", b"1")
    place.write("parts/x/b", b"2")
    entry = ledger.record(place, named("masks"), ["parts/x"])
    assert ledger.stands(place, entry.ref)
    place.write("parts/x/c", b"3")
    assert ledger.stands(place, entry.ref) is None
    place.remove("parts/x/c")
    (tmp_path / "parts/x/b").rename(tmp_path / "parts/x/d")
    assert ledger.stands(place, entry.ref) is None


@pytest.mark.parametrize("damage", [lambda b: b[:20], lambda b: b.replace(b'"lung"', b'"none"'), lambda b: b""])
def test_a_damaged_record_is_no_record(tmp_path, damage):
    """A truncated, altered or empty record means that the work is done again, not that it crashes."""
    place = Place.at(tmp_path)
    entry = ledger.record(place, named("features", settings={"clip": "lung"}))
    path = tmp_path / ledger.path_of(entry.ref)
    path.write_bytes(damage(path.read_bytes()))
    assert ledger.stands(place, entry.ref) is None
    with pytest.raises(DatasetError, match="ledger's record"):
        ledger.load(place, entry.ref)


def test_a_record_under_another_name_is_refused(tmp_path):
    """A record copied to another name does not vouch for that artefact."""
    place = Place.at(tmp_path)
    entry = ledger.record(place, named("masks"))
    place.write("ledger/P-1/masks-0000.json", place.read(ledger.path_of(entry.ref)))
    assert ledger.stands(place, "P-1/masks-0000") is None


def test_a_name_follows_everything_that_made_it():
    """Same inputs, same name; another input, setting, version or kind, another name; unknown types are refused."""
    base = ledger.artefact_id("masks", source="s", geometry=FRAME)
    assert base == ledger.artefact_id("masks", geometry=FRAME, source="s")
    others = {
        ledger.artefact_id("masks", source="t", geometry=FRAME),
        ledger.artefact_id("volume", source="s", geometry=FRAME),
        ledger.artefact_id("masks", source="s", geometry=Geometry(FRAME.shape, (2.5, 0.7, 0.81))),
        named("masks").id,
        named("masks", made_from=["P-1/volume-1"]).id,
        named("masks", settings={"a": 1}).id,
        named("masks", versions={"a": "1"}).id,
        named("masks", inputs={"a": 1}).id,
    }
    assert base not in others
    assert len(others) == 8
    with pytest.raises(TypeError):
        ledger.artefact_id("masks", source=object())


def test_a_failed_write_leaves_the_old_record(tmp_path, monkeypatch):
    """A disk that fills up while a record is written leaves the one that was there."""
    place = Place.at(tmp_path)
    entry = ledger.record(place, named("masks"))

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="full"):
        ledger.record(place, entry)
    assert ledger.stands(place, entry.ref) == entry


def test_what_a_record_leads_back_to(tmp_path):
    """All ancestors are found once, through every path; a missing one is an error."""
    place = Place.at(tmp_path)
    volume = ledger.record(place, named("volume"))
    lung = ledger.record(place, named("lung", made_from=[volume.ref]))
    masks = ledger.record(place, named("masks", made_from=[volume.ref]))
    features = ledger.record(place, named("features", made_from=[volume.ref, masks.ref, lung.ref]))
    found = closure(place, [features.ref])
    assert next(iter(found)) == features.ref
    assert set(found) == {volume.ref, lung.ref, masks.ref, features.ref}
    assert all(entry.made_by.startswith("environments/environment-") for entry in found.values())
    ledger.forget(place, volume.ref)
    with pytest.raises(FileNotFoundError):
        closure(place, [features.ref])


def test_a_written_over_output_has_one_record(tmp_path):
    """When a table is written over, the record of the older one goes; that of another table stays."""
    place = Place.at(tmp_path)
    for name in ("a", "b"):
        place.write(f"tables/{name}", name.encode())
    older, other = (
        ledger.record(place, ledger.named("cohort", "table", subject={"table": name}), [f"tables/{name}"])
        for name in ("a", "b")
    )
    place.write("tables/a", b"new")
    newer = ledger.named("cohort", "table", subject={"table": "a"}, inputs={"n": 2})
    newer = ledger.record(place, newer, ["tables/a"])
    ledger.replace_older(place, newer)
    assert set(ledger.refs(place, "cohort")) == {newer.ref, other.ref}
    assert older.ref != newer.ref
