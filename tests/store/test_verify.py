"""A workspace against its ledger: a sound one has no finding, and each fault has its own."""

import json
import shutil
from pathlib import PurePosixPath

import pandas as pd
import pytest

from lungpipe.errors import DatasetError
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.verify import Finding, verify_workspace


@pytest.fixture
def workspace(finished):
    return finished[0]


def kinds(root):
    return {(finding.kind, finding.path) for finding in verify_workspace(Place.at(root))}


def first(root, kind):
    """Some record of a kind."""
    place = Place.at(root)
    return next(r for scope in ledger.scopes(place) for r in ledger.records(place, scope, kind))


def test_a_sound_workspace_has_no_finding(workspace):
    """Nothing is found where nothing is wrong, and looking changes nothing."""
    before = {p: p.read_bytes() for p in workspace.rglob("*") if p.is_file()}
    assert verify_workspace(Place.at(workspace)) == []
    assert {p: p.read_bytes() for p in workspace.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_one_flipped_bit_anywhere_is_named(workspace, step):
    """A bit flipped in any file (quick: every ninth) of one patient or of the cohort is found; what is named is the file or its folder."""
    others = [*ledger.patients(Place.at(workspace))[1:]]
    stores = {r.id for scope in others for r in ledger.records(Place.at(workspace), scope)}
    names = [PurePosixPath(p.relative_to(workspace).as_posix()) for p in sorted(workspace.rglob("*")) if p.is_file()]
    names = [n for n in names if not any(word in part for word in (*others, *stores) for part in n.parts)]
    assert {"volumes", "parts", "ledger", "tables", "report", "run.json"} == {name.parts[0] for name in names}
    assert len(names) > 40
    for name in names[::step]:
        content = (workspace / name).read_bytes()
        spoilt = bytearray(content)
        spoilt[len(spoilt) // 2] ^= 1
        (workspace / name).write_bytes(spoilt)
        found = [PurePosixPath(finding.path) for finding in verify_workspace(Place.at(workspace))]
        assert any(name == one or one in name.parents for one in found), name
        (workspace / name).write_bytes(content)
    assert verify_workspace(Place.at(workspace)) == []


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["in turn", "every"])
def test_nothing_is_raised_whatever_file_is_damaged(workspace, every):
    """Files of every kind are emptied, cut or overwritten (slow: all three); each time something is found, nothing raised."""
    chosen = {}
    for path in sorted(p for p in workspace.rglob("*") if p.is_file()):
        parts = path.relative_to(workspace).parts
        chosen.setdefault((parts[0], path.name.split("-")[0], path.suffix), path)
    assert len(chosen) >= 15
    for turn, path in enumerate(chosen.values()):
        content = path.read_bytes()
        ways = (b"", content[: len(content) // 2], b"\x80" * len(content))
        for damaged in ways if every else (ways[turn % 3],):
            path.write_bytes(damaged)
            found = verify_workspace(Place.at(workspace))
            assert found, path
            assert all(isinstance(finding, Finding) for finding in found)
        path.write_bytes(content)


def test_an_indexed_archive_needs_two_tables_only(workspace):
    """Without run.json the workspace is an index: features and nodules are not asked for."""
    for name in ("nodules", "features"):
        (workspace / "tables" / f"{name}.parquet").unlink()
    missing = {("missing_table", f"tables/{n}.parquet") for n in ("nodules", "features")}
    assert kinds(workspace) == missing | {("missing_output", path) for _, path in missing}
    (workspace / "run.json").unlink()
    assert not {kind for kind, _ in kinds(workspace)} & {"missing_table"}


def test_a_missing_workspace_is_an_error(tmp_path):
    """A folder that is not there, or is something else, is refused."""
    for name in ("none", "photos"):
        with pytest.raises(DatasetError, match="is no workspace"):
            verify_workspace(Place.at(tmp_path / name))
        (tmp_path / "photos").mkdir(exist_ok=True)


def test_lost_outputs_and_records(workspace):
    """A lost output is told by its name, a lost record by those that were made from it and the rows that name it."""
    part = next(name for name in first(workspace, "features").outputs if name.endswith("rows.json"))
    (workspace / part).unlink()
    entry = first(workspace, "masks")
    (workspace / ledger.path_of(entry.ref)).unlink()
    found = kinds(workspace)
    assert ("missing_output", part) in found
    assert ("missing_record", ledger.path_of(entry.ref)) in found
    assert ("missing_artefact", "tables/nodules.parquet") in found
    assert ("orphan", f"parts/masks-{entry.id}") in found


def test_orphans_and_leftovers(workspace):
    """A volume, part, mask, table or page that no record names is told, and so is what a killed run left."""
    volume, masks = first(workspace, "volume"), first(workspace, "masks")
    store = f"volumes/{volume.id}.zarr"
    mask = next(name for name in masks.outputs if name.endswith(masks.id))
    shutil.copytree(workspace / store, workspace / "volumes/ffff.zarr")
    shutil.copytree(workspace / f"parts/masks-{masks.id}", workspace / "parts/masks-ffff")
    shutil.copytree(workspace / mask, workspace / mask.replace(masks.id, "ffff"))
    (workspace / f"parts/masks-{masks.id}/notes.txt").write_text("x")
    (workspace / "tables/other.parquet").write_text("x")
    (workspace / store / "zarr.00.partial").write_text("{")
    (workspace / f"ledger/{volume.scope}/.volume-3.json.77").write_text("{")
    (workspace / "tables/.series.parquet.77").write_text("")
    (workspace / ".run.json.77").write_text("")
    assert kinds(workspace) == {
        ("orphan", "volumes/ffff.zarr"),
        ("orphan", "parts/masks-ffff"),
        ("orphan", mask.replace(masks.id, "ffff")),
        ("orphan", f"parts/masks-{masks.id}/notes.txt"),
        ("orphan", "tables/other.parquet"),
        ("leftover", f"{store}/zarr.00.partial"),
        ("leftover", f"ledger/{volume.scope}/.volume-3.json.77"),
        ("leftover", "tables/.series.parquet.77"),
        ("leftover", ".run.json.77"),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe\x00",
        b'{"id": "x1", "kind": "masks", "sha256": "0"}',
        b'{"scope": "P-1", "id": "x1", "kind": "masks", "made_from": 7, "sha256": "0"}',
        b"[" * 100_000,
    ],
)
def test_damaged_records_are_told_and_nothing_is_raised(workspace, content):
    """A record that is empty, cut or of another shape is one finding."""
    path = "ledger/cohort/masks-x1.json"
    (workspace / path).write_bytes(content)
    assert kinds(workspace) == {("damaged_record", path)}


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_a_record_that_leads_out_of_the_workspace(workspace, name):
    """An output outside the workspace is told and not looked at."""
    place = Place.at(workspace)
    ledger._write(place, ledger.Record("cohort", "masks", "x1", outputs={name: "0" * 64}))
    assert kinds(workspace) == {("damaged_record", "ledger/cohort/masks-x1.json")}


def test_a_lost_ledger_makes_orphans(workspace):
    """Without its ledger, every artefact is known to nobody."""
    shutil.rmtree(workspace / "ledger")
    assert {kind for kind, _ in kinds(workspace)} == {"orphan", "missing_artefact"}


def test_tables_that_break_their_contract(workspace):
    """A table that was written by other means is told in words that quote no cell."""
    path = workspace / "tables/series.parquet"
    table = pd.read_parquet(path)
    table.drop(columns="kvp").to_parquet(path, index=False)
    wrong = [f for f in verify_workspace(Place.at(workspace)) if f.kind == "wrong_table"]
    assert [f.path for f in wrong] == ["tables/series.parquet"]
    assert "kvp" in wrong[0].message
    assert not any(uid in wrong[0].message for uid in table["series_uid"])


def test_rows_of_an_artefact_that_nobody_knows(workspace):
    """A row whose mask has no record is told with the id that it names."""
    path = workspace / "tables/nodules.parquet"
    pd.read_parquet(path).assign(artefact="0123456789abcdef").to_parquet(path, index=False)
    found = [f for f in verify_workspace(Place.at(workspace)) if f.kind == "missing_artefact"]
    assert [(f.path, f.place) for f in found] == [("tables/nodules.parquet", "0123456789abcdef")]


def test_a_record_whose_words_were_changed(workspace):
    """A record that still reads well, but is not what was written, is told."""
    entry = first(workspace, "features")
    path = workspace / ledger.path_of(entry.ref)
    values = json.loads(path.read_bytes())
    values["settings"]["clip"] = "lung"
    path.write_text(json.dumps(values))
    assert ("damaged_record", ledger.path_of(entry.ref)) in kinds(workspace)
