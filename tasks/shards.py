"""A cohort in shards: Prefect records a task run a shard, as a task run a scan would drown its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lungpipe.scan import ScanJob

SCANS_A_SHARD = 100


def shards(jobs: tuple[ScanJob, ...]) -> list[list[ScanJob]]:
    """Split the jobs into shards of :data:`SCANS_A_SHARD`."""
    return [list(jobs[i : i + SCANS_A_SHARD]) for i in range(0, len(jobs), SCANS_A_SHARD)]
