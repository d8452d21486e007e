"""What is searched: every kind of file, and what is told of one that cannot be opened."""

import datetime
import gzip
import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from identity_files import (
    CLEAN,
    DATE,
    ID,
    LEAK,
    NAME,
    TERMS,
    WRITERS,
    damaged_parquet,
    html_text,
    json_key,
    kinds,
    parquet_text,
    plain,
    sqlite,
    zarr_bytes,
    zip_entry,
    zip_name,
)

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.identity import Term, audit_workspace, search_identities
from lungpipe.identity.pieces import Budget
from lungpipe.identity.search import pieces
from lungpipe.store.place import Place
from lungpipe.store.volumes import write_mask, write_volume
from lungpipe.volume import CTVolume, Mask


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_kind_of_file_is_searched(tmp_path, write):
    """A name, an id and a date are found in each kind of file, and nothing where pseudonyms stand instead."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    write(tmp_path / "bad", LEAK)
    write(tmp_path / "good", CLEAN)
    assert kinds(tmp_path / "bad") == {"name", "id", "date"}
    assert search_identities(tmp_path / "good", TERMS) == []


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-16"])
def test_text_is_found_in_each_encoding(tmp_path, encoding):
    """Text is read as UTF-8, Latin-1 and UTF-16 with and without a byte order mark; letters beyond ASCII too."""
    plain(encoding)(tmp_path, f"{LEAK} Müßiggänger^Ágnes")
    assert kinds(tmp_path) == {"name", "id", "date"}
    assert kinds(tmp_path, [Term("name", "MÜßIGGÄNGER^ÁGNES")]) == {"name"}
    assert kinds(tmp_path, [Term("name", "Müßiggang^Agnes")]) == set() or encoding.startswith("utf-16")


def test_dates_and_whole_numbers_of_tables_are_found(tmp_path):
    """A birth date is found in a date, a timestamp and an integer column, and an id of seven digits in an integer one."""
    columns = {
        "d": pa.array([datetime.date(1953, 2, 17)]),
        "t": pa.array([datetime.datetime(1953, 2, 17, 8)]),
        "n": pa.array([19530217]),
        "m": pa.array([7712345]),
    }
    for name, column in columns.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({name: column}), tmp_path / name / "t.parquet")
    for name in "dtn":
        assert kinds(tmp_path / name) == {"date"}, name
    assert kinds(tmp_path / "m", [Term("id", "7712345")]) == {"id"}


def test_a_finding_tells_the_place_and_hides_the_term(tmp_path):
    """A finding names file, column and row, kind and length; no finding has the term's text anywhere."""
    folder = tmp_path / f"scan {NAME}"
    folder.mkdir()
    parquet_text(folder, LEAK)
    json_key(folder, LEAK)
    zip_name(folder, LEAK)
    findings = search_identities(tmp_path, TERMS)
    cell = next(f for f in findings if f.path.endswith("t.parquet") and f.kind == "name")
    assert cell.place == "column who, row 300"
    assert cell.message == f"W\N{HORIZONTAL ELLIPSIS} ({len(NAME)} characters)"
    assert {f.path.rpartition("/")[2] for f in findings} == {
        cell.path.partition("/")[0],
        "t.parquet",
        "a.json",
        "a.zip",
    }
    told = repr(findings)
    for secret in ("Wurstmann", "Gerlinde", ID, DATE):
        assert secret not in told
    assert NAME not in repr(TERMS)


def damaged_gzip(folder):
    (folder / "a.gz").write_bytes(gzip.compress(b"hello" * 1000)[:-20])


def damaged_database(folder):
    sqlite(folder, "x")
    content = bytearray((folder / "p.db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (folder / "p.db").write_bytes(content)


def damaged_zarr(folder):
    zarr_bytes(folder, CLEAN)
    next((folder / "v.zarr" / "a" / "b" / "c").iterdir()).write_bytes(b"nonsense")


def encrypted_zip(folder):
    zip_entry(folder, CLEAN)
    content = bytearray((folder / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag of the central entry: encrypted
    (folder / "a.zip").write_bytes(content)


def nested_too_deep(folder):
    content = b"hello"
    for _ in range(9):
        content = gzip.compress(content)
    (folder / "a.gz").write_bytes(content)


def linked_folder(folder):
    (folder / "link").symlink_to(folder.parent)


@pytest.mark.parametrize(
    "write",
    [damaged_parquet, damaged_gzip, damaged_database, damaged_zarr, encrypted_zip, nested_too_deep, linked_folder],
    ids=lambda write: write.__name__,
)
def test_what_cannot_be_opened_is_told(tmp_path, write):
    """A container that cannot be read is a finding: silence about it would be taken for innocence."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in")
    assert kinds(tmp_path / "in") == {"unsearched"}


def test_what_cannot_be_opened_does_not_give_a_name_away(tmp_path):
    """The name of an encrypted entry is masked where it is told."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("Wurstmann/a.txt", "x")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    findings = search_identities(tmp_path, TERMS)
    assert {f.kind for f in findings} == {"name", "unsearched"}
    assert "urstmann" not in repr(findings)


def test_a_bomb_is_not_expanded():
    """A stream that expands beyond the budget is given up and told."""
    bomb = gzip.compress(b"\0" * 5_000_000)
    found = list(pieces(io.BytesIO(bomb), Budget(1_000_000)))
    assert [item.reason for item in found if not hasattr(item, "content")] == ["it expands to more than the limit"]


def test_missing_folders_are_refused(tmp_path):
    """A folder that is not there is an error, not a clean bill."""
    with pytest.raises(DatasetError, match="does not exist"):
        search_identities(tmp_path / "none", TERMS)
    with pytest.raises(DatasetError, match="is no workspace"):
        audit_workspace(Place.at(tmp_path / "none"), TERMS)


def test_several_folders_and_single_files_are_searched(tmp_path):
    """Other places are searched too, and told by their own name."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        html_text(tmp_path / name, LEAK)
    (tmp_path / "p.log").write_text(LEAK)
    found = search_identities([tmp_path / "one", tmp_path / "two", tmp_path / "p.log"], TERMS)
    assert {f.path for f in found} == {"index.html", "two/index.html", "p.log"}


@pytest.mark.parametrize("limit", [1 << 26, 1000], ids=["at once", "in windows"])
def test_arrays_in_shards_are_searched(tmp_path, monkeypatch, limit):
    """A text in the voxels of a stored volume or mask is found, however large the array; damage in one is told."""
    monkeypatch.setattr("lungpipe.identity.databases.LIMIT", limit)
    place, frame = Place.at(tmp_path / "w"), Geometry((40, 130, 130), (1.0, 1.0, 1.0))
    noise = np.random.default_rng(0).integers(-1000, 1000, frame.shape).astype(np.int16)
    write_volume(place, "v.zarr", CTVolume(noise, frame), {})
    write_mask(place, "v.zarr", "lung/a", Mask(np.ones(frame.shape, np.bool_), frame))
    assert search_identities(tmp_path / "w", TERMS) == []
    text = np.frombuffer((LEAK + " " * (len(LEAK) % 2)).encode(), "<i2")
    noise[35, 60, : len(text)] = text
    write_volume(place, "v.zarr", CTVolume(noise, frame), {})
    assert kinds(tmp_path / "w") == {"name", "id", "date"}
    (name,) = place.files("v.zarr/ct/c")
    content = place.read(name)
    place.write(name, content[:100] + bytes([content[100] ^ 1]) + content[101:])
    assert "unsearched" in kinds(tmp_path / "w")
