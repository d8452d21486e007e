"""The chain for nodules that come as outlines without images: masks and their shape, and nothing that needs HU.

Artefacts, rows and results are those of :mod:`lungpipe.scan.process`, so that tables, benchmark and lineage do not tell them
apart; there is no volume, and a mask can be drawn again from the outlines, so none is stored.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lungpipe.errors import CaseError, Exclusion
from lungpipe.radiomics.shape import shape_features
from lungpipe.region.expand import CAUSES, Region
from lungpipe.region.specs import ShellSpec
from lungpipe.scan.result import ScanResult
from lungpipe.scan.rows import Rows, rows_path
from lungpipe.segment.annotated import consensus
from lungpipe.segment.consensus import CONSENSUS_SHARE
from lungpipe.store import ledger
from lungpipe.store.parts import write_rows
from lungpipe.store.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lungpipe.nodule import Nodule
    from lungpipe.scan.stages import ScanJob
    from lungpipe.store.ledger import Record
    from lungpipe.volume import Mask

#: Raise it when the same outlines give other rows.
VERSION = "2"
#: Name of the consensus mask among segmenters.
RATERS = "raters"
#: The whole nodule: nothing can be said of its surroundings.
NODULE = ShellSpec("nodule")
#: File of an artefact of masks with the volume (mm3) of every nodule of the scan, those of too few raters with them.
VOLUMES = "volumes.json"


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What raters drew of one nodule.

    Parameters
    ----------
    nodule : Nodule or None
        None for a nodule that is not part of the cohort, of which only the volume counts.
    raters : tuple of Mask
        One mask a rater.
    failed : CaseError or None
        Why there are no masks.
    """

    nodule: Nodule | None
    raters: tuple[Mask, ...] = ()
    failed: CaseError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OutlinedScan:
    """A scan whose nodules were outlined.

    Parameters
    ----------
    job : ScanJob
        Without files; ``source_sha256`` is the digest of its outlines.
    draw : callable
        Gives every nodule of the scan; asked only where masks or features do not stand. Picklable.
    """

    job: ScanJob
    draw: Callable[[], Iterable[Drawn]]


def outline_stages(job: ScanJob) -> list[Record]:
    """Name the artefacts of a scan: its masks, and their features if nodules of it are in the cohort."""
    masks = ledger.named(
        job.patient_id,
        "masks",
        subject={**job.who, "segmenter": RATERS},
        inputs={
            "source_sha256": job.source_sha256,
            "nodules": [[nodule.nodule_id, *nodule.codes] for nodule in job.nodules],
        },
        settings={"segmenter": outline_names()["segmenters"][RATERS]},
        versions={"outlines": VERSION},
    )
    if not job.nodules:
        return [masks]
    features = ledger.named(
        job.patient_id,
        "features",
        subject={**job.who, "segmenter": RATERS},
        made_from=[masks.ref],
        settings={"extractor": outline_names()["extractor"]},
        versions={"outlines": VERSION},
    )
    return [masks, features]


def outline_names() -> dict[str, Any]:
    """What is done, for ``run.json``, as :meth:`lungpipe.scan.settings.ScanSettings.names` has it."""
    return {
        "segmenters": {RATERS: {"name": RATERS, "version": VERSION, "parameters": {"share": CONSENSUS_SHARE}}},
        "regions": [asdict(NODULE)],
        "extractor": {"name": "shape", "version": VERSION, "parameters": {}},
        "versions": {"outlines": VERSION, "region": VERSION},
    }


