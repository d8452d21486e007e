"""Clinical columns of an annotation file: what a recipe may take from it, and in which form it reaches a table.

Only columns that a recipe names are kept, under ``clinical_<name>``. Columns that look like identifiers or dates are refused,
by name and by value, and ages above 89 become 90, as the Safe Harbor method of the HIPAA Privacy Rule has it (45 CFR
164.514(b)(2)(i)).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: How a clinical column is called in a table.
PREFIX = "clinical_"
#: How a column of ratings is called in a table, and in an annotation file.
RATING = "rating_"
#: Texts that stand for a missing value.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "unknown", "missing", "?"})
#: Ages above this count as one more.
MAX_AGE = 89
#: Most values that a column of categories may have.
MAX_LEVELS = 20
#: Most characters of a category.
_MAX_LENGTH = 40
_IDENTIFYING = frozenset(
    {
        *("id", "ids", "identifier", "uid", "uuid", "guid", "mrn", "ssn", "nhs", "accession", "patientid", "subjectid"),
        *("name", "names", "surname", "firstname", "lastname", "forename", "initials", "physician", "operator"),
        *("address", "street", "city", "town", "zip", "zipcode", "postcode", "postal", "county"),
        *("phone", "telephone", "mobile", "fax", "email", "mail", "url", "ip", "insurance", "licence", "license"),
        *("date", "dates", "datetime", "timestamp", "dob", "birth", "birthday", "birthdate", "born", "day", "month", "year"),
    }
)  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*|(19|20)\d{6}(\d{6})?(\.\d+)?")
_LONG_NUMBER = re.compile(r"\d{6}")
_DICOM_AGE = re.compile(r"(\d{1,3})[Yy]")


def column_name(name: str) -> str:
    """Name of a clinical column in a table: ``clinical_`` and the name in snake_case.

    Raises
    ------
    DatasetError
        If the name has no letter, or looks like that of an identifier or a date.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not re.search("[a-z]", plain):
        raise DatasetError(f"benchmark.clinical: {name!r} is no name of a column")
    if found := sorted(_IDENTIFYING & words_of(name)):
        raise DatasetError(
            f"benchmark.clinical: the column {name!r} looks like an identifier or a date (the word {found[0]!r}), which "
            "must not reach a table; leave it out, or rename the column if it is neither"
        )
    return PREFIX + plain


def words_of(name: str) -> set[str]:
    """Words of a column's name, in lower case."""
    return {word.lower() for word in _WORDS.findall(name)}


def clinical_columns(
    rows: Sequence[Mapping[str, str]], names: Sequence[str], patients: Sequence[str]
) -> tuple[dict[str, list[float | str | None]], list[str]]:
    """Take the columns that a recipe names from the rows of an annotation file.

    A column is of numbers if every value that is there is one, else of categories.

    Parameters
    ----------
    rows : sequence of mapping
        Texts of each nodule by column.
    names : sequence of str
        Columns wanted, as the file calls them.
    patients : sequence of str
        Patient of each row.

    Returns
    -------
    columns : dict
        Values of each row (None where missing) by the column's name in a table.
    notes : list of str
        What was changed, for people.

    Raises
    ------
    DatasetError
        If a column is missing, empty, named twice, or looks like an identifier or a date. No value is quoted.
    """
    columns: dict[str, list[float | str | None]] = {}
    notes: list[str] = []
    for name in names:
        called = column_name(name)
        if called in columns:
            raise DatasetError(f"benchmark.clinical names two columns that are both {called!r} in a table")
        if not any(name in row for row in rows):
            known = sorted({key for row in rows for key in row})
            raise DatasetError(
                f"benchmark.clinical: the annotations have no column {name!r}; beyond the usual ones they have "
                f"{', '.join(known) or 'none'}"
            )
        texts = [row.get(name, "").strip() for row in rows]
        texts = ["" if text.lower() in MISSING else text for text in texts]
        if not any(texts):
            raise DatasetError(f"benchmark.clinical: the column {name!r} has no value")
        _refuse_dates(name, texts)
        if "age" in words_of(name):
            columns[called], n_old = _ages(name, texts)
            if n_old:
                notes.append(f"{called}: {n_old} ages above {MAX_AGE} count as {MAX_AGE + 1}")
        elif (numbers := _numbers(texts)) is not None:
            _refuse_numbers(name, numbers)
            columns[called] = list(numbers)
        else:
            _refuse_categories(name, texts, patients)
            columns[called] = [text or None for text in texts]
    return columns, notes


def _numbers(texts: Sequence[str]) -> list[float | None] | None:
    """Values of a column of numbers; None if it is not one."""
    try:
        numbers = [float(text) if text else None for text in texts]
    except ValueError:
        return None
    return numbers if all(number is None or math.isfinite(number) for number in numbers) else None


def _ages(name: str, texts: Sequence[str]) -> tuple[list[float | str | None], int]:
    """Ages in years with the oldest as one group, and how many of those there are."""
    plain = [match[1] if (match := _DICOM_AGE.fullmatch(text)) else text for text in texts]
    numbers = _numbers(plain)
    if numbers is None or any(number is not None and not 0 <= number <= 130 for number in numbers):
        raise DatasetError(f"benchmark.clinical: the column {name!r} must hold ages in years (63 or 063Y), or nothing")
    return (
        [None if number is None else float(min(number, MAX_AGE + 1)) for number in numbers],
        sum(number is not None and number > MAX_AGE for number in numbers),
    )


def _refuse_dates(name: str, texts: Sequence[str]) -> None:
    if count := sum(bool(_DATE.fullmatch(text)) for text in texts):
        raise DatasetError(
            f"benchmark.clinical: {count} values of the column {name!r} look like dates, which must not reach a table; give "
            "a span of time in days or years instead"
        )


def _refuse_numbers(name: str, numbers: Sequence[float | None]) -> None:
    held = [number for number in numbers if number is not None]
    if any(number != int(number) for number in held):
        return
    if all(1900 <= number <= 2100 for number in held):
        raise DatasetError(
            f"benchmark.clinical: the column {name!r} looks like one of years; give a span of time instead"
        )
    if max(map(abs, held)) >= 10**5 and len(set(held)) > len(held) / 2:
        raise DatasetError(
            f"benchmark.clinical: the column {name!r} looks like one of identifiers: long whole numbers, most of them different"
        )


def _refuse_categories(name: str, texts: Sequence[str], patients: Sequence[str]) -> None:
    levels = {text for text in texts if text}
    people = len({patient for patient, text in zip(patients, texts, strict=True) if text})
    if len(levels) > MAX_LEVELS or (len(levels) > 5 and len(levels) > people / 2):
        raise DatasetError(
            f"benchmark.clinical: the column {name!r} is of text with {len(levels)} different values for {people} patients, "
            "which looks like names or identifiers; a category has few values"
        )
    if any(_LONG_NUMBER.search(text) or len(text) > _MAX_LENGTH for text in levels):
        raise DatasetError(
            f"benchmark.clinical: values of the column {name!r} are long, or hold a number of six digits or more, and look like "
            "identifiers; a category is a short word"
        )
