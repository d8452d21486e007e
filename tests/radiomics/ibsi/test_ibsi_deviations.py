"""The generated tables of docs/ibsi.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi.catalogue import families
from lungpipe.radiomics.ibsi.deviations import deviation_table, lacking_table, replaced, tables
from lungpipe.radiomics.ibsi_codes import original_features

DOCS = Path(__file__).parents[3] / "docs" / "ibsi.md"


def test_the_document_has_the_generated_tables():
    """``python -m lungpipe.radiomics.ibsi.deviations docs/ibsi.md`` would change nothing."""
    text = DOCS.read_text(encoding="utf-8")
    assert replaced(text, tables()) == text


def test_every_feature_of_pyradiomics_has_a_line():
    """Once, with its code and how it differs."""
    lines = [line for line in deviation_table() if line.startswith("| ")][1:]
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    assert names == [name.removeprefix("original_") for name in original_features()]
    kurtosis = next(line for line in lines if "_Kurtosis " in line)
    assert "IPH6" in kurtosis
    assert "larger by 3" in kurtosis
    assert all(line.count("|") - line.count("\\|") == 8 for line in lines)


def test_every_ibsi_feature_is_in_one_of_the_tables():
    """What PyRadiomics' table has by a code and what only the profiles have make up IBSI's 174 features."""
    shared = {(feature.family_code, feature.ibsi_code) for feature in original_features().values()}
    text = "\n".join(lacking_table())
    found = 0
    for key, features in families().items():
        for name, code in features.values():
            if code:
                found += 1
                family_codes = {family for family, one in shared if one == code}
                assert f"{name} ({code})" in text or family_codes, (key, name)
    assert found == 174


def test_a_text_without_markers_is_refused():
    """And the message names them."""
    with pytest.raises(DatasetError, match="<!-- /deviations -->"):
        replaced("<!-- deviations -->\n", {"deviations": ["x"]})
    assert (
        replaced("a\n<!-- t -->\nold\n<!-- /t -->\nb\n", {"t": ["1", "2"]}) == "a\n<!-- t -->\n1\n2\n<!-- /t -->\nb\n"
    )
