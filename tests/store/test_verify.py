"""A workspace against its ledger: a sound one has no finding, and each fault has its own."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.store import ledger
from lungpipe.store.tables import SCHEMAS, make_table, write_table
from lungpipe.store.verify import Finding, verify_workspace
from lungpipe.store.volumes import write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((4, 6, 6), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
WHO = {"dataset": "generic", "intensities": "measured", "patient_id": "P-1", "series_uid": "S-1"}
ZERO = {"str": "", "int64": 0, "Int64": None, "float64": 0.0}
MASK = "volumes/v1.zarr/masks/N-1/otsu"


def row(table, **values):
    return {**{name: ZERO[kind] for name, kind in SCHEMAS[table].columns.items()}, **WHO, **values}


def exclusion():
    columns = SCHEMAS["exclusions"].columns
    return {**dict.fromkeys(columns, ""), "code": "constant_region", "message": "nothing there"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One volume with one mask, its part, its tables and its ledger."""
    root = tmp_path_factory.mktemp("sound") / "workspace"
    store = root / "volumes" / "v1.zarr"
    store.parent.mkdir(parents=True)
    write_volume(store, CTVolume(np.zeros(FRAME.shape, np.int16), FRAME), WHO)
    ledger.record(root, "v1", "volume", [store / "ct", store / "zarr.json"], {})
    voxels = np.zeros(FRAME.shape, bool)
    voxels[1:3, 2:4, 2:4] = True
    mask = Mask(voxels, FRAME)
    write_mask(store, "N-1/otsu", mask)
    names = {"volume_id": "v1", "nodule_id": "N-1", "segmenter": "otsu", "mask_id": mask.content_id}
    part = root / "parts" / "a1" / "nodules.parquet"
    nodules = make_table("nodules", [row("nodules", **names)])
    write_table(nodules, part)
    ledger.record(root, "a1", "scan", [part, store / "masks" / "N-1" / "otsu"], {})
    write_table(nodules, root / "tables" / "nodules.parquet")
    write_table(make_table("series", [row("series", volume_id="v1")]), root / "tables" / "series.parquet")
    write_table(make_table("exclusions", [exclusion(), exclusion()]), root / "tables" / "exclusions.parquet")
    features = make_table("features", [{**row("features", nodule_id="N-1"), "original_firstorder_Mean": 1.5}])
    write_table(features, root / "tables" / "features.parquet")
    (root / "run.json").write_text("{}")
    return root


@pytest.fixture
def workspace(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "workspace")


def kinds(root):
    return {(finding.kind, finding.path) for finding in verify_workspace(root)}


def test_a_sound_workspace_has_no_finding(sound):
    """Nothing is found where nothing is wrong, and looking changes nothing."""
    before = {p: p.read_bytes() for p in sound.rglob("*") if p.is_file()}
    assert verify_workspace(sound) == []
    assert {p: p.read_bytes() for p in sound.rglob("*") if p.is_file()} == before


def test_an_indexed_archive_needs_two_tables_only(workspace):
    """Without run.json the workspace is an index: features and nodules are not asked for."""
    for name in ("nodules", "features"):
        (workspace / "tables" / f"{name}.parquet").unlink()
    assert kinds(workspace) == {("missing_table", f"tables/{n}.parquet") for n in ("nodules", "features")}
    (workspace / "run.json").unlink()
    assert kinds(workspace) == set()


def test_a_missing_workspace_is_an_error(tmp_path):
    """A folder that is not there, or is something else, is refused."""
    with pytest.raises(DatasetError, match="no workspace at"):
        verify_workspace(tmp_path / "none")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match="neither ledger nor tables"):
        verify_workspace(tmp_path)


def test_changed_and_missing_outputs(workspace):
    """One flipped bit, one added file and one lost file of an artefact are told, each by its output."""
    chunk = next(p for p in (workspace / "volumes/v1.zarr/ct").rglob("*") if p.is_file())
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content)
    (workspace / MASK / "extra").write_text("x")
    (workspace / "parts/a1/nodules.parquet").unlink()
    assert kinds(workspace) == {
        ("changed_output", "volumes/v1.zarr/ct"),
        ("changed_output", MASK),
        ("missing_output", "parts/a1/nodules.parquet"),
    }


def test_what_a_later_run_made_again_is_sound(workspace):
    """A mask that two entries name is as it should be if the later entry has its hash, and not if neither has."""
    path = workspace / "ledger/scan-a1.json"
    older = json.loads(path.read_bytes())
    older["id"] = "a0"
    older["outputs"][MASK] = "0" * 64
    (workspace / "ledger/scan-a0.json").write_text(json.dumps(older))
    assert kinds(workspace) == set()
    (workspace / MASK / "extra").write_text("x")
    assert kinds(workspace) == {("changed_output", MASK)}


