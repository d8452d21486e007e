"""What changed in two records."""

import pytest
from made_runs import record, write

from lungpipe.comparing.settings import ABSENT, settings_changes
from lungpipe.comparing.workspace import open_run
from lungpipe.errors import DatasetError


def test_equal_records_have_no_change():
    """A record against itself."""
    assert settings_changes(record(), record()) == []


def test_every_changed_value_is_named_with_both_sides():
    """A changed value, one that only A has and one that only B has, recipe before packages."""
    second = record(environment={"python": "3.12.1", "packages": {"numpy": "2.4.6"}})
    second["recipe"] = {
        "cohort": {"dataset": "generic"},
        "benchmark": {"seed": 8, "radii_mm": [0, 2]},
        "run": {"workers": 4},
    }
    second["seeds"] = {}
    found = {change.key: change for change in settings_changes(record(), second)}
    assert list(found) == [
        "recipe.benchmark.radii_mm", "recipe.benchmark.seed", "recipe.run.workers", "seeds.benchmark", "environment.python",
    ]  # fmt: skip
    assert (found["recipe.benchmark.seed"].first, found["recipe.benchmark.seed"].second) == ("7", "8")
    assert (found["recipe.benchmark.radii_mm"].first, found["recipe.benchmark.radii_mm"].second) == (ABSENT, "[0, 2]")
    assert found["seeds.benchmark"].second == ABSENT
    assert found["recipe.benchmark.seed"].counts
    assert not found["recipe.run.workers"].counts


def test_another_key_changes_no_number():
    """It is told, apart from what counts."""
    assert [(c.key, c.counts) for c in settings_changes(record(), record("B"))] == [
        ("pseudonym_key_fingerprint", False)
    ]


def test_names_of_volumes_do_not_count_and_their_number_does():
    """Volumes are named after pseudonyms, which another key changes."""
    one, other = record(inputs={"volumes": {"S-1": "a"}}), record(inputs={"volumes": {"S-9": "b"}})
    assert settings_changes(one, other) == []
    other["inputs"]["volumes"]["S-8"] = "c"
    assert [(c.key, c.first, c.second) for c in settings_changes(one, other)] == [("inputs.volumes", "1", "2")]


def test_a_recipe_as_text_is_read():
    """Text and table of the same recipe are equal; text that is no TOML is one value."""
    one = record(recipe={"benchmark": {"seed": 7}})
    assert settings_changes(one, record(recipe="[benchmark]\nseed = 7\n")) == []
    assert settings_changes(one, record(recipe="not = TOML = at all"))[-1].key == "recipe.benchmark.seed"


def test_a_folder_that_is_no_workspace_is_refused(tmp_path):
    """An empty folder, and a record that is no JSON."""
    with pytest.raises(DatasetError, match=r"no run\.json and no tables"):
        open_run(tmp_path)
    place = write(tmp_path / "broken")
    place.write("run.json", b"{")
    with pytest.raises(DatasetError, match="no JSON"):
        open_run(place)


def test_a_table_that_breaks_its_contract_is_left_out_with_the_reason(tmp_path):
    """The other tables are compared."""
    place = write(tmp_path, record())
    place.write("tables/features.parquet", b"no parquet")
    run = open_run(place)
    assert "cannot be read" in run.missing["features"]
    assert run.missing["nodules"] == "is not there"
