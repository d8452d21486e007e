"""Workspaces that look finished, made through the ledger and the tables in a fraction of a second, without any computing."""

import hashlib
from dataclasses import replace

from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.lineage.about import Source
from lungpipe.store import ledger
from lungpipe.store.page import write_page
from lungpipe.store.place import Place
from lungpipe.store.record import environment, write_run
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, write_table

SEGMENTERS = ("kmeans", "otsu")
SLICES = 3
FEATURES = {"original_shape_MeshVolume": 268.0, "original_glcm_Contrast": 12.5, "original_firstorder_TotalEnergy": 1.0}
SOURCE = Source("example", "Example: two chest CT", "CC BY 3.0", "Nobody et al. (2020)")
_PSEUDONYM = Pseudonymiser(b"a key of the tests alone")


def pseudonym(kind, number):
    return _PSEUDONYM(kind, f"original-{number}")


def instances(number):
    return [_PSEUDONYM.uid(f"1.2.{number}.{k}") for k in range(SLICES)]


def hexes(*what, digits=16):
    return hashlib.sha256(repr(what).encode()).hexdigest()[:digits]


def make_workspace(
    where,
    *,
    patients=2,
    auc=0.8,
    benchmark=True,
    intensities="measured",
    extra=None,
    dataset="example",
    title="Example run",
):
    """A workspace of some patients with one scan and one nodule each, two segmenters, and scores if there is a benchmark.

    ``extra`` are further feature columns by name.
    """
    place = Place.at(where)
    rows = {"series": [], "nodules": [], "features": []}
    volumes, parts = [], []
    for number in range(patients):
        volume, made = _scan(place, number, {"dataset": dataset, "intensities": intensities}, rows, extra or {})
        volumes.append(volume)
        parts += made
    refs = {}
    for name in ("series", "exclusions", "nodules", "agreement", "features"):
        path = f"tables/{name}.parquet"
        write_table(make_table(name, rows.get(name, [])), place, path)
        entry = ledger.named(
            ledger.COHORT,
            "table",
            subject={"table": name},
            made_from=volumes if name == "series" else parts,
            versions={"tables": "1"},
        )
        refs[name] = ledger.record(place, entry, [path]).ref
    made_from = list(refs.values())
    if benchmark:
        made_from += _scores(place, dataset, intensities, auc, patients, [refs["nodules"], refs["features"]])
    recipe = {
        "cohort": {"dataset": dataset, "dicom": "(path not recorded; see inputs)"},
        "segment": {"methods": SEGMENTERS},
    }
    write_run(
        place,
        {"title": title, "intensities": intensities, "recipe": recipe, "environment": environment(), "plugins": {}},
    )
    _, report = write_page(place, "report", "report/index.html", "<html></html>", made_from)
    run = ledger.named(ledger.COHORT, "run", subject={"dataset": dataset}, settings=recipe)
    ledger.record(place, replace(run, made_from=(*made_from, report)), ["run.json"])
    return place