def test_orphans_and_leftovers(workspace):
    """A volume, part, mask or file that no entry names is told, and so is what a killed run left."""
    shutil.copytree(workspace / "volumes/v1.zarr", workspace / "volumes/v2.zarr")
    shutil.copytree(workspace / "parts/a1", workspace / "parts/a2")
    shutil.copytree(workspace / MASK, workspace / "volumes/v1.zarr/masks/N-1/kmeans")
    (workspace / "parts/a1/notes.txt").write_text("x")
    (workspace / "volumes/.v3.zarr.partial").mkdir()
    (workspace / "ledger/.scan-a3.json.77").write_text("{")
    (workspace / "tables/.series.parquet.77").write_text("")
    assert kinds(workspace) == {
        ("orphan", "volumes/v2.zarr"),
        ("orphan", "parts/a2"),
        ("orphan", "volumes/v1.zarr/masks/N-1/kmeans"),
        ("orphan", "parts/a1/notes.txt"),
        ("leftover", "volumes/.v3.zarr.partial"),
        ("leftover", "ledger/.scan-a3.json.77"),
        ("leftover", "tables/.series.parquet.77"),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe\x00",
        b'{"id": "x1", "kind": "scan"}',
        b'{"id": "x1", "kind": "scan", "outputs": []}',
        b'{"id": "x1", "kind": "scan", "outputs": {"parts/a1": 7}}',
        b'{"id": "x1", "kind": "scan", "outputs": {"../secret": "%s"}}' % (b"0" * 64),
        b'{"id": "x1", "kind": "scan", "outputs": {"/etc/passwd": "%s"}}' % (b"0" * 64),
        b'{"id": "x2", "kind": "scan", "outputs": {}}',
        b"[" * 100_000,
    ],
)
def test_damaged_entries_are_told_and_nothing_is_raised(workspace, content):
    """An entry that is empty, cut, of another shape, or leads out of the workspace is one finding."""
    (workspace / "ledger/scan-x1.json").write_bytes(content)
    assert kinds(workspace) == {("damaged_entry", "ledger/scan-x1.json")}


def test_a_lost_ledger_makes_orphans(workspace):
    """Without its ledger, every artefact is known to nobody, and rows of the tables have no recorded volume."""
    shutil.rmtree(workspace / "ledger")
    assert kinds(workspace) == {
        ("orphan", "volumes/v1.zarr"),
        ("orphan", "parts/a1"),
        ("missing_artefact", "volumes/v1.zarr"),
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="kvp"), "columns are missing: kvp"),
        (lambda t: t.assign(note="x"), "1 columns are not in the schema"),
        (lambda t: t.assign(kvp="high"), "another type than the schema says: kvp"),
        (lambda t: t.assign(n_slices=1.5), "another type than the schema says: n_slices"),
        (lambda t: pd.concat([t, t]), "1 rows repeat a key"),
    ],
)
def test_tables_that_differ_from_their_schema(workspace, change, words):
    """A missing, unknown or mistyped column and a repeated key are told in words that quote no cell."""
    path = workspace / "tables/series.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    (finding,) = verify_workspace(workspace)
    assert (finding.kind, finding.path) == ("wrong_table", "tables/series.parquet")
    assert words in finding.message
    assert "S-1" not in finding.message


def test_a_feature_column_that_is_no_number(workspace):
    """Features may have further columns, of floats only."""
    path = workspace / "tables/features.parquet"
    pd.read_parquet(path).assign(original_new=1.0).to_parquet(path, index=False)
    assert kinds(workspace) == set()
    pd.read_parquet(path).assign(original_new="x").to_parquet(path, index=False)
    assert kinds(workspace) == {("wrong_table", "tables/features.parquet")}


def test_unreadable_and_missing_tables(workspace):
    """A cut table and a missing one are told, also a benchmark's."""
    path = workspace / "tables/series.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    (workspace / "tables/scores.parquet").write_bytes(b"")
    (workspace / "tables/exclusions.parquet").unlink()
    assert kinds(workspace) == {
        ("damaged_table", "tables/series.parquet"),
        ("damaged_table", "tables/scores.parquet"),
        ("missing_table", "tables/exclusions.parquet"),
    }


def test_rows_without_their_artefact(workspace):
    """Rows whose volume or mask is missing, or another one, are told."""
    shutil.rmtree(workspace / MASK)
    assert ("missing_artefact", MASK) in kinds(workspace)
    shutil.rmtree(workspace / "volumes/v1.zarr")
    assert ("missing_artefact", "volumes/v1.zarr") in kinds(workspace)


def test_a_mask_that_is_another_one(workspace):
    """The mask_id of a row is the mask's own."""
    path = workspace / "tables/nodules.parquet"
    pd.read_parquet(path).assign(mask_id="0" * 16).to_parquet(path, index=False)
    assert kinds(workspace) == {("missing_artefact", MASK)}


def test_nothing_is_raised_whatever_file_is_damaged(sound, tmp_path):
    """Every file of a workspace in turn is emptied, cut and overwritten; each time something is found, nothing raised."""
    files = sorted(p.relative_to(sound) for p in sound.rglob("*") if p.is_file() and p.name != "run.json")
    assert len(files) >= 12
    for number, name in enumerate(files):
        for how, damage in enumerate((lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"\x80" * len(b))):
            copy = shutil.copytree(sound, tmp_path / f"{number}-{how}")
            (copy / name).write_bytes(damage((copy / name).read_bytes()))
            found = verify_workspace(copy)
            # Only the zarr.json between volume and mask is nobody's output: it holds nothing of its own.
            assert found or name.as_posix().endswith(("masks/zarr.json", "masks/N-1/zarr.json")), (name, how)
            assert all(isinstance(finding, Finding) for finding in found)
