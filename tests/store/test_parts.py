"""Rows come back from their files as the frame they would have made, and what a frame refuses is refused."""

import json

import pandas as pd
import pytest
from contract_rows import NAME, NAN, table
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from lungpipe.errors import DatasetError
from lungpipe.store import parts
from lungpipe.store.parts import gather_rows, load_rows, write_rows
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, to_bytes

#: Cells that a row may be spoilt by, right ones among them.
CELLS = st.one_of(
    st.sampled_from(
        ["", NAME, "shell", "nodule", "chosen", "otsu", "N-AAAAAAAAAAA2", None, NAN, True, 0, 1, -1, 8.0, 0.5]
    ),
    st.sampled_from([2**53 + 1, 2**63, 1e300, 5e-324, 0.1, float("inf"), b"shell", "\ud800", "ü", [1.0]]),
)
PATH = "parts/a/rows.json"


def rows_of(name, count):
    return table(name, count).to_dict("records")


def by_frame(name, rows):
    """Bytes of the table by way of a frame, or None where it is refused."""
    try:
        return to_bytes(name, make_table(name, rows))
    except (DatasetError, ValueError, TypeError, UnicodeError):
        return None


def by_file(place, name, rows):
    """Bytes of the table that comes from a file of the rows, or None where they are refused."""
    place.remove(PATH)
    try:
        write_rows(place, PATH, {name: rows})
    except (DatasetError, ValueError, TypeError):
        assert not place.exists(PATH)
        return None
    return to_bytes(name, gather_rows(place, [PATH])[name])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place.at(tmp_path_factory.mktemp("parts"))


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", SCHEMAS)
def test_rows_come_back_as_the_frame_they_make(name, count, place, monkeypatch):
    """Every table of a few right rows, in whatever order, needs no frame to be written, and comes back to the last bit."""
    rows = rows_of(name, count)
    if name == "features":
        rows = [{**row, "original_b": 0.1 + k, "original_a": NAN} for k, row in enumerate(rows)]
        rows = [{key: row[key] for key in row if (k, key) != (0, "original_a")} for k, row in enumerate(rows)]
    expected = by_frame(name, rows)
    assert expected is not None
    with monkeypatch.context() as patch:
        patch.setattr(parts, "make_table", None)
        write_rows(place, PATH, {name: rows[::-1] if SCHEMAS[name].sorted else rows})
    assert to_bytes(name, gather_rows(place, [PATH])[name]) == expected


@options(deadline=None, max_examples=30)
@given(name=st.sampled_from(sorted(SCHEMAS)), data=st.data())
def test_files_refuse_what_a_frame_refuses(name, data, place):
    """With any cell spoilt or missing, rows are refused as a frame refuses them, or come back as the same table."""
    rows = rows_of(name, 3)
    columns = [*SCHEMAS[name].columns, "original_a", "clinical_age"]
    for _ in range(data.draw(st.integers(1, 3))):
        column, row = data.draw(st.sampled_from(columns)), data.draw(st.sampled_from(rows))
        if data.draw(st.booleans()):
            row[column] = data.draw(CELLS)
        else:
            row.pop(column, None)
    assert by_file(place, name, rows) == by_frame(name, rows)


def test_files_of_many_scans_become_one_table(place):
    """Rows are joined in the order of their keys, more files than are read at once too, and held against the contract."""
    whole = table("features", 4).assign(original_a=[1.0, 2.0, NAN, 4.0])
    rows = whole.to_dict("records")
    paths = [f"parts/features-{k}/rows.json" for k in range(3)]
    for path, some in zip(paths, (rows[2:], [], rows[:2]), strict=True):
        write_rows(place, path, {"features": some, "exclusions": []})
    for at_once in (500, 2, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parts, "_FILES_AT_ONCE", at_once)
            found = gather_rows(place, paths)
        pd.testing.assert_frame_equal(found["features"], whole)
        pd.testing.assert_frame_equal(found["exclusions"], make_table("exclusions", []))
    assert gather_rows(place, []) == {}
    with pytest.raises(DatasetError, match="2 rows repeat a key"):
        gather_rows(place, [*paths, paths[0]])
    place.write(paths[0], json.dumps({"features": [{**rows[2], "clipped_fraction": 2.0}]}).encode())
    with pytest.raises(DatasetError, match=r"3 files of rows\) breaks its contract.*clipped_fraction"):
        gather_rows(place, paths)
    place.write(paths[0], json.dumps({"features": [{**rows[2], "clipped_fraction": "all"}]}).encode())
    with pytest.raises(DatasetError, match=r"rows of table 'features' do not fit together"):
        gather_rows(place, paths)
    place.remove(paths[1])
    with pytest.raises(DatasetError, match=r"features-1/rows\.json cannot be read \(no file\); run the recipe again"):
        gather_rows(place, paths)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"\xff", b"[]", b'{"nodules": 3}', b'{"nodules": [3]}', b"[" * 100_000]
)
def test_a_damaged_file_is_one_message(place, content):
    """What is no file of rows is told as such."""
    place.write(PATH, content)
    with pytest.raises(DatasetError, match=r"parts/a/rows\.json cannot be read"):
        load_rows(place, PATH)


def test_what_is_wrong_is_told_in_the_words_of_frames(place):
    """Wrong rows are refused by name of file and column, and nothing is written."""
    place.remove(PATH)
    row = SCHEMAS["features"].example
    with pytest.raises(DatasetError, match=r"parts/a/rows\.json\) breaks its contract.*clipped_fraction"):
        write_rows(place, PATH, {"exclusions": [], "features": [{**row, "clipped_fraction": 2.0}]})
    with pytest.raises(DatasetError, match="1 rows repeat a key"):
        write_rows(place, PATH, {"features": [row, row]})
    with pytest.raises(DatasetError, match="no table is called 'notes'"):
        write_rows(place, PATH, {"notes": []})
    with pytest.raises(DatasetError, match="no Unicode"):
        write_rows(place, PATH, {"exclusions": [{**SCHEMAS["exclusions"].example, "message": "\ud800"}]})
    assert not place.exists(PATH)