def _scan(place, number, kind, rows, extra):
    who = {**kind, "patient_id": pseudonym("patient", number), "series_uid": pseudonym("series", number)}
    nodule, source = pseudonym("nodule", number), hexes("source", number, digits=64)

    def named(stage, made_from=(), **what):
        subject = {**who, **what.pop("subject", {})}
        return ledger.named(who["patient_id"], stage, subject=subject, made_from=made_from, **what)

    volume = named("volume", inputs={"source_sha256": source, "instances": instances(number)}, versions={"read": "2"})
    store = f"volumes/{volume.id}.zarr"
    place.write(f"{store}/zarr.json", b"{}")
    place.write(f"{store}/ct/c/0", bytes([number]))
    ledger.record(place, volume, [f"{store}/ct", f"{store}/zarr.json"])
    annotations = named(
        "annotations", [volume.ref], inputs={"nodules": [{"nodule_id": nodule}]}, versions={"scan": "2"}
    )
    ledger.record(place, annotations)
    lung = named("lung", [volume.ref], versions={"lung": "1"})
    ledger.record(place, lung)
    parts = [annotations.ref]
    rows["series"].append({**SCHEMAS["series"].example, **who, "volume_id": volume.id})
    for segmenter in SEGMENTERS:
        masks = named(
            "masks",
            [volume.ref, annotations.ref],
            subject={"segmenter": segmenter},
            settings={"segmenter": {"name": segmenter, "version": "1", "parameters": {"seed": 0}}},
            versions={"scan": "2"},
        )
        features = named(
            "features",
            [volume.ref, masks.ref, lung.ref],
            subject={"segmenter": segmenter},
            settings={"radiomics": {"bin_width_hu": 25.0}},
            versions={"region": "1"},
        )
        row = {**who, "nodule_id": nodule, "segmenter": segmenter}
        row_of = {
            "nodules": {**SCHEMAS["nodules"].example, **row, "malignant": number % 2, "artefact": masks.id},
            "features": {**SCHEMAS["features"].example, **row, **FEATURES, **extra, "artefact": features.id},
        }
        row_of["nodules"] |= {
            "volume_id": volume.id,
            "source_sha256": source,
            "mask_id": hexes("mask", number, segmenter),
        }
        for entry, table in ((masks, "nodules"), (features, "features")):
            path = f"parts/{entry.ref.split('/')[1]}/{table}.parquet"
            write_table(make_table(table, [row_of[table]]), place, path)
            ledger.record(place, entry, [path])
            parts.append(entry.ref)
            rows[table].append(row_of[table])
    return volume.ref, parts


def _scores(place, dataset, intensities, auc, patients, made_from):
    settings = {"outer_folds": 2, "seed": 7}
    configuration = ledger.named(
        ledger.COHORT,
        "configuration",
        subject={"segmenter": "otsu", "region": "shell", "radius_mm": 8.0, "classifier": "logistic"},
        inputs={"matrix_sha256": hexes("matrix", digits=64)},
        settings=settings,
    )
    path = f"parts/configuration-{configuration.id}/result.json"
    place.write(path, b"{}")
    ledger.record(place, configuration, [path])
    kind = {"dataset": dataset, "intensities": intensities}
    figures = {"auc": auc, "auc_low": auc - 0.1, "auc_high": min(1.0, auc + 0.1), "n": patients, "n_patients": patients}
    figures |= {"n_malignant": patients // 2, "auc_low_all": auc - 0.2, "auc_high_all": 1.0}
    row = {**SCHEMAS["scores"].example, **kind, **figures}
    chosen = dict.fromkeys(("segmenter", "region", "classifier"), "chosen") | {"radius_mm": None, "selection": "inside"}
    predictions = [
        {
            **SCHEMAS["predictions"].example,
            **kind,
            "patient_id": pseudonym("patient", number),
            "series_uid": pseudonym("series", number),
            "nodule_id": pseudonym("nodule", number),
            "y": number % 2,
        }
        for number in range(patients)
    ]
    outputs = ["tables/predictions.parquet", "tables/scores.parquet"]
    write_table(make_table("predictions", predictions), place, outputs[0])
    write_table(make_table("scores", [row, {**row, **chosen}]), place, outputs[1])
    scores = ledger.named(
        ledger.COHORT,
        "scores",
        subject={"dataset": dataset},
        made_from=[*made_from, configuration.ref],
        settings=settings,
    )
    ref = ledger.record(place, scores, outputs).ref
    return [ref, _explanation(place, kind, predictions, ref)]


def _explanation(place, kind, predictions, scores):
    outputs = ["tables/importance.parquet", "tables/neighbours.parquet"]
    who = [{name: row[name] for name in ("patient_id", "series_uid", "nodule_id")} for row in predictions]
    rows = {
        "importance": [{**SCHEMAS["importance"].example, **kind, "feature": name} for name in FEATURES],
        "neighbours": [{**SCHEMAS["neighbours"].example, **kind, **one, "neighbours": "[]"} for one in who],
    }
    for path, (name, table) in zip(outputs, rows.items(), strict=True):
        write_table(make_table(name, table), place, path)
    entry = ledger.named(ledger.COHORT, "explanation", subject={"dataset": kind["dataset"]}, made_from=[scores])
    return ledger.record(place, entry, outputs).ref
