"""Codes of regions by a recipe's limit."""

import pandas as pd
import pytest

from lungpipe.errors import DatasetError
from lungpipe.region.codes import CODES, RegionLimits, with_codes


def test_clipped_beyond_the_limit_is_a_code():
    """A region that lost more than the limit says so, after codes of its own; one at the limit does not."""
    table = pd.DataFrame({"clipped_fraction": [0.2, 0.5, 0.51], "codes": ["", "no_airways_found", "no_airways_found"]})
    assert with_codes(table, RegionLimits(0.5))["codes"].tolist() == [
        "",
        "no_airways_found",
        "no_airways_found;clipped",
    ]
    assert with_codes(table, RegionLimits(0.1))["codes"].tolist()[0] == "clipped"
    assert set(CODES) == {"clipped", "no_airways_found"}


def test_no_rows_need_no_codes():
    """An empty table stays as it is."""
    assert with_codes(pd.DataFrame({"clipped_fraction": [], "codes": []}), RegionLimits()).empty


@pytest.mark.parametrize("limit", [-0.1, 1.1])
def test_limits_are_fractions(limit):
    """A limit that no fraction reaches, or that all exceed, is refused."""
    with pytest.raises(DatasetError, match="between 0 and 1"):
        RegionLimits(limit)
