"""Stage 1: curate an archive over Dask."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe import curate as domain
from lungpipe.dicom.memory import memory_path, remember
from lungpipe.errors import Exclusion
from tasks.each import Failure, each
from tasks.progress import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lungpipe.dicom.quality import QualitySettings

#: Wall seconds that a worker may spend on one call; a batch of headers that takes longer is cut up.
LIMIT_S = {"read_headers": 60.0, "settle": 120.0}
#: Pictures of quarantined series that the curation page shows.
PICTURES = 200


@dataclass(frozen=True, slots=True)
class Curated:
    """A judged archive, with thumbnails of the first quarantined stacks and the seconds that it took."""

    curation: domain.Curation
    pictures: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    seconds: float = 0.0


@task(name="curate", cache_policy=NO_CACHE, persist_result=False)
def curate(address: str, root: str, quality: QualitySettings, timeout_s: float, pixels: bool = True) -> Curated:
    """Index and judge an archive; what an earlier run found of it is not done again.

    Parameters
    ----------
    address : str
        Of the Dask scheduler.
    root : str
        Folder or zip archive of the images.
    quality : QualitySettings
    timeout_s : float
        Wall seconds that a worker may spend on the pixels of one series.
    pixels : bool
        Whether to look at pixels too.
    """
    start = time.perf_counter()
    archive = Path(root)
    with remember(memory_path(archive)) as memory, counted() as advance:
        curation = domain.curate(
            archive, memory, over_dask(address, timeout_s), quality, pixels=pixels, advance=advance
        )
        shown = [judged.series for judged in curation.stacks if judged.verdict == "quarantine"][:PICTURES]
        pictures = {series.key: memory.picture(series) for series in shown}
    return Curated(curation, pictures, round(time.perf_counter() - start, 2))


def over_dask(
    address: str, timeout_s: float
) -> Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[tuple[int, Any]]]:
    """Return a function that applies another to every item on the workers; see :func:`lungpipe.curate.curate`."""

    def mapper(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if not items:
            return
        limit_s = LIMIT_S.get(function.__name__, timeout_s)
        for position, outcome in each(address, function, items, timeout_s=limit_s):
            failed = isinstance(outcome, Failure)
            yield position, Exclusion("index", outcome.code, outcome.message) if failed else outcome

    return mapper
