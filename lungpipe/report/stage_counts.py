"""What each stage of a run came to, from its record and tables, for the picture of its lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lungpipe.report.lineage import KINDS, StageCount


def stage_counts(run: Mapping[str, Any], series: pd.DataFrame) -> list[StageCount]:
    """Count artefacts by stage, in the order of the data's way.

    Parameters
    ----------
    run : mapping
        As in ``run.json``; a record without counts gives none.
    series : DataFrame
        The table of series.
    """
    artefacts: Mapping[str, Mapping[str, int]] = run.get("artefacts", {})
    if not artefacts:
        return []
    files = run["inputs"]["files"]
    accepted = int((series["verdict"] != "quarantine").sum())
    found = [
        StageCount("archive", files["read"] - files["left_out"], failed=files["left_out"]),
        StageCount("series", accepted, failed=len(series) - accepted),
    ]
    plugins = run["plugins"]
    for kind in KINDS:
        for name, counts in sorted(artefacts.items()):
            stage, _, segmenter = name.partition(" ")
            if stage == kind:
                failed = run["scans"]["excluded"] if kind == "volume" else 0
                # A volume that cannot be made has a record that says why: it counts once, as failed.
                made, reused = counts["made"], counts["reused"]
                made, over = max(made - failed, 0), max(failed - made, 0)
                versions = _versions(kind, segmenter, plugins)
                found.append(StageCount(kind, made, max(reused - over, 0), failed, versions, segmenter))
    return [*found, StageCount("report", 1, versions={"lungpipe": run["environment"]["lungpipe"]})]


def _versions(kind: str, segmenter: str, plugins: Mapping[str, Any]) -> dict[str, str]:
    """Versions of plug-ins and of the code behind a stage."""
    if kind == "masks":
        return {plugins["segmenters"][segmenter]["name"]: plugins["segmenters"][segmenter]["version"]}
    if kind == "features":
        return {plugins["extractor"]["name"]: plugins["extractor"]["version"], "region": plugins["versions"]["region"]}
    return dict(plugins["classifiers"]) if kind == "configuration" else {}
