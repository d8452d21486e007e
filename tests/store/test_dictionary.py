"""The data dictionary says what the checks and the tables say, and the copy in docs is current."""

import json
from pathlib import Path

import typer
from contract_rows import table
from typer.testing import CliRunner

from flows.dictionary_command import dictionary
from lungpipe.radiomics.ibsi_codes import original_features
from lungpipe.store.dictionary import as_dict, as_markdown
from lungpipe.store.schemas import BENCHMARK_TABLES, SCHEMAS

DOCS = Path(__file__).parents[2] / "docs" / "data-dictionary.md"


def run(*arguments):
    app = typer.Typer()
    app.command()(dictionary)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def sections(text, mark):
    """Text below each heading of a level."""
    return dict(part.split("\n", 1) for part in text.split(f"\n{mark} ")[1:])


def grid(text):
    """Rows of the first table of a section, cell by cell."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_copy_in_docs_is_current():
    """docs/data-dictionary.md is what the command prints; `lungpipe dictionary --out docs/data-dictionary.md` renews it."""
    assert DOCS.read_text(encoding="utf-8") == as_markdown()


def test_every_column_has_its_line():
    """Each table has a section, and each column a line with type, unit, meaning and what is allowed."""
    found = sections(as_markdown(), "##")
    assert list(found) == [*SCHEMAS, "Features"]
    for name in SCHEMAS:
        rows = grid(found[name])
        assert [row[0] for row in rows] == [f"`{column}`" for column in table(name).columns]
        assert [row[1] for row in rows] == [str(kind) for kind in table(name).dtypes]
        assert all(row[3] and row[4] for row in rows)
        assert f"`tables/{name}.parquet`" in found[name]
        assert ("`[benchmark]`" in found[name]) == (name in BENCHMARK_TABLES)


def test_numbers_have_a_unit_and_names_keep_theirs():
    """Every number has a unit, text has none, and a unit in a column's name is the unit of its line."""
    endings = {"_mm": "mm", "_mm3": "mm3", "_hu": "HU", "_ma": "mA", "_mas": "mAs", "_mgy": "mGy", "kvp": "kV"}
    for schema in SCHEMAS.values():
        for column in schema.declared:
            assert bool(column.unit) == (column.dtype != "str"), column.name
            named = [unit for ending, unit in endings.items() if column.name.endswith(ending)]
            assert not named or column.unit == named[0], column.name
            assert column.meaning
            assert not column.meaning.endswith(".")


def test_every_feature_has_its_line():
    """Each feature stands once, under its class, with unit and IBSI code, and says where it departs from IBSI."""
    rows = [row for part in sections(as_markdown(), "###").values() for row in grid(part)]
    assert [row[0] for row in rows] == [f"`{name}`" for name in original_features()]
    by_name = {row[0].strip("`"): row for row in rows}
    assert by_name["original_firstorder_Energy"][1:3] == ["HU^2", "N8CA"]
    assert by_name["original_glcm_Contrast"][1:5] == ["1", "ACUI", "Contrast", "ITBB"]
    assert by_name["original_glcm_MCC"][2] == "none"
    assert "larger by 3" in by_name["original_firstorder_Kurtosis"][5]
    assert by_name["original_ngtdm_Busyness"][5].startswith("#")


def test_json_says_the_same():
    """The JSON has the same tables, columns and features, and only plain values."""
    found = json.loads(run("--json"))
    assert found == json.loads(json.dumps(as_dict()))
    assert {name: [c["name"] for c in one["columns"]] for name, one in found["tables"].items()} == {
        name: list(schema.columns) for name, schema in SCHEMAS.items()
    }
    assert [one["name"] for one in found["features"]] == list(original_features())
    assert found["tables"]["features"]["relations"] == [
        "radius_mm is 0 for the nodule, controls and embedders, and for no other region",
        "inner_mm is 0 but for rings, and less than radius_mm",
        "the parts that clipping took add up to clipped_fraction",
    ]
    (radius,) = (c for c in found["tables"]["scores"]["columns"] if c["name"] == "radius_mm")
    assert (radius["unit"], radius["nullable"], radius["allowed"]) == ("mm", True, "at least 0, or missing")


def test_the_command_prints_or_writes(tmp_path):
    """Without --out the text is printed; with it, it is written and the path printed."""
    assert run() == as_markdown()
    out = tmp_path / "new" / "dictionary.md"
    assert run("--out", str(out)).replace("\n", "") == str(out)
    assert out.read_text(encoding="utf-8") == as_markdown()
