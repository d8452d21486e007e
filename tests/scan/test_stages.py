"""Only what depends on a change is made again: counted through the ledger, by stage."""

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import small_run

from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace


@pytest.fixture
def again(finished, small_archive):
    """Run once more in the finished workspace; returns how many records of each kind are new, and the tables."""
    workspace, _ = finished
    place = Place.at(workspace)

    def refs():
        return {ref for scope in ledger.scopes(place) for ref in ledger.refs(place, scope)}

    def rerun(nodules=None, archive=None, **changes):
        evaluation = changes.pop("evaluation", {})
        before = refs()
        stamps = {ref: (workspace / ledger.path_of(ref)).stat().st_mtime_ns for ref in before}
        done = small_run.run(
            archive or small_archive[0],
            nodules or small_archive[1],
            workspace,
            small_run.settings(**changes),
            **evaluation,
        )
        made = Counter()
        for result in (*done.results, done.tables, done.scored):
            for kind, n in result.made.items():
                made[kind.split(" ")[0]] += n
        new = refs() - before
        written = {
            ref for ref in refs() & before if (workspace / ledger.path_of(ref)).stat().st_mtime_ns != stamps[ref]
        }
        counted = Counter(ref.split("/")[1].rsplit("-", 1)[0] for ref in new | written)
        for kind in ("run", "report"):  # the tests' own runner writes these each time
            counted.pop(kind, None)
        assert counted == Counter({kind: n for kind, n in made.items() if n}), "what was made is what the ledger says"
        return dict(counted)

    return rerun


def test_nothing_changed(again):
    """A second run makes nothing."""
    assert again() == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"radiomics": RadiomicsSettings(bin_width_hu=20)}, {"features": 16, "table": 2, "configuration": 4, "scores": 1}),
        pytest.param({"radii_mm": (0, 4)}, {"features": 16, "table": 2, "configuration": 2, "scores": 1}, marks=pytest.mark.slow),
        ({"methods": ("otsu", "kmeans", "fcm")}, {"masks": 8, "agreement": 8, "features": 8, "table": 3, "configuration": 2, "scores": 1}),
        pytest.param({"consensus": ("majority",)}, {"masks": 8, "agreement": 8, "features": 8, "table": 3, "configuration": 2, "scores": 1}, marks=pytest.mark.slow),
        ({"quality": {"min_voxels": 11}}, {"table": 3, "scores": 1}),
        ({"methods": ("otsu",)}, {"table": 3, "scores": 1}),
        ({"evaluation": {"classifiers": ("knn", "logistic")}}, {"configuration": 4, "scores": 1}),
        ({"evaluation": {"seed": 8}}, {"configuration": 4, "scores": 1}),
    ],
)  # fmt: skip
def test_one_setting_changed(again, changes, expected):
    """Each setting reaches its own stage and what comes after it, and nothing before or beside it."""
    found = again(**changes)
    # A table whose parts are new may hold the same rows; that of exclusions depends on the same parts.
    assert {kind: n for kind, n in found.items() if kind != "table"} == {
        kind: n for kind, n in expected.items() if kind != "table"
    }
    assert found.get("table", 0) <= (4 if {"methods", "consensus"} & set(changes) else 3)


@pytest.mark.slow
def test_other_methods_leave_what_was_there_whole(again, finished):
    """After a run with one more method the artefacts of the run before still stand: only gc removes them."""
    again(methods=("otsu", "kmeans", "fcm"), consensus=("majority",))
    assert verify_workspace(Place.at(finished[0])) == []


def test_a_label_reaches_no_mask(again, small_archive):
    """A corrected label changes tables and scores; no mask and no feature depends on it."""
    from dataclasses import replace

    nodules = [replace(n, malignant=1 - n.malignant) for n in small_archive[1]]
    assert set(again(nodules)) == {"table", "configuration", "scores"}


def test_a_moved_nodule_reaches_its_scan_alone(again, small_archive):
    """A corrected box is segmented again on its own scan; the others are left alone."""
    from dataclasses import replace

    first, *others = small_archive[1]
    moved = replace(first, size_mm=(12.0,) * 3)
    found = again([moved, *others])
    assert (found["annotations"], found["masks"], found["features"]) == (1, 2, 2)
    assert "volume" not in found


def test_a_changed_file_reaches_its_scan_alone(again, small_archive, tmp_path):
    """A file of one series that changes makes that series anew, from its volume on."""
    archive = Path(shutil.copytree(small_archive[0], tmp_path / "dicom"))
    again(archive=archive)
    path = sorted((archive / "p0").iterdir())[5]
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    found = again(archive=archive)
    assert (found["volume"], found["masks"], found["features"]) == (1, 2, 2)


@pytest.mark.parametrize("lost", ["part", "mask", "volume", "record"])
def test_what_was_lost_is_made_again(again, finished, lost):
    """A lost or damaged output is made again, and what does not need it is not."""
    workspace, _ = finished
    before = pd.read_parquet(workspace / "tables" / "features.parquet")
    place = Place.at(workspace)
    scope = ledger.patients(place)[0]
    entry = next(iter(ledger.records(place, scope, "volume" if lost == "volume" else "masks")))
    if lost == "record":
        ledger.forget(place, entry.ref)
    else:
        words = {"part": "rows.json", "mask": "/masks/", "volume": "/ct"}[lost]
        place.remove(next(name for name in entry.outputs if words in name and not name.endswith("zarr.json")))
    found = again()
    # Rewriting a volume removes the masks and the map of their agreement that lie beside it.
    assert found == ({"volume": 1, "masks": 2, "agreement": 1} if lost == "volume" else {"masks": 1})
    pd.testing.assert_frame_equal(before, pd.read_parquet(workspace / "tables" / "features.parquet"))
