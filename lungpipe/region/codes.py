"""What needs a look about a region, by a recipe's limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

#: Codes of regions and what they mean.
CODES = {
    "clipped": "clipping took more of the region than the recipe allows without a word",
    "no_airways_found": "the recipe leaves airways out of the region, and none were found in the scan",
}


@dataclass(frozen=True, slots=True)
class RegionLimits:
    """What a recipe says of regions.

    Parameters
    ----------
    max_clipped_fraction : float
        Part of a region that clipping may take without a code.

    Raises
    ------
    DatasetError
        If that is no fraction.
    """

    max_clipped_fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.max_clipped_fraction <= 1:
            raise DatasetError(f"regions.max_clipped_fraction is between 0 and 1, found {self.max_clipped_fraction}")


def with_codes(features: pd.DataFrame, limits: RegionLimits) -> pd.DataFrame:
    """Rows of ``features`` with the code ``clipped`` where clipping took more than the limit."""
    if not len(features):
        return features
    clipped = features["clipped_fraction"] > limits.max_clipped_fraction
    own = features["codes"].astype(str)
    joined = [";".join(filter(None, (code, "clipped" if cut else ""))) for code, cut in zip(own, clipped, strict=True)]
    return features.assign(codes=joined)
