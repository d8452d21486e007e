"""Nodules up to a volume as a data set of their own, beside the whole: a benchmark then shows how much of it is size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

_MASK = ["patient_id", "series_uid", "nodule_id", "segmenter"]


def with_subsets(rows: pd.DataFrame, masks: pd.DataFrame, subsets: Mapping[str, float]) -> pd.DataFrame:
    """Repeat the rows of small nodules under the names of subsets.

    Parameters
    ----------
    rows : DataFrame
        Of ``nodules`` or ``features``.
    masks : DataFrame
        Rows of ``nodules``: the volume that counts is that of the mask which a row is of.
    subsets : mapping of str to float
        Largest volume (mm3) by the name under ``dataset``.

    Returns
    -------
    DataFrame
        The rows, then those of each subset; not sorted by key.
    """
    volume_mm3 = masks.set_index(_MASK)["volume_mm3"]
    own_mm3 = volume_mm3.reindex(pd.MultiIndex.from_frame(rows[_MASK])).to_numpy()
    small = [rows[own_mm3 <= largest_mm3].assign(dataset=name) for name, largest_mm3 in subsets.items()]
    return pd.concat([rows, *small], ignore_index=True)
