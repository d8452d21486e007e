"""Climb the ladder of corruptions with the nodules of a finished workspace."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.errors import CaseError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from lungpipe.nodule import Nodule
    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.segment import Segmenter
    from lungpipe.store.place import Place
    from lungpipe.volume import CTVolume, Mask

#: What tells a nodule from others.
IDENTITY = ["patient_id", "series_uid", "nodule_id"]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of a nodule by a network, and what they come from.

    Parameters
    ----------
    of : callable
    about : dict of str to str
        Kept with a reference.
    """

    of: Callable[[CTVolume, Nodule], NDArray[np.float32]]
    about: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """What is done with each nodule.

    Parameters
    ----------
    segmenter : Segmenter
    corruptions : tuple of str
    against : tuple of str
        Whose stored masks to compare with; none for the segmenter's own of the image as it is.
    seed : int
    features : Features or None
        For distances.
    radiomics : tuple or None
        Extractor and settings, for a classifier.
    """

    segmenter: Segmenter
    corruptions: tuple[str, ...]
    against: tuple[str, ...]
    seed: int
    features: Features | None
    radiomics: tuple[Extractor, RadiomicsSettings] | None


def climbed(place: Place, table: pd.DataFrame, chosen: pd.DataFrame, climb: Climb) -> pd.DataFrame:
    """Rows of every nodule that the segmenter finds on its image as it is.

    Parameters
    ----------
    place : Place
        The workspace.
    table : DataFrame
        Its nodules, by all segmenters.
    chosen : DataFrame
        The rows of it that give boxes.
    climb : Climb

    Returns
    -------
    DataFrame
        A row a nodule, corruption and severity: the nodule's ids and label, what :class:`lungpipe.corrupt.ladder.Rung` has,
        and, where the climb asks for them, ``features`` (an array) and ``radiomics`` (a dict).

    Raises
    ------
    DatasetError
        If nobody drew the masks to compare with, or the segmenter finds no nodule.
    """
    import pandas as pd

    from tasks.progress import progress

    rows: list[dict[str, Any]] = []
    lost: dict[str, int] = {}
    with progress("nodules", len(chosen)) as advance:
        for row in chosen.to_dict("records"):
            who = {name: row[name] for name in ("dataset", *IDENTITY, "malignant")}
            try:
                rows += [{**who, **one} for one in _nodule_rows(place, table, row, climb)]
            except CaseError as error:
                lost[error.code] = lost.get(error.code, 0) + 1
            advance(1, "")
    for code, n in sorted(lost.items()):
        print(f"{code}: {n} nodules are left out, on their images as they are", file=sys.stderr)  # noqa: T201  as below
    if not rows:
        raise DatasetError("the segmenter finds none of the nodules on their images as they are")
    found = pd.DataFrame(rows)
    return found.astype({"malignant": "Int64"})


def _nodule_rows(place: Place, table: pd.DataFrame, row: dict[Any, Any], climb: Climb) -> Iterator[dict[str, Any]]:
    from lungpipe.corrupt.ladder import box_of, image_of, on_image, rungs
    from lungpipe.nodule import boxed
    from lungpipe.store.contents import stored_mask, volume_name
    from lungpipe.store.volumes import read_volume

    drawn = stored_mask(place, row)
    box = box_of(drawn)
    image = image_of(box, read_volume(place, volume_name(str(row["volume_id"])), box))
    against = [on_image(one, image, box[0]) for one in _stored(place, table, row, climb.against)]
    nodule = boxed(drawn)
    for rung in rungs(image, nodule, climb.segmenter, climb.corruptions, against, climb.seed):
        more: dict[str, Any] = {}
        if climb.features is not None:
            more["features"] = climb.features.of(rung.volume, nodule)
        if climb.radiomics is not None:
            more["radiomics"] = _extracted(rung.volume, rung.mask, *climb.radiomics)
        yield rung.row | more


def _stored(place: Place, table: pd.DataFrame, row: dict[Any, Any], names: Sequence[str]) -> list[Mask]:
    """Masks of the same nodule by others; those that are there."""
    from lungpipe.errors import SegmentationError
    from lungpipe.store.contents import stored_mask

    if missing := sorted(set(names) - set(table["segmenter"])):
        raise DatasetError(f"no mask by {missing[0]}; there are: {', '.join(sorted(table['segmenter'].unique()))}")
    same = table["segmenter"].isin(names)
    for name in IDENTITY:
        same &= table[name] == row[name]
    found = [stored_mask(place, one) for one in table[same].to_dict("records")]
    if names and not found:
        raise SegmentationError("nothing_to_compare", f"the nodule has no stored mask by any of {', '.join(names)}")
    return found


def _extracted(
    volume: CTVolume, mask: Mask | None, extractor: Extractor, settings: RadiomicsSettings
) -> dict[str, float]:
    """Features of the nodule; none where there is no mask, or they are undefined."""
    if mask is None:
        return {}
    try:
        (found,) = extractor(volume, [mask], settings)
    except CaseError:
        return {}
    return {} if isinstance(found, CaseError) else dict(found)
