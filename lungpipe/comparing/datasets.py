"""Which data sets of two runs are held against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def paired_datasets(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, str]:
    """Pair the data sets of a table of two runs: by name, or the only one of each.

    Parameters
    ----------
    first, second : DataFrame
        With a column ``dataset``.

    Returns
    -------
    dict of str to str
        Name in the second run to name in the first.
    """
    mine, its = (list(dict.fromkeys(table["dataset"].astype(str))) for table in (first, second))
    if len(mine) == len(its) == 1:
        return {its[0]: mine[0]}
    return {name: name for name in mine if name in its}
