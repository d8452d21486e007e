"""Stage 1: read the headers of an archive over Dask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.dicom.index import Series, SeriesTable, group_headers, list_files, read_headers
from lungpipe.errors import Exclusion
from tasks.each import Failure, each
from tasks.progress import progress

if TYPE_CHECKING:
    from lungpipe.dicom.index import Header

FILES_A_BATCH = 250


@task(name="index", cache_policy=NO_CACHE, persist_result=False)
def index(address: str, root: str) -> SeriesTable:
    """Index every image below a folder; see :func:`lungpipe.dicom.index.index_series`."""
    paths = list_files(Path(root))
    batches = [paths[i : i + FILES_A_BATCH] for i in range(0, len(paths), FILES_A_BATCH)]
    found: list[Header | Series] = []
    exclusions: list[Exclusion] = []
    with progress("headers", len(paths)) as advance:
        for position, outcome in each(address, read_headers, batches):
            size = len(batches[position])
            if isinstance(outcome, Failure):
                message = f"{size} files could not be indexed: {outcome.message}"
                exclusions.append(Exclusion("index", outcome.code, message))
            else:
                found += outcome[0]
                exclusions += outcome[1]
            advance(size, "")
    return group_headers(sorted(found, key=_path), exclusions, root=Path(root))


def _path(item: Header | Series) -> str:
    return item.files[0] if isinstance(item, Series) else item.path
