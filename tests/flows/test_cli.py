import json
import shutil

import pandas as pd
import pytest

from flows.cli import main


@pytest.fixture
def lungpipe(monkeypatch, capsys):
    """Run the command line in this process; returns exit status, standard output and standard error."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["lungpipe", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


def test_misspelt_key_is_one_line_and_exit_2(lungpipe, sound_cohort):
    """A recipe with a wrong key ends at once, with advice and no stack trace."""
    status, out, err = lungpipe("run", sound_cohort.recipe, "--set", "run.worker=2")
    assert status == 2
    assert out == ""
    assert err.strip().count("\n") == 0
    assert "did you mean 'workers'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere.toml"], "no recipe at nowhere.toml"),
        (["phantom", "out", "--patients", "4", "--seed", "1", "--effect", "-1"], "effect"),
        pytest.param(["phantom", "out", "--patients", "100000", "--seed", "1"], "patients", marks=pytest.mark.slow),
        (["extract", "no.nii", "no.nii", "--out", "x.csv"], "no image at no.nii"),
        (["index", "nowhere", "--workspace", "w"], "does not exist"),
    ],
)
def test_wrong_input_is_one_message_and_exit_2(lungpipe, tmp_path, monkeypatch, words, message):
    """Wrong input ends before any work with one message that names it."""
    monkeypatch.chdir(tmp_path)
    status, _, err = lungpipe(*words)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_run_without_images_is_exit_2(prefect_server, lungpipe, sound_cohort, tmp_path):
    """A folder without a single image stops a run with exit 2, one line, and no stack trace."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing to see")
    recipe, workspace = sound_cohort.recipe, tmp_path / "w"
    status, out, err = lungpipe("run", recipe, "--workspace", workspace, "--set", f"cohort.dicom={tmp_path / 'empty'}")
    assert status == 2
    assert out == ""
    assert "no DICOM, NIfTI or NRRD image" in err
    assert "Traceback" not in err


def artefacts(workspace):
    return json.loads((workspace / "run.json").read_text())["artefacts"]


def test_run_prints_the_report_and_strict_minds_exclusions(
    prefect_server, lungpipe, sound_cohort, tmp_path, monkeypatch
):
    """A sound run exits 0 and prints the report's path alone; with --strict an exclusion makes it exit 1."""
    options = ["--set", "segment.methods=['otsu']", "--set", "benchmark.classifiers=['knn']", "--workers", "1"]
    status, out, err = lungpipe("run", sound_cohort.recipe, "--workspace", tmp_path, "--strict", *options)
    assert status == 0
    assert out.strip() == str(tmp_path / "report" / "index.html")
    assert "0 exclusions" in err
    # Nothing changed: no worker and no server is started, and nothing is written.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr("flows.cohort.cohort", None)
        status, again, err = lungpipe("run", sound_cohort.recipe, "--workspace", tmp_path, "--strict", *options)
    assert (status, again) == (0, out)
    assert "nothing to do" in err
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    # A damaged page is something to do.
    (tmp_path / "report" / "index.html").write_text("")
    status, _, err = lungpipe("run", sound_cohort.recipe, "--workspace", tmp_path, "--strict", *options)
    assert (status, "nothing to do" in err) == (0, False)
    assert {kind: n["made"] for kind, n in artefacts(tmp_path).items() if n["made"]} == {}
    assert 'id="lineage"' in (tmp_path / "report" / "index.html").read_text()
    rerun = ["run", sound_cohort.recipe, "--workspace", tmp_path, "--strict", "--workers", "1"]
    rerun += ["--set", "segment.methods=['otsu', 'annotated']", "--set", "benchmark.classifiers=['knn']"]
    status, _, err = lungpipe(*rerun)
    assert status == 1
    assert "8 exclusions" in err


@pytest.mark.parametrize("insist", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_run_refuses_annotations_in_another_frame(prefect_server, lungpipe, sound_cohort, tmp_path, insist):
    """LPS numbers that are declared RAS stop a run before its first scan, naming LPS; a recipe can insist (slow)."""
    folder = shutil.copytree(sound_cohort.folder, tmp_path / "cohort")
    table = pd.read_csv(folder / "nodules.csv", dtype="str").assign(frame="ras")
    table.to_csv(folder / "nodules.csv", index=False)
    options = ["--workspace", tmp_path / "w", "--workers", "1", "--set", "segment.methods=['otsu']"]
    options += ["--set", "benchmark.classifiers=['knn']"]
    if insist:
        _, _, err = lungpipe("run", folder / "recipe.toml", *options, "--set", "cohort.frame_check='warn'")
        assert "the recipe says to go on" in err
        return
    status, out, err = lungpipe("run", folder / "recipe.toml", *options)
    assert (status, out) == (2, "")
    assert "lps" in err.lower()
    assert "cohort.frame_check" in err
    assert not (tmp_path / "w" / "volumes").exists()


def test_index_writes_pseudonymous_tables(lungpipe, broken_cohort, tmp_path):
    """`lungpipe index` writes one row a series with its codes, under pseudonyms, and counts them."""
    status, out, _ = lungpipe("index", broken_cohort.folder / "dicom", "--workspace", tmp_path, "--json")
    assert status == 0
    found = json.loads(out)
    assert (found["series"], found["quarantine"], found["accept"] + found["warn"]) == (12, 2, 10)
    assert found["codes"]["missing_slice"] == found["codes"]["unreadable_pixels"] == 1
    assert found["files"] == {}
    series = pd.read_parquet(tmp_path / "tables" / "series.parquet")
    bad = series.loc[series["verdict"] == "quarantine", "codes"]
    assert sorted(bad) == ["missing_slice", "unreadable_pixels"]
    assert (tmp_path / "report" / "curation.html").is_file()
    assert series["patient_id"].str.startswith("P-").all()


@pytest.mark.parametrize(
    ("command", "name"),
    [("segmenters", "otsu"), ("extractors", "pyradiomics"), ("classifiers", "knn"), ("datasets", "lidc-idri")],
)
def test_lists_name_what_is_installed(lungpipe, command, name):
    """Each list has the built-ins, for people and as JSON."""
    assert name in lungpipe(command)[1]
    assert name in json.loads(lungpipe(command, "--json")[1])


def test_doctor_finds_a_sound_installation(lungpipe):
    """The doctor shows versions and plug-ins, loads each, and finds no problem here."""
    status, out, _ = lungpipe("doctor", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["problems"] == []
    assert found["machine"]["cores"] >= 1


def test_doctor_tells_what_is_broken(lungpipe, monkeypatch, tmp_path):
    """A key that is not there is a problem with its fix, and exit 2."""
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "none"))
    status, out, _ = lungpipe("doctor")
    assert status == 2
    assert "fix: create it" in out
