"""Workspaces of tables alone, with planted features: what a benchmark reads, without a voxel."""

import json

import numpy as np

from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, write_table

PSEUDONYM = Pseudonymiser(b"0123456789abcdef")
REGIONS = (("nodule", 0.0), ("shell", 8.0))
FEATURES = ("original_firstorder_Mean", "original_glcm_Contrast", "original_shape_Sphericity")


def write_tables(
    folder,
    n=60,
    *,
    seed=0,
    first=0,
    dataset="generic",
    tells=("nodule",),
    labels=None,
    features=FEATURES,
    nodule=None,
    run=None,
):
    """Write nodules of as many patients; in the regions of ``tells`` the first feature follows the label.

    ``first`` is the number of the first patient, ``nodule`` gives changed values of a row by its number.
    """
    rng, place = np.random.default_rng(seed), Place.at(folder)
    y = np.arange(n) % 2 if labels is None else np.asarray(labels)
    rows = {name: [] for name in ("series", "nodules", "features")}
    for k in range(n):
        number = first + k
        who = {
            "dataset": dataset,
            "patient_id": PSEUDONYM("patient", f"p{number}"),
            "series_uid": PSEUDONYM("series", f"s{number}"),
        }
        rows["series"].append(SCHEMAS["series"].example | who | {"kernel": ("B30f", "LUNG")[number % 2]})
        who["nodule_id"] = PSEUDONYM("nodule", f"n{number}")
        own = {"malignant": int(y[k]), "volume_mm3": float(np.exp(rng.normal(5)))}
        own |= {"source_sha256": f"{number:064x}", "voxels_sha256": f"{number + 10**6:064x}"}
        rows["nodules"].append(SCHEMAS["nodules"].example | who | own | (nodule(k) if nodule else {}))
        for region, radius_mm in REGIONS:
            values = rng.normal(size=3) + np.array([1.8 * y[k] * (region in tells), 0, 0])
            where = {"region": region, "radius_mm": radius_mm, "clipped_fraction": 0.0, "clipped_wall": 0.0}
            named = dict(zip(FEATURES, values, strict=True))
            rows["features"].append(
                SCHEMAS["features"].example | who | where | {name: named.get(name, 0.0) for name in features}
            )
    for name, found in rows.items():
        write_table(make_table(name, found), place, f"tables/{name}.parquet")
    record = {
        "title": "tables",
        "intensities": "measured",
        "recipe": {"cohort": {"dataset": dataset}},
        "pseudonym_key_fingerprint": PSEUDONYM.fingerprint,
        "plugins": plugins_record(),
    }
    place.write("run.json", json.dumps(record | (run or {})).encode())
    return place


def plugins_record(**changes):
    """What run.json says of the making of features."""
    return {
        "segmenters": {"otsu": {"name": "otsu", "version": "1", "parameters": {"keep_margin_mm": 2.0}}},
        "consensus": {},
        "regions": [{"kind": kind, "radius_mm": radius_mm} for kind, radius_mm in REGIONS],
        "extractor": {"name": "nested", "version": "1", "parameters": {}},
        "radiomics": {"bin_width_hu": 25.0, "texture": {"bin_width": 25.0}},
        "clip": "lung",
        "versions": {"scan": "6", "region": "2"},
        **changes,
    }
