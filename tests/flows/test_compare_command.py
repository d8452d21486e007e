"""The command ``compare``: words, JSON, page and exit status."""

import json
import re

import made_runs as made
import numpy as np
import pytest

from flows import cli

LABELS = np.arange(16) % 2
P = np.linspace(0.1, 0.9, 16)


def workspace(folder, p=P, **changes):
    """A run of sixteen nodules with features and a benchmark of two configurations."""
    rows = made.predictions(made.CHOSEN, p, LABELS) + made.predictions(made.FIXED, p, LABELS)
    tables = {
        "nodules": [made.nodule(n) for n in range(16)],
        "features": [made.features(n, {"original_firstorder_Mean": 1.0 + n}) for n in range(16)],
        "predictions": rows,
        "scores": made.scores(rows),
        "exclusions": [],
    } | changes
    made.write(folder, made.record(), **{name: found for name, found in tables.items() if found is not None})
    return folder


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """Two workspaces to read and not to change, of which B has reversed predictions and a title with a mark in it."""
    folder = tmp_path_factory.mktemp("compared")
    workspace(folder / "a")
    workspace(folder / "b", P[::-1])
    made.write(folder / "b", made.record(title="<b>second</b>"))
    return folder / "a", folder / "b"


def run(monkeypatch, *words):
    """Exit status of the command."""
    monkeypatch.setattr("sys.argv", ["lungpipe", "compare", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


def test_equal_runs_say_so_in_one_line(monkeypatch, capsys, ready):
    """A workspace against itself; --strict is content."""
    assert run(monkeypatch, ready[0], ready[0], "--strict") == 0
    out = capsys.readouterr().out
    assert "Settings: no difference" in out
    equal = out.splitlines()[-1]
    assert equal.startswith(
        "Equal: recipe; plug-ins; seeds; inputs; code and packages; 16 nodules; labels; masks of otsu"
    )
    assert "16 rows of features, every value; AUC of all 2 configurations" in equal


def test_changes_are_told_section_by_section(monkeypatch, capsys, tmp_path, ready):
    """Another seed, a label, a feature and other predictions; --strict exits 1."""
    nodules = [made.nodule(n) for n in range(16)]
    nodules[3]["malignant"] = 0
    features = [made.features(n, {"original_firstorder_Mean": 1.0 + n if n else 4.0}) for n in range(16)]
    workspace(tmp_path / "b", P[::-1], nodules=nodules, features=features)
    made.write(tmp_path / "b", made.record(seeds={"benchmark": 8}))
    assert run(monkeypatch, ready[0], tmp_path / "b", "--strict") == 1
    out = capsys.readouterr().out
    assert re.search(r"seeds\.benchmark +7 +8", out)
    assert re.search(rf"{made.name('N', 3)} +malignant +benign", out)
    assert re.search(r"otsu +nodule +16 +1 of 1 +0\.75 +original_firstorder_Mean", out)
    assert re.search(r"chosen inside the training folds +0\.\d+ +0\.\d+ +16 +-0\.\d+", out)


def test_json_is_a_document(monkeypatch, capsys, ready):
    """Numbers of the text, undefined ones null, valid JSON without NaN."""
    assert run(monkeypatch, *ready, "--json") == 0
    text = capsys.readouterr().out
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found["results_differ"] is True
    assert found["settings"] == []
    assert found["matching"] == {"one_key": True, "n": 16, "by": {"pseudonym": 16}, "why_none": ""}
    first = found["scores"]["configurations"][0]
    assert first["radius_mm"] is None
    assert first["auc_a"] + first["auc_b"] == pytest.approx(1.0)  # reversed predictions
    assert first["difference"] == pytest.approx(first["auc_b"] - first["auc_a"])


def test_a_page_holds_all_it_shows(monkeypatch, capsys, tmp_path, ready):
    """No address outside it, the figures in it, text escaped."""
    page = tmp_path / "changes.html"
    assert run(monkeypatch, *ready, "--out", page) == 0
    html = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert "&lt;b&gt;second&lt;/b&gt;" in html
    assert "AUC, every choice made inside the training folds, B less A" in html
    assert "chosen inside the training folds" in html
    capsys.readouterr()


def test_a_run_without_benchmark_or_tables(monkeypatch, capsys, tmp_path, ready):
    """Said in a line each; nothing else stops, and --strict exits 1."""
    bare = tmp_path / "bare"
    made.write(bare, made.record(), nodules=[made.nodule(n) for n in range(16)], exclusions=[])
    assert run(monkeypatch, ready[0], bare, "--out", tmp_path / "page.html", "--strict") == 1
    out = capsys.readouterr().out
    assert "Scores: not compared, B has no benchmark" in out
    assert "Features: not compared" in out
    assert "B has no table 'features': it is not there" in out
    assert run(monkeypatch, bare, bare, "--strict") == 0
    assert "neither run has a benchmark" in capsys.readouterr().out


def test_runs_without_a_nodule_in_common(monkeypatch, capsys, tmp_path, ready):
    """Other nodules under the same key: why, and no list of all of them."""
    made.write(tmp_path, made.record(), nodules=[made.nodule(n) for n in range(50, 60)])
    assert run(monkeypatch, ready[0], tmp_path) == 0
    out = capsys.readouterr().out
    assert "16 nodules in A, 10 in B, 0 in both" in out
    assert "no nodule has the same pseudonym in both" in out
    assert made.name("N", 1) not in out


def test_wrong_input_is_told_before_any_work(monkeypatch, capsys, tmp_path, ready):
    """No workspace, and a page of another ending."""
    assert run(monkeypatch, ready[0], tmp_path / "nowhere") == 2
    assert "expected the workspace of a finished run" in capsys.readouterr().err
    assert run(monkeypatch, ready[0], ready[0], "--out", tmp_path / "page.pdf") == 2
    assert "ends in .html" in capsys.readouterr().err
    assert not (tmp_path / "page.pdf").exists()
