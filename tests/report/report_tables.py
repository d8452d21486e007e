"""A made-up workspace for the report: tables and tiles with known figures."""

import json

import numpy as np
import pandas as pd

from lungpipe.report.contact import View, draw
from lungpipe.report.drawing import Tile

SEGMENTERS, CLASSIFIERS = ("otsu", "kmeans", "gmm", "fcm"), ("logistic", "random_forest", "knn")
RADII_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
HONEST = {"auc": 0.71, "auc_low": 0.55, "auc_high": 0.83}


def make_scores(effect=0.25, kinds=("grown",), seed=0):
    """Return a score table that peaks at 8 mm by ``effect``, and the row of the choice made inside."""
    rng, rows = np.random.default_rng(seed), []
    for segmenter in SEGMENTERS:
        for kind in kinds:
            for radius_mm in RADII_MM:
                for classifier in CLASSIFIERS:
                    auc = 0.52 + effect * np.exp(-((radius_mm - 8) ** 2) / 30) + rng.normal(0, 0.025)
                    rows.append(
                        {
                            "dataset": "phantom",
                            "segmenter": segmenter,
                            "region": kind if radius_mm else "nodule",
                            "radius_mm": radius_mm,
                            "classifier": classifier,
                            "selection": "fixed",
                            "chosen": "",
                            "auc": auc,
                            "auc_low": auc - 0.14,
                            "auc_high": min(1.0, auc + 0.12),
                            "auc_low_all": auc - 0.21,
                            "auc_high_all": min(1.0, auc + 0.16),
                            "inner_auc": auc - 0.02,
                        }
                    )
    chosen = [{"segmenter": "gmm", "region": kinds[0], "radius_mm": 8.0, "classifier": "logistic"}] * 4
    chosen.append({"segmenter": "otsu", "region": "nodule", "radius_mm": 0.0, "classifier": "knn"})
    key = dict.fromkeys(("segmenter", "region", "classifier"), "chosen") | {"radius_mm": np.nan}
    shift = {name: value + (effect - 0.25) * 0.8 for name, value in HONEST.items()}
    rows.append({"dataset": "phantom", **key, "selection": "inside", "chosen": json.dumps(chosen), **shift})
    rows[-1] |= {"inner_auc": 0.81}
    table = pd.DataFrame(rows).drop_duplicates(["segmenter", "region", "radius_mm", "classifier"], ignore_index=True)
    return table.assign(n=50, n_patients=44, n_malignant=24, average_precision=0.7, brier=0.2, balanced_accuracy=0.66)


def make_predictions(scores):
    """Return predictions of 50 nodules for every row of the scores."""
    rng, parts = np.random.default_rng(1), []
    y = np.arange(50) % 2
    for row in scores.to_dict("records"):
        part = pd.DataFrame(
            {"nodule_id": [f"n{i:02d}" for i in range(50)], "y": y, "p": rng.beta(2, 2, 50) * 0.6 + 0.25 * y}
        )
        for name in ("dataset", "segmenter", "region", "radius_mm", "classifier"):
            part[name] = row[name]
        parts.append(part.assign(patient_id=[f"P{i:04d}" for i in range(50)], repeat=0, fold=np.arange(50) % 5))
    return pd.concat(parts, ignore_index=True)


def make_tile(number, size_mm=40.0, spacing_mm=(0.7, 0.7)):
    """Return three views of a ball of soft tissue in noisy parenchyma, with its outline and the one 8 mm further out."""
    rng = np.random.default_rng(number)
    shape = tuple(round(size_mm / spacing) for spacing in spacing_mm)
    y, x = np.meshgrid(
        *((np.arange(n) - n / 2 + 0.5) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij"
    )
    distance = np.hypot(x, y * 1.15)
    radius_mm = 3 + number % 5
    nodule = distance < radius_mm
    hu = np.where(nodule, 10.0, -840.0) + rng.normal(0, 60, shape)
    hu[(x - 12) ** 2 + (y + 14) ** 2 < 9] = 40
    outlines = {"nodule": nodule, "8 mm": distance < radius_mm + 8}
    drawing = draw(View(hu, spacing_mm, outlines), 256)
    return Tile(f"n{number:02d}", dict.fromkeys(("axial", "coronal", "sagittal"), drawing))


def make_series(n=48):
    """Return series of three scanners."""
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "patient_id": [f"P{i % 44:04d}" for i in range(n)],
            "series_uid": [f"2.25.{10**12 + i}" for i in range(n)],
            "manufacturer": [("Alpha", "Beta", "Alpha")[i % 3] for i in range(n)],
            "model": [("A1", "B2", "A3")[i % 3] for i in range(n)],
            "kernel": [("B30f", "LUNG", None)[i % 3] for i in range(n)],
            "kvp": [(120.0, 100.0)[i % 2] for i in range(n)],
            "spacing_x_mm": rng.uniform(0.6, 0.85, n).round(3),
            "spacing_z_mm": rng.choice([1.0, 1.25, 2.5], n),
            "verdict": ["quarantine" if i == 7 else "accept" for i in range(n)],
        }
    )


def make_nodules(n=50):
    """Return a table of nodules, one row a segmenter, the last nodule without a label."""
    table = pd.DataFrame(
        {
            "dataset": "phantom",
            "patient_id": [f"P{i % 44:04d}" for i in range(n)],
            "nodule_id": [f"n{i:02d}" for i in range(n)],
            "malignant": pd.array([*(i % 2 for i in range(n - 1)), None], dtype="Int64"),
        }
    )
    return pd.concat([table.assign(segmenter=name) for name in SEGMENTERS], ignore_index=True)


def make_exclusions():
    """Return three exclusions, one with markup in its message."""
    rows = [
        ("read", "P0007", "2.25.7", "", "truncated_file", "Slice 12 ends early; expected 524288 bytes, found 1024."),
        ("segment", "P0012", "2.25.12", "n12", "constant_region", "All voxels of the box are <-1000 HU & equal."),
        ("segment", "P0013", "2.25.13", "n13", "constant_region", "All voxels of the box are equal."),
    ]
    return pd.DataFrame(rows, columns=["stage", "patient_id", "series_uid", "nodule_id", "code", "message"])


RUN = {
    "recipe": {
        "cohort": {"dataset": "phantom", "dicom": "dicom", "annotations": None},
        "segment": {"methods": list(SEGMENTERS), "preset": "default"},
        "regions": {"radii_mm": list(RADII_MM), "kinds": ["grown"], "clip": "lung", "exclude_neighbours": True},
        "benchmark": {"label": "malignant", "outer_folds": 5, "seed": 7},
    },
    "environment": {"python": "3.11.7", "packages": {"numpy": "2.4.6", "scikit-learn": "1.9.1"}},
    "timings_s": {"stages": {"index": 1.2, "scans": 93.4, "benchmark": 51.0}},
    "seeds": {"benchmark": 7},
    "inputs": {"volumes": {f"2.25.{i}": f"{i:016x}" for i in range(40)}},
    "plugins": {},
}
