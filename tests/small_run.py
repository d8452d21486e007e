"""A small but complete run, DICOM to scores and a page, without a workflow engine."""

from dataclasses import dataclass, replace
from pathlib import Path

from lungpipe.assemble import Assembled, assemble
from lungpipe.cohort import Plan, plan_cohort
from lungpipe.curate import curate
from lungpipe.dicom.index import one_after_another
from lungpipe.dicom.memory import memory_path, remember
from lungpipe.dicom.pseudonymise import load_pseudonymiser, table_path
from lungpipe.dicom.quality import QualitySettings
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.scores import Scored, write_scores
from lungpipe.lineage.tombstones import withdrawn
from lungpipe.nodule import Nodule
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan import ScanResult, ScanSettings, process_scan, settings_from
from lungpipe.store import ledger
from lungpipe.store.page import write_page
from lungpipe.store.place import Place
from lungpipe.store.record import environment, write_run

PATIENTS = 8
SHAPE, SPACING_MM = (20, 40, 40), (1.5, 1.0, 1.0)


def settings(**changes) -> ScanSettings:
    words = {
        "methods": ("otsu", "kmeans"),
        "preset": "default",
        "radii_mm": (0.0, 3.0),  # as a recipe has them
        "kinds": ("shell",),
        "clip": "none",
    }
    words |= {"exclude_neighbours": True, "extractor": "nested", "radiomics": RadiomicsSettings(), **changes}
    return settings_from(**words)


def write_archive(root: Path, make_ct, dicom_writer) -> list[Nodule]:
    """Eight patients with one scan and one nodule each; every second one is malignant."""
    nodules = []
    for k in range(PATIENTS):
        volume, _, centre = make_ct(SPACING_MM, SHAPE, 4.0 + k / 4, seed=k)
        uid = dicom_writer(root / f"p{k}", volume, patient_id=f"ORIGINAL-{k}", series=f"series-{k}")
        nodules.append(Nodule(f"ORIGINAL-{k}", uid, f"nodule-{k}", centre, (10.0,) * 3, k % 2))
    return nodules


@dataclass
class Run:
    plan: Plan
    results: list[ScanResult]
    tables: Assembled
    scored: Scored


def run(archive: Path, nodules: list[Nodule], workspace: Path, chosen: ScanSettings | None = None, **evaluation) -> Run:
    """Everything that the flow does, one after another in this process."""
    place, chosen = Place.at(workspace), chosen or settings()
    quality = QualitySettings(verdicts=dict.fromkeys(("not_hu", "no_lung", "lung_not_covered"), "warn"))
    with remember(memory_path(archive)) as memory:
        curation = curate(archive, memory, one_after_another, quality)
    pseudonym, _ = load_pseudonymiser()
    plan = plan_cohort("generic", "measured", curation, nodules, [], pseudonym, quality, withdrawn(place))
    pseudonym.write_table(table_path())
    results = [process_scan(job, chosen, str(place)) for job in plan.jobs]
    tables = assemble(place, plan, results, limits=chosen.limits)
    design = {"classifiers": ("knn",), "outer_folds": 2, "inner_folds": 2, "repeats": 1, "seed": 7, **evaluation}
    design = Evaluation("generic", "malignant", "patient_id", **design)
    keys = [
        ConfigurationKey(segmenter, spec.kind, spec.radius_mm, name)
        for segmenter in (*chosen.segmenters, *chosen.consensus)
        for spec in chosen.specs
        for name in design.classifiers
    ]
    found = {key: evaluate_recorded(place, key, design) for key in keys}
    scored = write_scores(place, design, found, (tables.refs["nodules"], tables.refs["features"]))
    write_run(
        place,
        {
            "title": "small",
            "environment": environment(),
            "inputs": {"volumes": {r.series_uid: r.volume_id for r in results}},
            "plugins": chosen.names(),
        },
    )
    _, page = write_page(place, "report", "report/index.html", "<html></html>", [*tables.refs.values(), scored.ref])
    entry = ledger.named(ledger.COHORT, "run", subject={"dataset": "generic"}, settings={"title": "small"})
    ledger.record(place, replace(entry, made_from=(*tables.refs.values(), scored.ref, page)), ["run.json"])
    return Run(plan, results, tables, scored)
