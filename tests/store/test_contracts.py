"""What breaks the contract of a table is refused when written and when read, and told without quoting a text."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from contract_rows import NAME, NAN, PSEUDONYM, UID, parquet, table
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.dicom.codes import CODES, VERDICTS
from lungpipe.errors import DatasetError
from lungpipe.region import expand, specs
from lungpipe.store.columns import Between, ListOf, Matches, OneOf
from lungpipe.store.contracts import _row_rules, check_table, pandera_schema
from lungpipe.store.schemas import CLIPPED_BY, REGIONS, SCHEMAS
from lungpipe.store.tables import from_bytes, to_bytes

RULES = [(name, column) for name, schema in SCHEMAS.items() for column in schema.declared if column.rule is not None]


def refusal(name, frame):
    """Message with which a table is refused, the same on both ways but for the advice."""
    with pytest.raises(DatasetError, match="breaks its contract") as written:
        to_bytes(name, frame, "tables/x.parquet")
    with pytest.raises(DatasetError, match="breaks its contract") as read:
        from_bytes(name, parquet(frame), "tables/x.parquet")
    told, advice = str(written.value).split("; nothing was written")
    assert "data-dictionary.md" in advice
    assert str(read.value).startswith(told)
    assert "run the recipe again" in str(read.value)
    return told


@pytest.mark.parametrize(("name", "column"), RULES, ids=lambda x: getattr(x, "name", x))
def test_every_rule_refuses_what_breaks_it(name, column):
    """A cell against the rule of its column is refused, with table, column, row, and what was expected."""
    frame = table(name, 3)
    rule = column.rule
    match rule:
        case OneOf((int(), *_)):
            wrong = 7
        case OneOf() | ListOf() | Matches():
            wrong = NAME
        case Between(low, _, above):
            wrong = low if above else low - 1
    frame.loc[1, column.name] = wrong
    message = refusal(name, frame)
    assert f"table {name!r}" in message
    assert f"column {column.name!r} has 1 row (number 1, counted from 0)" in message
    assert rule.words in message
    if isinstance(wrong, str):
        assert NAME not in message
    else:
        assert f"found {wrong:g}" in message


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("series", "spacing_z_mm", 0.0),
        ("series", "spacing_x_mm", -0.7),
        ("series", "spacing_y_mm", float("-inf")),
        ("series", "codes", "oblique;"),
        ("series", "codes", "oblique;oblique"),
        ("series", "codes", "no_such_code"),
        ("series", "verdict", ""),
        ("series", "verdict", "accepted"),
        ("series", "intensities", "Measured"),
        ("series", "patient_id", "LIDC-IDRI-0314"),
        ("series", "patient_id", "P-AAAAAAAAAAA1"),
        ("series", "patient_id", "p-aaaaaaaaaaa2"),
        ("series", "patient_id", "P-AAAAAAAAAAA22"),
        ("series", "series_uid", UID),
        ("series", "series_uid", "P-AAAAAAAAAAA2"),
        ("series", "series_uid", ""),
        ("series", "series_uid", "S-AAAAAAAAAAA2\n"),
        ("series", "study_uid", UID),
        ("series", "volume_id", "v1"),
        ("exclusions", "file", "Roe_Jane/0001.dcm"),
        ("exclusions", "code", ""),
        ("nodules", "malignant", 2),
        ("nodules", "split", "Train"),
        ("nodules", "n_voxels", 0),
        ("nodules", "source_sha256", "0" * 63),
        ("nodules", "artefact", "0123456789ABCDEF"),
        ("features", "clipped_fraction", 1.01),
        ("features", "clipped_fraction", -0.01),
        ("features", "region", "chosen"),
        ("features", "radius_mm", -1.0),
        ("features", "artefact", ""),
        ("predictions", "p", 1.0001),
        ("predictions", "y", -1),
        ("predictions", "region", "both of them"),
        ("scores", "auc", 1.2),
        ("scores", "n", -1),
        ("scores", "selection", "outside"),
    ],
)
def test_values_that_no_table_may_hold(name, column, value):
    """Impossible geometry, fractions, labels, codes and anything that is no pseudonym are refused."""
    assert f"column {column!r}" in refusal(name, table(name, **{column: value}))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("series", {"spacing_z_mm": NAN, "spacing_y_mm": NAN, "spacing_x_mm": NAN, "kvp": NAN, "rows": 0}),
        ("series", {"codes": "", "volume_id": "", "patient_id": "", "study_uid": "", "modality": ""}),
        ("series", {"codes": ";".join(CODES), "verdict": "quarantine"}),
        ("exclusions", {"patient_id": "", "series_uid": "", "nodule_id": "", "file": PSEUDONYM("file", "a/b.dcm")}),
        ("nodules", {"malignant": pd.NA, "split": "validation", "codes": "open_contour;self_crossing"}),
        ("features", {"clipped_fraction": 1.0, "clipped_wall": 0.9, "clipped_edge": 0.1}),
        ("features", {"region": "nodule", "radius_mm": 0.0, "clipped_fraction": 0.0, "clipped_wall": 0.0}),
        ("features", {"region": "ring", "radius_mm": 8.0, "inner_mm": 4.0, "codes": "clipped;no_airways_found"}),
        ("features", {"original_firstorder_Mean": NAN, "mine": np.inf}),
        ("predictions", {"region": "chosen", "radius_mm": NAN, "segmenter": "chosen", "classifier": "chosen"}),
        ("scores", {"auc_low_all": NAN, "auc_high_all": NAN}),
        ("scores", dict.fromkeys(("auc", "auc_low", "auc_high", "brier", "inner_auc"), NAN)),
        ("scores", {"auc": 1.0, "auc_high": 1.0 - 1e-12, "auc_high_all": 1.0}),
    ],
)
def test_values_that_are_rare_but_right(name, values):
    """What a run does write at its edges is accepted."""
    frame = table(name).assign(**values)
    frame = frame.astype({"malignant": "Int64"}) if "malignant" in frame else frame
    pd.testing.assert_frame_equal(from_bytes(name, to_bytes(name, frame)), frame)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("features", {"region": "nodule", "radius_mm": 8.0}, "radius_mm is 0"),
        ("features", {"region": "shell", "radius_mm": 0.0}, "radius_mm is 0"),
        ("features", {"inner_mm": 2.0}, "inner_mm is 0 but for rings"),
        ("features", {"region": "ring", "inner_mm": 8.0}, "inner_mm is 0 but for rings"),
        ("features", {"clipped_edge": 0.1}, "the parts that clipping took add up"),
        ("predictions", {"region": "chosen"}, "radius_mm is missing"),
        ("predictions", {"radius_mm": NAN}, "radius_mm is missing"),
        ("scores", {"radius_mm": NAN}, "radius_mm is missing"),
        ("scores", {"auc_low": 0.81}, "auc_low <= auc <= auc_high"),
        ("scores", {"auc_high": 0.79}, "auc_low <= auc <= auc_high"),
        ("scores", {"auc_low_all": 0.81}, "auc_low_all <= auc <= auc_high_all"),
        ("scores", {"n_malignant": 47}, "n_malignant <= n"),
        ("scores", {"n_patients": 47}, "n_patients <= n"),
    ],
)
def test_columns_that_contradict_each_other(name, values, words):
    """What must hold within a row is checked, and the rule is told."""
    message = refusal(name, table(name, 2).assign(**values))
    assert f"the rule that {words}" in message
    assert "is broken by 2 rows (the first is number 0, counted from 0)" in message


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if schema.keys])
def test_repeated_keys_are_refused(name):
    """Two rows with one key are refused; the first repetition is named by its number, not by its ids."""
    frame = table(name, 3)
    message = refusal(name, pd.concat([frame, frame.tail(1)], ignore_index=True))
    assert "the rule that no row repeats a key is broken by 1 row (number 3, counted from 0)" in message
    assert "AAAA" not in message


def test_a_missing_radius_is_a_key_like_any_other():
    """Two rows of the choice made inside the folds are a repetition, though NaN is not equal to NaN."""
    frame = table("scores").assign(region="chosen", radius_mm=NAN)
    assert "repeats a key" in refusal("scores", pd.concat([frame, frame], ignore_index=True))


def test_order_of_rows():
    """Rows out of the order of their keys are refused, but the benchmark's tables keep the order of their own."""
    for name, schema in SCHEMAS.items():
        frame = table(name, 3).iloc[::-1].reset_index(drop=True)
        if schema.keys and schema.sorted:
            assert "rows are sorted by dataset" in refusal(name, frame)
        else:
            pd.testing.assert_frame_equal(from_bytes(name, to_bytes(name, frame)), frame)


ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("pq"), st.sampled_from(["s", "t", "é"])), unique=True, max_size=7
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_sorted_means_what_pandas_sorts_to(rows):
    """A table passes as sorted if, and only if, sorting by its keys changes nothing."""
    keys = ("dataset", "patient_id", "series_uid")
    frame = pd.DataFrame(rows, columns=list(keys)).astype("str")
    _, in_order = _row_rules(SCHEMAS["series"])
    assert bool(in_order.holds(frame).all()) == frame.sort_values(list(keys), ignore_index=True).equals(frame)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="kvp"), "column 'kvp' is missing"),
        (lambda t: t.assign(patient_name=NAME), "1 columns are not in the schema"),
        (lambda t: t.assign(kvp=NAME), "column 'kvp' has the type str, expected float64"),
        (lambda t: t.assign(n_slices=1.5), "column 'n_slices' has the type float64, expected int64"),
        (lambda t: t.assign(verdict=None).astype({"verdict": "str"}), "column 'verdict' has 2 rows"),
        (lambda t: t.assign(padding_voxels=pd.array([None, 1], "Int64")), "has the type Int64, expected int64"),
    ],
)
def test_structure_is_part_of_the_contract(change, words):
    """A missing, unknown, mistyped or incomplete column is told without quoting a cell."""
    message = refusal("series", change(table("series", 2)))
    assert words in message
    assert NAME not in message


