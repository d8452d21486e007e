"""A query sees the tables of all workspaces, and nothing else; it changes nothing."""

import csv
import hashlib
import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner
from workspaces import make_workspace, pseudonym

from flows.export_commands import query as command
from lungpipe.errors import DatasetError
from lungpipe.lineage.query import Answer, query
from lungpipe.store.place import Place
from lungpipe.store.schemas import BENCHMARK_TABLES
from lungpipe.store.tables import read_table

pytest.importorskip("duckdb", reason="pip install 'lungpipe[provenance]'")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("query")
    return [
        make_workspace(root / "first", auc=0.7),
        make_workspace(root / "second", auc=0.9, patients=3, extra={"original_glcm_Id": 0.5}),
        make_workspace(root / "third", benchmark=False),
    ]


def state(place):
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in place.files()}


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def test_auc_is_compared_between_workspaces(places):
    """The question of the help text; the third workspace has no scores and no row."""
    sql = "SELECT workspace, auc FROM scores WHERE selection = 'inside' ORDER BY auc DESC"
    assert query(sql, places) == Answer(("workspace", "auc"), (("second", 0.9), ("first", 0.7)))


def test_every_table_has_the_rows_of_all_workspaces(places):
    for name in ("series", "exclusions", "nodules", "features", *BENCHMARK_TABLES):
        expected = {}
        for place in places:
            if place.exists(f"tables/{name}.parquet") and (n := len(read_table(place, f"tables/{name}.parquet"))):
                expected[place.address.rsplit("/", 1)[1]] = n
        found = query(f"SELECT workspace, count(*) FROM {name} GROUP BY workspace", places)
        assert dict(found.rows) == expected


def test_a_column_of_one_workspace_is_missing_in_the_others(places):
    found = query("SELECT workspace, max(original_glcm_Id) FROM features GROUP BY ALL ORDER BY ALL", places)
    assert found.rows == (("first", None), ("second", 0.5), ("third", None))


def test_tables_join(places):
    sql = (
        "SELECT f.nodule_id, f.original_glcm_Contrast FROM features f JOIN nodules n USING (workspace, nodule_id, segmenter) "
        "WHERE workspace = 'first' AND malignant = 1 AND segmenter = 'otsu'"
    )
    assert query(sql, places).rows == ((pseudonym("nodule", 1), 12.5),)


def test_folders_of_one_name_are_told_apart_by_their_path(tmp_path):
    pair = [make_workspace(tmp_path / name / "results") for name in ("a", "b")]
    assert query("SELECT DISTINCT workspace FROM series ORDER BY 1", pair).rows == (("a/results",), ("b/results",))


def test_a_workspace_on_a_server_is_asked_together_with_a_local_one(places):
    """Any address of fsspec; here one in memory."""
    remote = make_workspace("memory://query/remote", auc=0.6)
    sql = "SELECT workspace, auc FROM scores WHERE selection = 'inside' ORDER BY auc"
    assert query(sql, [places[0], remote]).rows == (("remote", 0.6), ("first", 0.7))


def test_a_name_with_a_quote_is_a_name(tmp_path):
    place = make_workspace(tmp_path / "it's; DROP VIEW scores --")
    assert query("SELECT DISTINCT workspace FROM scores", [place]).rows == (("it's; DROP VIEW scores --",),)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY scores TO '{out}'",
        "COPY (SELECT 1) TO '{out}' (FORMAT parquet)",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}'",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO scores VALUES (1)",
        "UPDATE scores SET auc = 1",
        "DELETE FROM scores",
        "DROP VIEW scores",
        "SELECT 1; COPY scores TO '{out}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "",
    ],
)
def test_whatever_is_no_select_is_refused_and_writes_nothing(places, tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    before = [state(place) for place in places]
    with pytest.raises(DatasetError, match="one SELECT statement"):
        query(sql.format(out=tmp_path / "out"), places)
    assert list(tmp_path.iterdir()) == []
    assert [state(place) for place in places] == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM parquet_scan('{table}')",
        "SELECT * FROM query('COPY scores TO ''{folder}/out''')",
        "SELECT * FROM duckdb_secrets()",
    ],
)
def test_no_file_can_be_read_not_even_a_table_by_its_path(places, tmp_path, sql):
    (tmp_path / "secret.csv").write_text("name\nRoe^Jane\n")
    table = places[0].path("tables/scores.parquet")
    with pytest.raises(DatasetError) as error:
        query(sql.format(secret=tmp_path / "secret.csv", folder=tmp_path, table=table), places)
    assert "Roe" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_variables_of_the_program_are_not_tables(places, monkeypatch):
    """DuckDB would take a data frame of that name, were it allowed to."""
    frame = read_table(places[0], "tables/scores.parquet")
    monkeypatch.setattr("lungpipe.lineage.query.secret", frame, raising=False)
    with pytest.raises(DatasetError, match="secret does not exist"):
        query("SELECT * FROM secret", places)


