"""Rows that go straight to Parquet have the bytes of the frame they would have made, or are left to it."""

import pytest
from contract_rows import NAME, NAN, table
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from lungpipe.errors import DatasetError
from lungpipe.store import tables
from lungpipe.store.few_rows import MOST_ROWS, pack_rows
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, read_table, to_bytes, write_rows

#: Cells that a row may be spoilt by, right ones among them.
CELLS = st.one_of(
    st.sampled_from(
        ["", NAME, "shell", "nodule", "chosen", "otsu", "N-AAAAAAAAAAA2", None, NAN, True, 0, 1, -1, 8.0, 0.5]
    ),
    st.sampled_from([2**63, 1e300, float("inf"), b"shell", "\ud800", [1.0]]),
)


def rows_of(name, count):
    return table(name, count).to_dict("records")


def slowly(name, rows):
    """Bytes by way of a frame, or None where it is refused."""
    try:
        return to_bytes(name, make_table(name, rows))
    except (DatasetError, ValueError, TypeError, UnicodeError):
        return None


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", SCHEMAS)
def test_bytes_are_those_of_the_frame(name, count):
    """Every table of a few right rows, in whatever order, is packed without a frame into the same bytes."""
    rows = rows_of(name, count)
    if name == "features":
        rows = [{**row, "original_b": float(k), "original_a": NAN} for k, row in enumerate(rows)]
        rows = [{key: row[key] for key in row if (k, key) != (0, "original_a")} for k, row in enumerate(rows)]
    expected = slowly(name, rows)
    assert expected is not None
    assert pack_rows(name, rows) == expected
    if SCHEMAS[name].sorted:
        assert pack_rows(name, rows[::-1]) == expected


@options(deadline=None, max_examples=150)
@given(name=st.sampled_from(sorted(SCHEMAS)), data=st.data())
def test_nothing_is_packed_that_a_frame_refuses(name, data):
    """With any cell spoilt or missing, rows are left to the frame or have its very bytes."""
    rows = rows_of(name, 3)
    columns = [*SCHEMAS[name].columns, "original_a", "clinical_age"]
    for _ in range(data.draw(st.integers(1, 3))):
        column, row = data.draw(st.sampled_from(columns)), data.draw(st.sampled_from(rows))
        if data.draw(st.booleans()):
            row[column] = data.draw(CELLS)
        else:
            row.pop(column, None)
    packed = pack_rows(name, rows)
    assert packed is None or packed == slowly(name, rows)


def test_repeated_keys_and_many_rows_are_left_to_the_frame():
    """Two rows of one key are not packed, nor are more rows than a frame takes faster."""
    row = SCHEMAS["nodules"].example
    assert pack_rows("nodules", [row, row]) is None
    many = [{**SCHEMAS["exclusions"].example, "message": f"{k:03}"} for k in range(MOST_ROWS + 1)]
    assert pack_rows("exclusions", many) is None
    assert pack_rows("exclusions", many[1:]) is not None


def test_what_is_wrong_is_told_as_ever(tmp_path, monkeypatch):
    """Wrong rows are refused in the frame's words and nothing is written; right ones need no frame."""
    place = Place.at(tmp_path)
    with pytest.raises(DatasetError, match=r"parts/a/features\.parquet\) breaks its contract.*clipped_fraction"):
        write_rows(
            "features", [{**SCHEMAS["features"].example, "clipped_fraction": 2.0}], place, "parts/a/features.parquet"
        )
    assert not place.exists("parts/a/features.parquet")
    with pytest.raises(DatasetError, match="no table is called 'notes'"):
        write_rows("notes", [], place, "parts/a/notes.parquet")
    monkeypatch.setattr(tables, "make_table", None)
    write_rows("features", rows_of("features", 2), place, "parts/a/features.parquet")
    assert read_table(place, "parts/a/features.parquet").equals(table("features", 2))
