"""Clinical columns of an annotation file: numbers or categories, never an identifier or a date."""

import pytest

from lungpipe.clinical import clinical_columns, column_name
from lungpipe.errors import DatasetError

PATIENTS = [f"p{k}" for k in range(12)]


def taken(values, name="age", patients=PATIENTS):
    rows = [{name: value} for value in values]
    columns, notes = clinical_columns(rows, [name], patients[: len(rows)])
    (found,) = columns.values()
    return found, notes


def test_numbers_are_numbers_and_words_are_categories():
    """A column is of numbers if all its values are; what is missing is missing in either."""
    assert taken(["12.5", "", "NA", "3"], "pack years") == ([12.5, None, None, 3.0], [])
    assert taken(["never", "former", "unknown", "never"], "smoking") == (["never", "former", None, "never"], [])
    assert taken(["0", "1", "1"], "emphysema")[0] == [0.0, 1.0, 1.0]
    assert taken(["1", "two", "1"], "stage")[0] == ["1", "two", "1"]


def test_the_oldest_are_one_group():
    """Ages above 89 become 90, which is said; DICOM's form is read; 89 stays."""
    found, notes = taken(["63", "089Y", "90", "104", ""])
    assert found == [63.0, 89.0, 90.0, 90.0, None]
    assert notes == ["clinical_age: 2 ages above 89 count as 90"]
    assert taken(["100"], "dosage")[0] == [100.0]


def test_columns_are_called_in_snake_case():
    """Whatever the file calls it, and after the prefix."""
    assert column_name("Pack years") == "clinical_pack_years"
    assert column_name("SmokingStatus") == "clinical_smokingstatus"


@pytest.mark.parametrize(
    "name",
    ["PatientID", "patient_id", "Date of birth", "study_date", "MRN", "Surname", "zip-code", "birthYear", "name"],
)
def test_names_of_identifiers_and_dates_are_refused(name):
    """By the words that they are made of; a word that only contains such letters is none."""
    with pytest.raises(DatasetError, match="looks like an identifier or a date"):
        column_name(name)
    for harmless in ("sex", "width", "ideation", "packyears", "stage", "candidate"):
        column_name(harmless)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["2020-01-31", ""], "1 values of the column 'x' look like dates"),
        (["31.01.2020", "text"], "look like dates"),
        (["1/2/1950"], "look like dates"),
        (["19500201", "20200131"], "look like dates"),
        (["1950", "1961", ""], "looks like one of years"),
        (["1234567", "2345671", "3456712"], "looks like one of identifiers"),
        ([f"Doe {k}" for k in "abcdefghijkl"], "12 different values for 12 patients"),
        (["A 1234567", "b"], "six digits or more"),
        (["word " * 20, "b"], "are long"),
        (["", "NA"], "has no value"),
    ],
)
def test_values_of_identifiers_and_dates_are_refused_unquoted(values, told):
    """Whatever the column is called; the message quotes no value."""
    with pytest.raises(DatasetError, match=told) as error:
        taken(values, "x")
    assert not any(value and len(value) > 3 and value in str(error.value) for value in values)


@pytest.mark.parametrize("values", [["63", "old"], ["-3"], ["163"]])
def test_ages_that_are_none_are_refused(values):
    """Neither text nor numbers that nobody reaches."""
    with pytest.raises(DatasetError, match="must hold ages in years"):
        taken(values)


def test_a_column_that_is_not_there_is_answered_with_those_that_are():
    """The names of the file's further columns, no values; two names of one column are refused too."""
    rows = [{"age": "63", "sex": "F"}]
    with pytest.raises(DatasetError, match=r"no column 'Age'; beyond the usual ones they have age, sex"):
        clinical_columns(rows, ["Age"], ["p"])
    with pytest.raises(DatasetError, match="both 'clinical_pack_years'"):
        clinical_columns([{"pack years": "1", "pack-years": "2"}], ["pack years", "pack-years"], ["p"])
    assert clinical_columns(rows, [], ["p"]) == ({}, [])