@pytest.mark.parametrize("sql", ["SELECT nothing FROM scores", "SELECT * FROM nope", "SELEC 1"])
def test_a_wrong_question_names_the_views(places, sql):
    with pytest.raises(
        DatasetError, match="there are the views series, exclusions, nodules, agreement, features, predictions, scores"
    ):
        query(sql, places)


@pytest.mark.parametrize("sql", ["DESCRIBE scores", "SUMMARIZE scores", "WITH x AS (FROM scores) SELECT * FROM x"])
def test_questions_about_the_views_are_allowed(places, sql):
    assert query(sql, places).rows


def test_workspaces_that_are_none_or_the_same_are_refused(places, tmp_path):
    with pytest.raises(DatasetError, match="no table in"):
        query("SELECT 1", [places[0], Place.at(tmp_path)])
    with pytest.raises(DatasetError, match="given twice"):
        query("SELECT 1", [places[0], places[0]])
    with pytest.raises(DatasetError, match="at least one"):
        query("SELECT 1", [])


def test_a_damaged_table_is_named(tmp_path):
    place = make_workspace(tmp_path / "w")
    place.write("tables/scores.parquet", b"PAR1 but no more")
    with pytest.raises(DatasetError, match=r"tables/scores\.parquet.*lungpipe verify"):
        query("SELECT * FROM nodules", [place])


def test_a_table_is_printed_aligned():
    answer = Answer(("name", "n", "auc", "none"), (("a", 5, 0.123456789, None), ("longer", 12345, 1.0, None)))
    assert answer.as_text().splitlines() == [
        "name        n       auc  none",
        "------  -----  --------  ----",
        "a           5  0.123457     -",
        "longer  12345         1     -",
    ]
    assert Answer(("a",), ()).as_text().splitlines() == ["a", "-"]


def test_numbers_that_json_does_not_have_are_null(places):
    found = query(
        "SELECT 'nan'::DOUBLE AS a, 1 / 0 AS b, 2::DECIMAL(4, 1) AS c, NULL AS d, DATE '2020-01-02' AS e", places
    )
    assert json.loads(json.dumps(found.as_dicts(), allow_nan=False)) == [
        {"a": None, "b": None, "c": 2.0, "d": None, "e": "2020-01-02"}
    ]


def test_the_command_prints_a_table_json_or_writes_csv(places, tmp_path):
    sql = "SELECT workspace, auc FROM scores WHERE selection = 'inside' ORDER BY workspace"
    folders = [str(place) for place in places]
    assert run(sql, *folders).stdout.splitlines()[2:] == ["first      0.7", "second     0.9"]
    assert json.loads(run(sql, *folders, "--json").stdout)[1] == {"workspace": "second", "auc": 0.9}
    assert run(sql, *folders, "--csv", str(tmp_path / "out.csv")).exit_code == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["workspace", "auc"], ["first", "0.7"], ["second", "0.9"]]


def test_the_command_says_nothing_but_its_answer(places):
    """As a program of its own it ends without a word, as DuckDB's binding would have one for what is not cleared away."""
    words = [sys.executable, "-c", "from flows.cli import main; main()", "query", "select count(*) as n from nodules"]
    done = subprocess.run([*words, str(places[0])], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "n"
    assert done.stderr == ""


def test_the_help_compares_auc_between_workspaces():
    shown = " ".join(run("--help").stdout.replace("│", " ").split())
    assert "SELECT workspace, auc" in shown


def test_without_the_package_the_extra_is_named(places, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(DatasetError, match=r"pip install 'lungpipe\[provenance\]'"):
        query("SELECT 1", places)
