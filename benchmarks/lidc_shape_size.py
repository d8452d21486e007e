"""How much of LIDC-IDRI's malignancy rating is size: AUC of volume alone beside shape, over all nodules and small ones.

Logistic regression in nested patient-grouped cross-validation, as `lungpipe run recipes/lidc-shape.toml` does it, with 95 %
intervals for nodules clustered in patients. No CT is read.

    python benchmarks/lidc_shape_size.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from data_catalog.lidc.shape_cohort import plan_shapes
from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.learn.cohort import labelled_cohort
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.intervals import auc_interval
from lungpipe.learn.models import Logistic
from lungpipe.radiomics.shape import shape_features
from lungpipe.segment.annotated import consensus

VOLUME = "original_shape_VoxelVolume"
IDENTITY = ["patient_id", "series_uid", "nodule_id"]
SHARE = 0.75


def main() -> None:
    """Print one line a cohort and a set of columns."""
    table, volumes_mm3 = nodules()
    labelled = table[table["malignant"].notna()]
    of_file, of_cohort = np.quantile(volumes_mm3, SHARE), labelled[VOLUME].quantile(SHARE)
    cohorts = {
        "all nodules by three raters": np.inf,
        f"smallest three quarters of the file's {len(volumes_mm3):,} (up to {of_file:.0f} mm3)": of_file,
        f"smallest three quarters of the labelled (up to {of_cohort:.0f} mm3)": of_cohort,
    }
    columns = {"volume alone": [VOLUME], "shape": [name for name in table if str(name).startswith("original_shape_")]}
    design, whole = design_of(table), {}
    for name, wanted in columns.items():
        whole[name] = pd.Series(predicted(table, design, wanted), index=keys(design))
    for title, limit_mm3 in cohorts.items():
        part = table[table[VOLUME] <= limit_mm3]
        own = design_of(part)
        print(f"{title}: {len(own.labels)} nodules, {own.labels.sum()} malignant")
        for name, wanted in columns.items():
            within = auc_interval(own.labels, predicted(part, own, wanted)[None], own.groups, n_models=own.n_models)
            trained_on_all = whole[name].loc[keys(own)].to_numpy()[None]
            among_all = auc_interval(own.labels, trained_on_all, own.groups, n_models=own.n_models)
            print(
                f"    {name:14}{within.auc:.3f} ({within.low:.3f} to {within.high:.3f}); trained on all nodules "
                f"{among_all.auc:.3f} ({among_all.low:.3f} to {among_all.high:.3f})"
            )


def nodules() -> tuple[pd.DataFrame, list[float]]:
    """Nodules of the cohort with their shape, and the volume (mm3) of every outlined nodule."""
    _, scans = plan_shapes("lidc-shape", Pseudonymiser(b"a public key: figures do not depend on it"))
    rows, volumes_mm3 = [], []
    for scan in scans:
        for drawn in scan.draw():
            mask = consensus(drawn.raters)
            volumes_mm3.append(mask.volume_mm3)
            if (nodule := drawn.nodule) is not None:
                who = {"patient_id": nodule.patient_id, "series_uid": nodule.series_uid, "nodule_id": nodule.nodule_id}
                who |= {"malignant": nodule.malignant, "source_sha256": scan.job.source_sha256}
                rows.append({**who, "z_mm": mask.centre_mm[2], **shape_features(mask.voxels, mask.frame.spacing_mm)})
    return pd.DataFrame(rows).astype({"malignant": "Int64"}), volumes_mm3


def design_of(table: pd.DataFrame):
    """Labels, patients and folds."""
    return labelled_cohort(table, dataset="lidc-shape")


def keys(design) -> pd.MultiIndex:
    """Nodules in the order of the folds."""
    return pd.MultiIndex.from_frame(design.identity[IDENTITY])


def predicted(table: pd.DataFrame, design, columns: list[str]) -> np.ndarray:
    """Probability of malignancy of each row, by models that did not see its patient."""
    matrix = table.set_index(IDENTITY).loc[keys(design), columns].to_numpy(float)
    found = evaluate_configuration(matrix, design.labels, design.groups, Logistic(), design.folds, 3, 7)
    return found.p[0]


if __name__ == "__main__":
    main()
