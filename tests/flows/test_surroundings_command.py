"""The command ``stats-surroundings``."""

import json

import numpy as np
import pytest

from flows.cli import main
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table, write_table


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lungpipe", "stats-surroundings", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


def pseudonym(letter: str, k: int) -> str:
    return f"{letter}-AAAAAAAAAAA{'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[k]}"


@pytest.fixture
def workspace(tmp_path):
    """Twelve nodules, eleven with a label; malignant ones have vessels, and one benign nodule."""
    nodules, features = [], []
    for k in range(12):
        malignant = None if k == 11 else k % 2
        who = {"patient_id": pseudonym("P", k), "series_uid": pseudonym("S", k), "nodule_id": pseudonym("N", k)}
        nodules.append({**SCHEMAS["nodules"].example, **who, "malignant": malignant})
        values = {
            "surroundings_DistancePleura_mm": 3.0 + (k * 7) % 5,
            "surroundings_DistanceAirway_mm": float("nan"),
            "surroundings_CountAirways": float("nan"),
            "surroundings_CountVessels": float(k % 2 or k == 4),
        }
        features.append({**SCHEMAS["features"].example, **who, "region": "nodule", "radius_mm": 0.0, **values})
    place = Place.at(tmp_path / "w")
    write_table(make_table("nodules", nodules), place, "tables/nodules.parquet")
    write_table(make_table("features", features), place, "tables/features.parquet")
    return tmp_path / "w"


def test_the_table_is_printed(monkeypatch, capsys, workspace):
    """A line a structure; what was corrected and left out is said on stderr."""
    assert run(monkeypatch, workspace) == 0
    out, err = capsys.readouterr()
    lines = {tuple(line.split()[:2]): line for line in out.splitlines()}
    assert "segmenter otsu" in out
    assert "6+5" in lines["pleura", "distance,"]
    # 5 of 5 malignant and 1 of 6 benign: (5.5 x 5.5) / (0.5 x 1.5) = 40.33 after the correction.
    assert "40.33*" in lines["vessel", "count"]
    assert "Fisher, p 0.0152" in lines["vessel", "count"]  # (6 choose 1 + ...): 7 / 462
    assert "0+0" in lines["airway", "count"]
    assert "1 nodules without label left out" in err
    assert "one half was added" in err


def test_json_holds_every_figure(monkeypatch, capsys, workspace):
    """Undefined figures are null, so that any reader takes the file."""
    assert run(monkeypatch, workspace, "--json", "--segmenter", "otsu") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unlabelled"] == {"otsu": 1}
    rows = {(row["structure"], row["measure"]): row for row in found["rows"]}
    assert rows["vessel", "count"]["odds_ratio"] == pytest.approx(5.5 * 5.5 / (0.5 * 1.5))
    assert rows["airway", "distance"]["auc"] is None
    assert np.isfinite(rows["pleura", "distance"]["auc_low"])


def test_wrong_input_says_what_to_do(monkeypatch, capsys, tmp_path, workspace, finished):
    """No workspace, another extractor's workspace and a misspelt segmenter end with 2 and advice."""
    assert run(monkeypatch, tmp_path / "nothing") == 2
    assert "lungpipe run RECIPE" in capsys.readouterr().err
    assert run(monkeypatch, finished[0]) == 2
    assert 'features.extractor="surroundings"' in capsys.readouterr().err
    assert run(monkeypatch, workspace, "--segmenter", "otsuu") == 2
    assert "there are otsu" in capsys.readouterr().err
