"""Forward from a patient: what a withdrawal touches, and that it leaves nothing."""

import json

import pandas as pd
import pytest
import small_run

from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.lineage.impact import impact_of
from lungpipe.lineage.tombstones import tombstone_ref, withdrawn
from lungpipe.lineage.withdraw import withdraw
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace

TABLES = ("series", "exclusions", "nodules", "agreement", "features")


@pytest.fixture
def place(finished):
    return Place.at(finished[0])


@pytest.fixture
def patient(finished):
    return pd.read_parquet(finished[0] / "tables" / "nodules.parquet")["patient_id"].iloc[3]


def everything(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_impact_is_what_the_tables_and_the_ledger_say(place, patient, finished):
    """Own records, rows by table and records of the cohort are those that hold the patient; nothing is changed."""
    before = everything(finished[0])
    found = impact_of(place, patient)
    assert everything(finished[0]) == before
    assert set(found.own) == set(ledger.refs(place, patient))
    assert len(found.own) == 7  # volume, annotations, two masks, their agreement, two features
    assert found.rows == {"series": 1, "nodules": 2, "agreement": 2, "features": 4, "predictions": 7}
    kinds = sorted(entry.kind for entry in found.cohort)
    assert kinds == ["configuration"] * 4 + ["report", "run", "scores"] + ["table"] * 5
    own = [
        name
        for name in before
        if name.startswith("parts/") and name.split("/")[1] in {r.split("/")[1] for r in found.own}
    ]
    volume = next(ref for ref in found.own if "/volume-" in ref).rsplit("-", 1)[1]
    own += [name for name in before if name.startswith(f"volumes/{volume}.zarr/")]
    assert found.n_bytes == sum(len(before[name]) for name in own)


def test_a_withdrawn_patient_is_nowhere(place, patient, finished):
    """No file holds the pseudonym, the other patients' rows are as they were, and the workspace is sound but for scores."""
    tables = {name: pd.read_parquet(finished[0] / "tables" / f"{name}.parquet") for name in TABLES}
    series = tables["series"].loc[tables["series"]["patient_id"] == patient, "series_uid"].iloc[0]
    done = withdraw(place, patient)
    assert done.proof.n_terms > 20  # every slice's UID among them
    for name, content in everything(finished[0]).items():
        assert patient not in name
        assert patient.encode() not in content, name
        assert series.encode() not in content, name
    for name, table in tables.items():
        left = pd.read_parquet(finished[0] / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(left, table[table["patient_id"] != patient].reset_index(drop=True))
    assert not (finished[0] / "tables" / "scores.parquet").exists()
    assert not (finished[0] / "report" / "index.html").exists()
    assert verify_workspace(place) == []
    stone = ledger.load(place, tombstone_ref(patient))
    assert stone.inputs["proof"]["found"] == 0
    assert stone.inputs["rows"]["features"] == 4
    assert patient not in json.dumps(stone.inputs)


def test_later_runs_leave_the_patient_out(place, patient, finished, small_archive):
    """The next run makes scores without the patient, and the exclusions say that someone was left out."""
    withdraw(place, patient)
    archive, nodules = small_archive
    with pytest.raises(DatasetError, match="inner_folds"):  # three malignant patients are left for two inner folds
        small_run.run(archive, nodules, finished[0])
    done = small_run.run(archive, nodules, finished[0], outer_folds=3)
    assert patient not in {job.patient_id for job in done.plan.jobs}
    assert len(done.plan.jobs) == small_run.PATIENTS - 1
    exclusions = pd.read_parquet(finished[0] / "tables" / "exclusions.parquet")
    assert exclusions.loc[exclusions["code"] == "withdrawn", "message"].tolist() == [
        "1 series of withdrawn patients were left out"
    ]
    assert all(patient.encode() not in content for content in everything(finished[0]).values())
    assert verify_workspace(place) == []


@pytest.mark.parametrize(
    "at", [1, 10, 19, *(pytest.param(at, marks=pytest.mark.slow) for at in range(4, 30, 3) if at not in (10, 19))]
)
def test_an_interrupted_withdrawal_is_finished_by_the_next(place, patient, finished, monkeypatch, at):
    """Stopped at any removal, the patient is taken in by no run, and calling again removes the rest."""
    left = at
    remove = Place.remove

    def failing(self, name):
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError("power cut")
        remove(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "remove", failing)
        try:
            withdraw(place, patient)
        except OSError:
            assert withdrawn(place)
    withdraw(place, patient)
    assert all(patient.encode() not in content for content in everything(finished[0]).values())
    assert verify_workspace(place) == []


def test_what_is_left_is_not_kept_quiet(place, patient, finished):
    """A file that still names the patient, which nobody's record names, stops the withdrawal with its name."""
    (finished[0] / "notes.txt").write_text(f"look at {patient} again")
    with pytest.raises(LungpipeError, match=r"notes\.txt"):
        withdraw(place, patient)
    assert "proof" not in ledger.load(place, tombstone_ref(patient)).inputs
    (finished[0] / "notes.txt").unlink()
    assert withdraw(place, patient).proof.n_terms == 1


def test_an_unknown_patient_is_refused(place):
    """Nobody is withdrawn who is not there, and no tombstone is left."""
    with pytest.raises(DatasetError, match="neither a row nor a record"):
        withdraw(place, "P-AAAAAAAAAAAA")
    assert not withdrawn(place)
