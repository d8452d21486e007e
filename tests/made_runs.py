"""Small runs whose tables are known, made by the store's own functions from a line a nodule."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lungpipe.comparing.workspace import TABLES, Run
from lungpipe.learn.intervals import auc_interval
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, write_table

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def name(letter, number, key="A"):
    """A pseudonym of a key: the same number has another name under another key."""
    return f"{letter}-{key}{''.join(DIGITS[(number // 32**k) % 32] for k in range(10, -1, -1))}"


def content(number):
    """SHA-256 of a scan."""
    return f"{number:064x}"


def who(number, key="A", patient=None):
    """Identifiers of a nodule; its scan is its patient's."""
    patient = number if patient is None else patient
    return {
        "patient_id": name("P", patient, key),
        "series_uid": name("S", patient, key),
        "nodule_id": name("N", number, key),
    }


def nodule(number, key="A", patient=None, centre_mm=(0.0, 0.0, 0.0), mask=None, **changes):
    """Row of the table of nodules; numbered masks and scans are equal under every key."""
    patient = number if patient is None else patient
    row = {**SCHEMAS["nodules"].example, **who(number, key, patient), "source_sha256": content(patient)}
    row |= dict(zip(("x_mm", "y_mm", "z_mm"), centre_mm, strict=True))
    return row | {"mask_id": f"{number if mask is None else mask:016x}", "malignant": number % 2} | changes


def features(number, values, key="A", patient=None, **changes):
    """Row of the table of features with values by name."""
    row = {**SCHEMAS["features"].example, **who(number, key, patient), "region": "nodule", "radius_mm": 0.0}
    return row | {"clipped_fraction": 0.0, "clipped_wall": 0.0} | changes | values


CHOSEN = {"segmenter": "chosen", "region": "chosen", "radius_mm": np.nan, "classifier": "chosen"}
FIXED = {"segmenter": "otsu", "region": "nodule", "radius_mm": 0.0, "classifier": "knn"}
VOLUME = {"segmenter": "baseline", "region": "volume", "radius_mm": np.nan, "classifier": "logistic"}
SHUFFLED = VOLUME | {"region": "shuffled-labels"}


def predictions(configuration, p, labels, key="A", patients=None, numbers=None, dataset="generic", repeat=0):
    """Rows of the table of predictions for nodules 0, 1, ... or those numbered."""
    numbers = range(len(p)) if numbers is None else numbers
    patients = numbers if patients is None else patients
    start = SCHEMAS["predictions"].example
    return [
        {**start, **who(n, key, patient), **configuration, "dataset": dataset, "repeat": repeat, "fold": 0}
        | {"y": int(y), "p": float(one)}
        for n, patient, one, y in zip(numbers, patients, p, labels, strict=True)
    ]


def scores(rows):
    """Table of scores that follows from rows of predictions of one repeat."""
    found = []
    keys = ["dataset", "segmenter", "region", "radius_mm", "classifier"]
    selection = {"chosen": "inside", "baseline": "baseline"}
    for key, part in pd.DataFrame(rows).groupby(keys, sort=False, dropna=False):
        one = auc_interval(part["y"], part["p"], part["patient_id"])
        row = {**SCHEMAS["scores"].example, **dict(zip(keys, key, strict=True))}
        row |= {"selection": selection.get(key[1], "fixed"), "n": len(part), "n_patients": part["patient_id"].nunique()}
        row |= {"n_malignant": int(part["y"].sum()), "auc": one.auc, "auc_low": one.low, "auc_high": one.high}
        found.append(row | {"auc_low_all": one.low, "auc_high_all": one.high})
    return found


def record(key="A", **changes):
    """``run.json`` of a run."""
    return {
        "title": "a small run",
        "pseudonym_key_fingerprint": f"key-{key}",
        "recipe": {"cohort": {"dataset": "generic"}, "benchmark": {"seed": 7}, "run": {"workers": 2}},
        "environment": {"python": "3.11.7", "packages": {"numpy": "2.4.6"}},
        "seeds": {"benchmark": 7},
        "plugins": {"extractor": {"name": "nested", "version": "2"}},
        "inputs": {"volumes": {name("S", 1, key): "a"}},
    } | changes


def held(run=None, **tables):
    """A run in memory, as if read from a workspace with these tables."""
    frames = {table: make_table(table, rows) for table, rows in tables.items()}
    return Run("memory", run or {}, frames, {table: "is not there" for table in TABLES if table not in tables})


def write(folder, run=None, **tables):
    """Write a workspace: rows by table; a table that is not named is not there."""
    place = Place.at(Path(folder))
    for table, rows in tables.items():
        write_table(make_table(table, rows), place, f"tables/{table}.parquet")
    if run is not None:
        place.write("run.json", json.dumps(run).encode())
    return place
