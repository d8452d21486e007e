"""Whether a run stands already: what its recipe, archive and annotations come to is there, whole and unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.plan import plan_run, recipe_of
from lungpipe.assemble import plan_digest
from lungpipe.curate import curate
from lungpipe.dicom.memory import memory_path, remember
from lungpipe.dicom.pseudonymise import load_pseudonymiser
from lungpipe.errors import DatasetError
from lungpipe.lineage.tombstones import withdrawn
from lungpipe.scan import stages_by
from lungpipe.store import ledger
from lungpipe.store.closure import closure
from lungpipe.store.place import Place
from lungpipe.store.record import code_digest
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from data_catalog import DatasetSpec
    from flows.sections import RunConfig
    from lungpipe.cohort import Plan
    from lungpipe.scan import ScanSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    report: str
    scans: int
    reused: int
    exclusions: int
    auc: float | None = None


class WorkNeededError(Exception):
    """Something of the archive was not seen before."""


def stage_refs(plan: Plan, settings: ScanSettings) -> list[str]:
    """Names of all that the scans of a plan come to."""
    return sorted(entry.ref for stages in map(stages_by(settings), plan.jobs) for entry in stages)


def run_entry(config: RunConfig, spec: DatasetSpec, stages: Sequence[str], plan: Plan) -> ledger.Record:
    """Record of a run, its name the hash of all that determines what the run comes to.

    The code counts as a whole here: a new version writes its tables and pages anew, from artefacts that stand.
    """
    beside = [Place.at(path) for path in config.report.beside]
    outside = config.benchmark.external if config.benchmark else {}
    tested_on = {name: _digests(name, path) for name, path in outside.items()}
    recipe = recipe_of(config)
    recipe.pop("run")  # none of it changes a number
    return ledger.named(
        ledger.COHORT,
        "run",
        subject={"dataset": spec.name},
        inputs={
            "stages_sha256": ledger.artefact_id("stages", refs=list(stages)),
            "plan_sha256": plan_digest(plan),
            "beside": [place.digest("tables/scores.parquet") for place in beside],
            "pseudonym_key_fingerprint": load_pseudonymiser()[0].fingerprint,
            **({"external": tested_on} if tested_on else {}),
        },
        settings=recipe,
        versions={"code": code_digest()},
    )


def _digests(name: str, workspace: str) -> dict[str, str]:
    from lungpipe.learn.external import read_external

    return read_external(name, workspace)[0].digests()


def standing_run(config: RunConfig, spec: DatasetSpec, settings: ScanSettings, place: Place) -> Outcome | None:
    """What an earlier run of the same recipe on the same files came to, if all of it stands; else None.

    The archive's files count as unchanged by folder, name, size and time, as in curation; the workspace's are hashed.

    Raises
    ------
    DatasetError
        If the recipe's inputs allow no run.
    """
    if not has_run(place):
        return None
    archive = Path(config.cohort.dicom)
    try:
        with remember(memory_path(archive)) as memory:
            curation = curate(archive, memory, nothing_new, config.quality.settings())
    except WorkNeededError:
        return None
    plan = plan_run(config, spec, curation, withdrawn(place))
    return if_standing(place, run_entry(config, spec, stage_refs(plan, settings), plan), len(plan.jobs))


def has_run(place: Place) -> bool:
    """Whether a run was finished in a workspace."""
    return any(ref.startswith(f"{ledger.COHORT}/run-") for ref in ledger.refs(place, ledger.COHORT))


def if_standing(place: Place, entry: ledger.Record, scans: int) -> Outcome | None:
    """What a run of so many scans came to, if its record and all that it leads back to stand."""
    try:
        found = closure(place, [entry.ref])
    except (OSError, DatasetError):
        return None
    if any(ledger.stands(place, ref) is None for ref in found):
        return None
    exclusions = len(read_table(place, "tables/exclusions.parquet"))
    return outcome_of(place, scans, exclusions, scans)


def nothing_new(_function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Stand in for the workers where there must be no work."""
    if items:
        raise WorkNeededError
    return iter(())


def outcome_of(place: Place, scans: int, exclusions: int, reused: int) -> Outcome:
    """What the run in a workspace came to."""
    return Outcome(f"{place}/report/index.html", scans, reused, exclusions, _honest_auc(place))


def _honest_auc(place: Place) -> float | None:
    if not place.exists("tables/scores.parquet"):
        return None
    scores = read_table(place, "tables/scores.parquet")
    return float(scores.loc[scores["selection"] == "inside", "auc"].iloc[0])
