"""The report's pictures over workers: only what no earlier report drew, and what fails is said."""

import pandas as pd
import pytest

from lungpipe.report.drawing import Drawing, Tile
from lungpipe.report.pictures import drawn_before, sitters_of
from lungpipe.store.place import Place
from tasks import report
from tasks.each import Failure


def sitters(n, radius="m"):
    rows = [
        {"nodule_id": f"N-{k}", "series_uid": f"S-{k}", "patient_id": f"P-{k}", "volume_id": f"v{k}", "artefact": f"{radius}{k}"}
        for k in range(n)
    ]  # fmt: skip
    return sitters_of(pd.DataFrame(rows).assign(segmenter="otsu"), None)


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the workers: what they are asked for, and whose pictures fail."""
    seen, fails = [], set()

    def each(_address, function, items, *_args):
        assert function is report.draw_nodule
        seen.append([one.nodule_id for one in items])
        for position, one in reversed([*enumerate(items)]):
            failed = Failure("io_failed", "a disk failed") if one.nodule_id in fails else None
            yield position, failed or Tile(one.nodule_id, {"axial": Drawing(b"x", (1, 2), {})}, one.series_uid)

    monkeypatch.setattr(report, "each", each)
    return seen, fails


def test_only_new_nodules_are_drawn(asked, tmp_path):
    """A second report of the same nodules draws none, one with another nodule draws it, another mask is another picture."""
    seen, _ = asked
    place = Place.at(tmp_path)
    first = report._pictures("", place, sitters(3))
    assert report._pictures("", place, sitters(3)) == first
    assert seen == [["N-0", "N-1", "N-2"]]
    report._pictures("", place, sitters(4))
    assert seen[1:] == [["N-3"]]
    assert [tile.nodule_id for tile in drawn_before(place).values()] == ["N-0", "N-1", "N-2", "N-3"]
    report._pictures("", place, sitters(4, "other"))
    assert seen[2:] == [["N-0", "N-1", "N-2", "N-3"]]


def test_a_picture_that_fails_is_said_and_tried_again(asked, tmp_path, capsys):
    """The others are kept; the next report asks for it alone."""
    seen, fails = asked
    place = Place.at(tmp_path)
    fails.add("N-1")
    report._pictures("", place, sitters(3))
    assert "nodule N-1 has no picture: a disk failed" in capsys.readouterr().err
    assert [tile.nodule_id for tile in drawn_before(place).values()] == ["N-0", "N-2"]
    fails.clear()
    report._pictures("", place, sitters(3))
    assert seen[1:] == [["N-1"]]
    assert [tile.nodule_id for tile in drawn_before(place).values()] == ["N-0", "N-1", "N-2"]