def process_outlines(scans: Sequence[OutlinedScan], workspace: str) -> list[ScanResult]:
    """Process some scans, as far as their artefacts do not stand.

    Parameters
    ----------
    scans : sequence of OutlinedScan
    workspace : str
        Folder or address; gets ``parts/<artefact>/*`` and their ledger records.

    Returns
    -------
    list of ScanResult
        In the order of the scans. Nodules that fail are rows of table ``exclusions`` in ``parts/<artefact>/rows.json``.
    """
    began_s, start = time.time(), time.perf_counter()
    place = Place.at(workspace)
    stages = [outline_stages(scan.job) for scan in scans]
    missing = [[entry for entry in entries if ledger.stands(place, entry.ref) is None] for entries in stages]
    for scan, entries, lacking in zip(scans, stages, missing, strict=True):
        rows, volumes_mm3 = _rows(scan, entries) if lacking else ({}, [])
        for entry in lacking:
            found, outputs = rows[entry.kind], [rows_path(entry.ref)]
            own = {"nodules": found.nodules} if entry.kind == "masks" else {"features": found.features}
            write_rows(place, outputs[0], {"exclusions": found.exclusions, **own})
            if entry.kind == "masks":
                outputs.append(_volumes_path(entry.ref))
                place.write(outputs[1], json.dumps(volumes_mm3).encode(), synced=False)
            ledger.record(place, entry, outputs)
    share_s = (time.perf_counter() - start) / max(len(scans), 1)
    results = [
        _result(scan.job, entries, lacking) for scan, entries, lacking in zip(scans, stages, missing, strict=True)
    ]
    return [replace(result, began_s=began_s, took_s=share_s) for result in results]


def volumes_of(place: Place, results: Iterable[ScanResult]) -> list[float]:
    """Consensus volume (mm3) of every nodule of some processed scans, whether it is in the cohort or not."""
    refs = [ref for result in results for ref in result.parts if ref.split("/")[1].startswith("masks-")]
    return [float(volume) for ref in refs for volume in json.loads(place.read(_volumes_path(ref)))]


def _rows(scan: OutlinedScan, entries: Sequence[Record]) -> tuple[dict[str, Rows], list[float]]:
    """Rows of masks and of features, and the volume (mm3) of every nodule."""
    job = scan.job
    rows = {entry.kind: Rows(job.who, "", job.source_sha256, "", entry.id) for entry in entries}
    volumes_mm3: list[float] = []
    for found in scan.draw():
        nodule = found.nodule
        try:
            mask = _agreed(found)
        except CaseError as error:
            if nodule is not None:
                rows["masks"].exclude(error, nodule, RATERS)
            continue
        volumes_mm3.append(mask.volume_mm3)
        if nodule is None:
            continue
        # The outlines are all that is known: without a box of their own they cannot reach beyond it.
        rows["masks"].nodule(replace(nodule, centre_mm=None, size_mm=None), RATERS, mask, None)
        region = Region(NODULE, mask, 0.0, dict.fromkeys(CAUSES, 0.0))
        try:
            values = shape_features(mask.voxels, mask.frame.spacing_mm)
            rows["features"].feature(nodule.nodule_id, RATERS, region.spec.kind, region, values)
        except CaseError as error:
            rows["features"].exclude(error, nodule, RATERS)
    return rows, volumes_mm3


def _agreed(found: Drawn) -> Mask:
    """What at least half of the raters drew."""
    if found.failed is not None:
        raise found.failed
    return consensus(found.raters)


def _result(job: ScanJob, entries: Sequence[Record], lacking: Sequence[Record]) -> ScanResult:
    counted = {entry.ref: f"{entry.kind} {RATERS}" for entry in entries}
    made = {counted[entry.ref]: 1 for entry in lacking}
    reused = {name: 1 for ref, name in counted.items() if name not in made}
    return ScanResult(job.series_uid, job.patient_id, "", tuple(counted), made, reused)


def failed_scans(scans: Iterable[OutlinedScan], code: str, message: str) -> list[ScanResult]:
    """Results of scans whose batch could not be processed."""
    jobs = [scan.job for scan in scans]
    return [
        ScanResult(
            job.series_uid,
            job.patient_id,
            exclusion=Exclusion("scan", code, message, job.patient_id, job.series_uid),
        )
        for job in jobs
    ]


def _volumes_path(ref: str) -> str:
    return f"parts/{ref.split('/')[1]}/{VOLUMES}"
