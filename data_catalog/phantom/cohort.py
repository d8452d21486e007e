"""Write a simulated cohort: DICOM, annotations, truth, and a recipe that is ready to run."""

from __future__ import annotations

import math
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pandas as pd

from data_catalog.phantom.candidates import MAX_WORKERS, read_candidates
from data_catalog.phantom.dicom import series_uid, write_series
from data_catalog.phantom.matching import match_pairs
from data_catalog.phantom.plan import PlannedPatient, plan_patients
from data_catalog.phantom.scene import simulate
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Row = dict[str, str | int | float]

#: Columns of the generic annotations.
ANNOTATION_COLUMNS = (
    "patient_id", "nodule_id", "series_uid", "x", "y", "z", "width_mm", "height_mm", "depth_mm", "malignant", "split",
)  # fmt: skip
#: Columns of the truth.
TRUTH_COLUMNS = (
    "patient_id", "nodule_id", "series_uid", "malignant", "volume_mm3", "diameter_mm", "planted_effect", "shell_mm",
    "mean_malignancy", "n_raters", "texture", "calcification", "source", "intensities",
)  # fmt: skip
#: Fewer patients than this are written in the calling process.
PATIENTS_FOR_WORKERS = 8

RECIPE = """\
# A phantom made by `lungpipe phantom`: real nodule shapes and labels (LIDC-IDRI), simulated intensities.
# {patients} patients, seed {seed}; an effect of strength {effect:g} is planted around malignant nodules out to {shell_mm:g} mm.

[cohort]
dataset = "phantom"
dicom = "dicom"
annotations = "annotations.csv"

[segment]
methods = ["otsu", "kmeans", "gmm", "fcm"]
preset = "default"

[regions]
radii_mm = [0, 2, 4, 6, 8, 10, 12]
kinds = ["shell"]
clip = "lung"
exclude_neighbours = true

[features]
extractor = "nested"
bin_width_hu = 25
spacing_mm = [1, 1, 1]
filters = ["original"]

[benchmark]
label = "malignant"
group = "patient_id"
classifiers = ["logistic", "random_forest", "knn"]
outer_folds = 5
inner_folds = 3
repeats = 1
seed = {seed}

[run]
workers = 2
memory_per_worker = "4GiB"
scan_timeout_s = 600
"""


def write_phantom(
    out: Path,
    patients: int,
    seed: int,
    shell_mm: float = 8.0,
    effect: float = 1.0,
    on_patient: Callable[[int], None] | None = None,
) -> Path:
    """Write a simulated screening cohort with a known effect around its malignant nodules.

    Shapes, sizes and labels of the nodules are real (LIDC-IDRI, at least three radiologists, mean malignancy above or
    below 3), in malignant and benign pairs that look alike, so that the nodule itself says little about its label.
    Everything else is simulated: all intensities, and denser, more uneven lung tissue around malignant nodules, which
    rises from the nodule's surface to ``shell_mm`` and ends there.

    Parameters
    ----------
    out : Path
        Folder for ``dicom/``, ``annotations.csv``, ``truth.parquet`` and ``recipe.toml``; made if absent.
    patients : int
        Patients, at least 2; about one in six has a second nodule of the same label.
    seed : int
        Same seed and arguments, same files, bit for bit. Cohorts that differ only in ``effect`` or ``shell_mm`` differ
        in the voxels of the malignant shells only (and in their UIDs).
    shell_mm : float
        Where the effect ends, mm from the nodule's surface.
    effect : float
        Strength of the effect; 0 plants none.
    on_patient : callable, optional
        Called in this process with the number of patients written so far.

    Returns
    -------
    Path
        ``out/recipe.toml``, written last.

    Raises
    ------
    DatasetError
        If an argument is out of range, more patients are asked for than there are nodules that look alike, or ``out``
        already holds a cohort.

    Notes
    -----
    Larger cohorts are written by up to two fresh processes, so a script that calls this needs the usual main guard.
    """
    _check(out, patients, seed, shell_mm, effect)
    planned = plan_patients(match_pairs(read_candidates()), patients, seed)
    identity = f"patients {patients} seed {seed} effect {float(effect)!r} shell {float(shell_mm)!r}"
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[int, list[tuple[Row, Row]]] = {}
    for number, found in _write_all(planned, out / "dicom", identity, float(effect), float(shell_mm)):
        rows[number] = found
        if on_patient is not None:
            on_patient(len(rows))
    ordered = [pair for number in sorted(rows) for pair in rows[number]]
    annotations = pd.DataFrame([row for row, _ in ordered], columns=list(ANNOTATION_COLUMNS))
    annotations.to_csv(out / "annotations.csv", index=False, lineterminator="\n")
    truth = pd.DataFrame([row for _, row in ordered], columns=list(TRUTH_COLUMNS))
    truth.to_parquet(out / "truth.parquet", index=False)
    recipe = out / "recipe.toml"
    recipe.write_text(_recipe(patients, seed, shell_mm, effect), encoding="utf-8")
    return recipe