def test_a_column_that_is_there_twice():
    """Two columns of one name are refused before either is looked at."""
    frame = table("series")
    with pytest.raises(DatasetError, match="a column is there twice"):
        to_bytes("series", pd.concat([frame, frame[["kvp"]]], axis=1))


def test_feature_columns_are_floats():
    """Features may have any name, but only float64."""
    frame = table("features").assign(original_a=1.0, mine=2.5)
    assert list(from_bytes("features", to_bytes("features", frame)).columns[-2:]) == ["original_a", "mine"]
    for wrong in (1, "x", np.float32(1)):
        message = refusal("features", frame.assign(mine=wrong))
        assert "1 feature columns are not float64, the first in place 21" in message


def test_several_faults_in_one_message():
    """All faults are told at once, up to a handful, and then counted."""
    message = refusal("scores", table("scores", auc=2.0, brier=-1.0, n=-3))
    assert all(f"column {name!r}" in message for name in ("auc", "brier", "n"))
    wrong = dict.fromkeys(("manufacturer", "model", "kernel", "modality", "detail", "transfer_syntax"), 1.0)
    assert "and 1 more faults" in refusal("series", table("series", **wrong))


@pytest.mark.parametrize("kind", ["patient", "study", "series", "nodule", "file"])
@settings(deadline=None, max_examples=8)
@given(texts=st.lists(st.text(min_size=1, max_size=40), min_size=3, max_size=6, unique=True))
def test_every_pseudonym_is_accepted_where_it_belongs(kind, texts):
    """Whatever is pseudonymised passes the pattern of its own column, and of no other kind's."""
    column = {"patient": "patient_id", "study": "study_uid", "series": "series_uid", "nodule": "nodule_id"}.get(
        kind, kind
    )
    name = "series" if kind == "study" else "exclusions"
    right, wrong = ({column: [PSEUDONYM(one, text) for text in texts]} for one in (kind, "instance"))
    check_table(name, table(name, len(texts), **right), name, "write")
    with pytest.raises(DatasetError, match=f"column '{column}' has {len(texts)} rows"):
        check_table(name, table(name, len(texts), **wrong), name, "write")


