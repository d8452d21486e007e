"""From a row back to the SOP instances, settings and code that made it."""

import csv
import json
from importlib import resources

import jsonschema
import pandas as pd
import pydicom
import pytest

from lungpipe.dicom.pseudonymise import load_pseudonymiser, table_path
from lungpipe.errors import DatasetError
from lungpipe.lineage.originals import originals_of, pseudonym_of
from lungpipe.lineage.show import trace_text
from lungpipe.lineage.trace import trace_nodule
from lungpipe.store import ledger
from lungpipe.store.place import Place


@pytest.fixture
def place(finished):
    return Place.at(finished[0])


@pytest.fixture
def row(finished):
    return pd.read_parquet(finished[0] / "tables" / "nodules.parquet").iloc[0]


def schema():
    return json.loads((resources.files("lungpipe.lineage") / "trace.schema.json").read_text(encoding="utf-8"))


def test_every_stage_is_there_with_what_made_it(place, row):
    """The artefacts are those of the row's scan, and settings and versions are those that the row was made with."""
    found = trace_nodule(place, row["nodule_id"])
    kinds = [entry.kind for entry in found.artefacts.values()]
    assert sorted(kinds) == ["annotations", "features", "features", "masks", "masks", "volume"]
    assert {entry.scope for entry in found.artefacts.values()} == {row["patient_id"]}
    assert [r["segmenter"] for r in found.rows] == ["kmeans", "otsu"]
    masks = next(r["mask"] for r in found.rows if r["segmenter"] == row["segmenter"])
    assert masks.endswith(row["artefact"])
    assert found.artefacts[masks].settings["segmenter"]["parameters"]
    features = next(e for e in found.artefacts.values() if e.kind == "features")
    assert features.settings["radiomics"]["bin_width_hu"] == 25
    (environment,) = found.environments.values()
    assert environment.settings["packages"]["numpy"]


def test_the_instances_are_those_of_the_archive(place, row, small_archive):
    """With the key, every slice is told in its order, under its own UID; without being asked for, none is."""
    found = trace_nodule(place, row["nodule_id"])
    assert {item["original"] for item in found.as_dict()["instances"]} == {None}
    originals = originals_of(found.patient_id, found.series_uid)
    files = [pydicom.dcmread(p, stop_before_pixels=True) for p in small_archive[0].rglob("*.dcm")]
    mine = [f for f in files if f.SeriesInstanceUID == originals.series_uid]
    mine.sort(key=lambda f: f.ImagePositionPatient[2])
    assert [originals.instances[uid] for uid in found.instances] == [f.SOPInstanceUID for f in mine]
    assert {f.PatientID for f in mine} == {originals.patient_id}
    pseudonym, _ = load_pseudonymiser()
    assert found.instances == tuple(pseudonym.uid(f.SOPInstanceUID) for f in mine)


def test_json_keeps_to_the_published_form(place, row):
    """The JSON validates, with and without the archive's identifiers; with a part gone it does not."""
    from dataclasses import replace

    found = trace_nodule(place, row["nodule_id"])
    plain = json.loads(json.dumps(found.as_dict()))
    jsonschema.validate(plain, schema())
    told = replace(found, originals=originals_of(found.patient_id, found.series_uid))
    jsonschema.validate(json.loads(json.dumps(told.as_dict())), schema())
    for name in ("instances", "artefacts", "environments"):
        spoilt = {key: value for key, value in plain.items() if key != name}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoilt, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "nodule_id": "ORIGINAL-1"}, schema())


def test_text_tells_the_same(place, row):
    """The text names every artefact, instance and package, and no identifier of the archive."""
    found = trace_nodule(place, row["nodule_id"])
    text = trace_text(found)
    for word in (*found.artefacts, *found.instances, "bin_width_hu", "numpy"):
        assert word in text
    assert "ORIGINAL" not in text


def test_names_that_lead_to_a_nodule(place, row):
    """A nodule is found by pseudonym, by patient and nodule as annotated, and by its own name where that is enough."""
    with table_path().open(newline="", encoding="utf-8") as stream:
        names = {pseudonym: original for kind, original, pseudonym in csv.reader(stream) if kind == "nodule"}
    original = names[row["nodule_id"]]
    for name in (row["nodule_id"], original, original.split("/")[1]):
        assert pseudonym_of("nodule", name) == row["nodule_id"]
    with table_path().open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerow(("nodule", f"ANOTHER/{original.split('/')[1]}", "N-BBBBBBBBBBBB"))
    with pytest.raises(DatasetError, match="several patients"):
        pseudonym_of("nodule", original.split("/")[1])
    with pytest.raises(DatasetError, match="nothing was pseudonymised"):
        pseudonym_of("nodule", "unheard of")


def test_what_cannot_be_traced_is_said(place, row, tmp_path):
    """An unknown nodule or segmenter, a workspace without tables and a lost record are errors that say what to do."""
    with pytest.raises(DatasetError, match="has no nodule"):
        trace_nodule(place, "N-AAAAAAAAAAAA")
    with pytest.raises(DatasetError, match="it has kmeans, otsu"):
        trace_nodule(place, row["nodule_id"], "gmm")
    with pytest.raises(DatasetError, match="is this a lungpipe workspace"):
        trace_nodule(Place.at(tmp_path / "none"), row["nodule_id"])
    ledger.forget(place, f"{row['patient_id']}/volume-{row['volume_id']}")
    with pytest.raises(DatasetError, match="lungpipe verify"):
        trace_nodule(place, row["nodule_id"])


def test_a_nodule_on_two_series_needs_one_named(place, row, finished):
    """Where a follow-up scan shows a nodule of the same name, the trace asks which series is meant."""
    path = finished[0] / "tables" / "nodules.parquet"
    table = pd.read_parquet(path)
    other = next(uid for uid in table["series_uid"] if uid != row["series_uid"])
    same = table["series_uid"].isin([other, row["series_uid"]])
    table.assign(nodule_id=table["nodule_id"].where(~same, row["nodule_id"])).to_parquet(path, index=False)
    with pytest.raises(DatasetError, match="--series"):
        trace_nodule(place, row["nodule_id"])
    found = trace_nodule(place, row["nodule_id"], series_uid=other)
    assert found.series_uid == other
    assert {entry.subject["series_uid"] for entry in found.artefacts.values()} == {other}


def test_another_key_unlocks_nothing(place, row, tmp_path, monkeypatch):
    """Under another key the archive's identifiers are refused."""
    (tmp_path / "other.key").write_text("another key, of another user")
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "other.key"))
    with pytest.raises(DatasetError, match="under another key"):
        originals_of(row["patient_id"], row["series_uid"])
