"""Tables of a workspace: made in one form, packed, written and read whole."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from contract_rows import NAME, NAN, PSEUDONYM, table

from lungpipe.errors import DatasetError
from lungpipe.learn.cohort import ConfigurationKey, feature_matrices, labelled_cohort
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.models import Logistic
from lungpipe.learn.select import choose_inside
from lungpipe.learn.tables import predictions_table, score_table
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import conform, from_bytes, make_table, read_table, to_bytes, write_table


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_keeps_its_contract_comes_back_equal(name):
    """The example row of every table, and a table without rows, are written and read unchanged."""
    for frame in (table(name), table(name, 3), make_table(name, [])):
        pd.testing.assert_frame_equal(from_bytes(name, to_bytes(name, frame)), frame)


def test_equal_tables_give_equal_bytes():
    """Neither the index nor notes on the frame change a byte; a cell does."""
    frame = table("features", 3).assign(original_a=[1.0, NAN, 3.0])
    content = to_bytes("features", frame)
    other = frame.set_index(pd.Index([7, 8, 9], name="row"))
    other.attrs["note"] = "x"
    assert to_bytes("features", other) == content
    assert to_bytes("features", from_bytes("features", content)) == content
    assert to_bytes("features", frame.assign(original_a=[1.0, NAN, 3.5])) != content


def test_written_to_a_workspace(tmp_path):
    """The stem of the path names the table."""
    frame = table("features", 2)
    place = Place.at(tmp_path)
    write_table(frame, place, "tables/features.parquet")
    pd.testing.assert_frame_equal(read_table(place, "tables/features.parquet"), frame)
    with pytest.raises(DatasetError, match=r"tables/features\.parquet\) breaks its contract"):
        write_table(table("features", region="lung"), place, "tables/features.parquet")
    pd.testing.assert_frame_equal(read_table(place, "tables/features.parquet"), frame)
    with pytest.raises(DatasetError, match="no table is called 'notes'; there are series"):
        write_table(frame, place, "tables/notes.parquet")
    with pytest.raises(DatasetError, match="no table at"):
        read_table(place, "tables/nodules.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table", to_bytes("series", make_table("series", []))[:-20]])
def test_a_damaged_file_is_one_message(content):
    """What is no Parquet table is told as such."""
    with pytest.raises(DatasetError, match=r"tables/series\.parquet\) cannot be read .* run the recipe again"):
        from_bytes("series", content, "tables/series.parquet")


def test_a_name_in_a_column_of_numbers_is_not_quoted():
    """A value that does not fit its column's type is refused by column, and stays out of the message."""
    with pytest.raises(DatasetError, match=r"do not fit the type of kvp \(float64\)") as refused:
        make_table("series", [{**SCHEMAS["series"].example, "kvp": NAME}])
    assert NAME not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    with pytest.raises(DatasetError, match=r"malignant \(Int64\)"):
        make_table("nodules", [{**SCHEMAS["nodules"].example, "malignant": 0.5}])


def test_repeated_keys_are_told_by_number():
    """Rows that repeat a key are refused before anything is written, without their ids."""
    row = SCHEMAS["nodules"].example
    with pytest.raises(DatasetError, match="1 rows repeat a key") as refused:
        make_table("nodules", [row, row])
    assert "row 1 of the sorted table" in str(refused.value)
    assert "AAAA" not in str(refused.value)
    with pytest.raises(DatasetError, match="no table is called"):
        conform("volumes", pd.DataFrame())


def test_the_tables_of_a_benchmark_keep_their_contracts():
    """Predictions and scores as the benchmark makes them pass, unchanged, in their own order."""
    rng = np.random.default_rng(0)
    ids = [
        {"patient_id": PSEUDONYM("patient", f"{i % 30}"), "nodule_id": PSEUDONYM("nodule", f"{i}")} for i in range(40)
    ]
    nodules = pd.DataFrame(ids).assign(dataset="phantom", malignant=[i % 2 for i in range(40)])
    nodules["series_uid"] = [PSEUDONYM("series", patient) for patient in nodules["patient_id"]]
    cohort = labelled_cohort(nodules, dataset="phantom", outer_folds=4, inner_folds=2)
    regions = (("nodule", 0.0), ("shell", 8.0))
    features = pd.concat(
        [
            nodules.drop(columns="malignant").assign(
                segmenter="otsu", region=region, radius_mm=radius, original_a=rng.normal(size=40) + nodules["malignant"]
            )
            for region, radius in regions
        ]
    )
    results = {
        ConfigurationKey(*key, "logistic"): evaluate_configuration(
            matrix, cohort.labels, cohort.groups, Logistic(strengths=(0.1,)), cohort.folds, 2, 1
        )
        for key, matrix in feature_matrices(features, cohort).items()
    }
    inside = choose_inside(results, cohort.folds)
    for name, frame in (
        ("predictions", predictions_table(cohort, results, inside)),
        ("scores", score_table(cohort, results, inside)),
    ):
        frame.insert(1, "intensities", "simulated")
        assert list(frame) == list(SCHEMAS[name].columns)
        assert len(frame) == (120 if name == "predictions" else 3)
        pd.testing.assert_frame_equal(from_bytes(name, to_bytes(name, frame)), frame)


def test_what_imports_the_tables_need_not_import_pandas():
    """A command that answers at once pays for neither pandas nor pandera by importing this module."""
    code = (
        "import sys, lungpipe.store.tables; print(sorted({'pandas', 'pandera', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
