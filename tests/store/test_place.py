"""Every kind of place keeps the same promises; what is said of one is said of all."""

import pickle

import pytest

from lungpipe.errors import DatasetError
from lungpipe.store.place import Place

FILES = {
    "run.json": b"{}",
    "tables/a.parquet": b"PAR1",
    "volumes/v.zarr/ct/c/0/0/0": b"\0" * 3000,
    "volumes/v.zarr/zarr.json": b"{1}",
    "volumes/v.zarr2/zarr.json": b"{2}",
}


@pytest.fixture
def filled(place):
    for name, content in FILES.items():
        place.write(name, content)
    return place


def test_what_is_written_is_read(filled):
    """Content comes back, an older file of the name is replaced, and sizes are those of the content."""
    assert {name: filled.read(name) for name in FILES} == FILES
    filled.write("run.json", b"second")
    assert filled.read("run.json") == b"second"
    assert filled.size("volumes/v.zarr/ct/c/0/0/0") == 3000
    filled.write("empty", b"")
    assert filled.read("empty") == b""
    assert filled.size("empty") == 0


def test_large_files_come_whole(place):
    """A file of more pieces than one comes back as it went."""
    content = bytes(range(256)) * 4096 * 7
    place.write("large", content)
    assert place.size("large") == len(content)
    assert place.read("large") == content


def test_files_and_folders_exist(filled):
    """A file, the folders above it and the place itself exist; their neighbours in the alphabet do not."""
    for name in ("run.json", "tables", "volumes/v.zarr", "volumes/v.zarr/ct/c", ""):
        assert filled.exists(name), name
    for name in ("run.jso", "run.json/x", "tab", "volumes/v", "volumes/v.zarr/c"):
        assert not filled.exists(name), name


def test_listing_knows_only_what_is_inside(filled):
    """Files below a folder, by their path in the place; a folder of a longer name is another folder."""
    assert filled.files() == sorted(FILES)
    assert filled.files("volumes/v.zarr") == ["volumes/v.zarr/ct/c/0/0/0", "volumes/v.zarr/zarr.json"]
    assert filled.files("run.json") == ["run.json"]
    assert filled.files("volumes/v") == []


def test_children_are_one_step_below(filled):
    """Names directly inside a folder; none of a file, nor of a folder that is not there."""
    assert filled.children() == ["run.json", "tables", "volumes"]
    assert filled.children("volumes") == ["v.zarr", "v.zarr2"]
    assert filled.children("run.json") == []
    assert filled.children("nowhere") == []


def test_an_empty_place_holds_nothing(place):
    """Nothing is there before anything was written, and asking makes nothing."""
    assert not place.exists("")
    assert place.files() == []
    assert place.children() == []
    place.remove("nothing")
    assert not place.exists("")


def test_removing_takes_a_folder_and_no_more(filled):
    """A removed folder is gone with all that was in it; the folder of a longer name stays; twice does no harm."""
    filled.remove("volumes/v.zarr")
    filled.remove("volumes/v.zarr")
    assert not filled.exists("volumes/v.zarr")
    assert filled.files("volumes") == ["volumes/v.zarr2/zarr.json"]
    filled.remove("run.json")
    assert not filled.exists("run.json")


def test_missing_files_are_told(filled):
    """Reading, sizing or hashing what is not there is FileNotFoundError, like any missing file."""
    for ask in (filled.read, filled.size, filled.digest):
        with pytest.raises(FileNotFoundError):
            ask("tables/none.parquet")
    with pytest.raises(OSError, match="tables"):
        filled.read("tables")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", ".."])
def test_names_that_lead_out_are_refused(filled, name):
    """No name reaches a file outside the place, whatever is asked."""
    for ask in (filled.read, filled.exists, filled.files, filled.children, filled.size, filled.remove, filled.digest):
        with pytest.raises(DatasetError, match="outside"):
            ask(name)
    with pytest.raises(DatasetError, match="outside"):
        filled.write(name, b"")
    with pytest.raises(DatasetError, match="outside"):
        filled.zarr(name)


def test_one_file_has_one_name(filled):
    """A dot or a doubled slash in a name changes nothing."""
    for name in ("./run.json", "run.json", ".//run.json"):
        assert filled.files(name) == ["run.json"]
        assert filled.digest(name) == filled.digest("run.json")
    assert filled.files("volumes//v.zarr/") == filled.files("volumes/v.zarr")
    assert filled.files(".") == filled.files()


def test_digest_follows_names_and_contents(filled):
    """The hash of a folder changes with any byte or name in it, that of a file is its SHA-256."""
    import hashlib

    assert filled.digest("run.json") == hashlib.sha256(b"{}").hexdigest()
    before = filled.digest("volumes")
    filled.write("volumes/v.zarr/zarr.json", b"{3}")
    changed = filled.digest("volumes")
    filled.remove("volumes/v.zarr/zarr.json")
    filled.write("volumes/v.zarr/zarr", b"{3}")
    assert len({before, changed, filled.digest("volumes")}) == 3


def test_digest_is_the_same_everywhere(local, s3):
    """A workspace copied from a disk to a bucket keeps the hashes that its ledger recorded."""
    for name, content in FILES.items():
        local.write(name, content)
        s3.write(name, content)
    for name in (*FILES, "volumes", "volumes/v.zarr", ""):
        assert local.digest(name) == s3.digest(name), name


def test_a_place_travels_by_its_address(filled):
    """A pickled place reads the same files in another process, and is as small as its address."""
    back = pickle.loads(pickle.dumps(filled))
    assert back == filled
    assert back.read("run.json") == b"{}"
    assert len(pickle.dumps(filled)) < len(str(filled)) + 200


def test_what_another_writes_is_seen(filled):
    """Listings are never remembered: a file that appears or goes elsewhere is noticed."""
    other = pickle.loads(pickle.dumps(filled))
    assert other.children("tables") == ["a.parquet"]
    filled.write("tables/b.parquet", b"12345")
    assert other.children("tables") == ["a.parquet", "b.parquet"]
    filled.write("tables/b.parquet", b"123")
    assert other.size("tables/b.parquet") == 3
    filled.remove("tables/b.parquet")
    assert not other.exists("tables/b.parquet")
    assert other.files("tables") == ["tables/a.parquet"]


def test_as_folder_holds_every_file(filled):
    """Seen as a local folder, a place holds what it holds; what is only a copy is gone afterwards."""
    with filled.as_folder() as folder:
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == FILES
    assert folder.exists() == (filled.local is not None)


def test_addresses_become_places(tmp_path, monkeypatch):
    """Paths become absolute, ``file://`` is a path, and a place is itself."""
    monkeypatch.chdir(tmp_path)
    place = Place.at("results")
    assert place.local == tmp_path / "results"
    assert Place.at(place) is place
    assert Place.at(tmp_path / "results") == place == Place.at(f"file://{tmp_path}/results")
    assert place.path("a/b") == tmp_path / "results" / "a" / "b"


def test_unknown_schemes_are_refused():
    """An address that nothing installed can open is told before any work."""
    with pytest.raises(DatasetError, match="cannot be opened"):
        Place.at("nowhere://bucket/x")