def test_closed_lists_are_those_of_their_modules():
    """Regions, verdicts and codes are the ones that the stages know."""
    assert set(REGIONS) == set(get_args(specs.Kind))
    assert tuple(CLIPPED_BY) == expand.CAUSES
    rules = {column.name: column.rule for column in SCHEMAS["series"].declared}
    assert rules["verdict"].values == VERDICTS
    assert rules["codes"].values == tuple(CODES)


def test_the_contract_is_a_pandera_schema():
    """The checks are pandera's: its own call refuses and accepts the same."""
    from pandera.errors import SchemaError

    schema = pandera_schema("features")
    schema.validate(table("features"))
    with pytest.raises(SchemaError):
        schema.validate(table("features", clipped_fraction=1.5))


def test_nodules_may_hold_clinical_columns_and_ratings():
    """Numbers, categories and ratings come back as they were; other columns, and ratings in words, are refused."""
    frame = table("nodules", 3).assign(clinical_age=[63.0, NAN, 90.0], clinical_sex=["F", "", "M"], rating_margin=4.5)
    frame["clinical_sex"] = frame["clinical_sex"].astype(frame["dataset"].dtype)
    pd.testing.assert_frame_equal(from_bytes("nodules", to_bytes("nodules", frame)), frame)
    assert "1 columns are not in the schema" in refusal("nodules", frame.assign(age=63.0))
    assert "not in the schema" in refusal("nodules", table("nodules").assign(clinical_=1.0))
    assert "feature columns" not in refusal("nodules", frame.assign(rating_margin="sharp"))
    with pytest.raises(DatasetError, match="not in the schema"):
        to_bytes("agreement", table("agreement").assign(clinical_age=63.0))