def _recipe(patients: int, seed: int, shell_mm: float, effect: float) -> str:
    title = "Simulated control cohort, no effect planted"
    mark = ""
    if effect:
        title = f"Simulated cohort, effect {effect:g} planted out to {shell_mm:g} mm"
        mark = f"planted_radius_mm = {shell_mm:g}\n"
    text = RECIPE.format(patients=patients, seed=seed, effect=effect, shell_mm=shell_mm)
    return f'{text}\n[report]\ntitle = "{title}"\n{mark}'


def _check(out: Path, patients: int, seed: int, shell_mm: float, effect: float) -> None:
    """Refuse arguments that make no cohort."""
    if patients < 2:
        raise DatasetError(f"a phantom needs at least 2 patients, one of each label; found {patients}")
    if seed < 0:
        raise DatasetError(f"the seed of a phantom must be 0 or more, found {seed}")
    if not (math.isfinite(effect) and effect >= 0):
        raise DatasetError(f"the planted effect must be 0 (none) or more, found {effect:g}")
    if not (math.isfinite(shell_mm) and shell_mm > 0):
        raise DatasetError(f"the shell of the planted effect must be wider than 0 mm, found {shell_mm:g}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} is not an empty folder: a phantom is written to a new one, so that no slices mix")


def _write_all(
    planned: Sequence[PlannedPatient], dicom: Path, identity: str, effect: float, shell_mm: float
) -> Iterator[tuple[int, list[tuple[Row, Row]]]]:
    """Write every patient; yield each one's number and rows as it is finished."""
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    if workers == 1 or len(planned) < PATIENTS_FOR_WORKERS:
        for patient in planned:
            yield patient.number, _write_patient(patient, dicom, identity, effect, shell_mm)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(_write_patient, p, dicom, identity, effect, shell_mm): p.number for p in planned}
        for done in as_completed(running):
            yield running[done], done.result()


def _write_patient(
    patient: PlannedPatient, dicom: Path, identity: str, effect: float, shell_mm: float
) -> list[tuple[Row, Row]]:
    """Simulate and write one patient; return its rows of the annotations and of the truth."""
    scene = simulate(patient, effect, shell_mm)
    write_series(dicom / patient.patient_id, patient, scene.hu, identity)
    rows: list[tuple[Row, Row]] = []
    places = zip(patient.nodules, scene.centres_mm, scene.strengths, strict=True)
    for number, (nodule, centre_mm, strength) in enumerate(places, start=1):
        candidate = nodule.candidate
        keys: Row = {
            "patient_id": patient.patient_id,
            "nodule_id": f"{patient.patient_id}-{number}",
            "series_uid": series_uid(identity, patient),
            "malignant": candidate.malignant,
        }
        position = dict(zip("xyz", (round(v, 3) for v in centre_mm), strict=True))
        sides_mm = (round(v, 3) for v in candidate.shape.size_mm)
        size = dict(zip(("width_mm", "height_mm", "depth_mm"), sides_mm, strict=True))
        truth: Row = {
            "volume_mm3": candidate.shape.volume_mm3,
            "diameter_mm": candidate.shape.diameter_mm,
            "planted_effect": strength,
            "shell_mm": shell_mm,
            "mean_malignancy": candidate.mean_malignancy,
            "n_raters": candidate.n_raters,
            "texture": candidate.texture,
            "calcification": candidate.calcification,
            "source": candidate.source,
            "intensities": "simulated",
        }
        rows.append((keys | position | size | {"split": ""}, keys | truth))
    return rows
