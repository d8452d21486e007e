"""What identifies a person, and every way in which it may be written."""

from __future__ import annotations

import ast
import csv
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Kind = Literal["name", "id", "date", "uid", "accession", "place", "path"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Shorter terms are found only where they are a whole cell, JSON string or attribute.
SHORTEST = 4
#: Digits-only ids shorter than this look like any number: elsewhere they need a word such as "patient" before them.
SHORTEST_NUMBER = 6
#: Shorter UIDs look like version numbers: they count as too short.
SHORTEST_UID = 8
#: A UID has at most 64 characters (PS3.5 section 9.1) and a path of a file system rarely more than this.
LONGEST = 1024

#: Roots that name the standard itself and no patient (PS3.6 annex A).
_STANDARD = "1.2.840.10008."
#: Words and numbers that annotation files use for any finding and image files for any image.
_GENERIC = frozenset(
    {
        "nodule", "lesion", "tumor", "tumour", "finding", "mass", "roi", "gtv", "ctv", "ptv", "lung", "left", "right",
        "upper", "middle", "lower", "lobe", "mask", "label", "image", "volume", "scan", "series", "study", "patient",
        "case", "ct", "seg", "segmentation", "annotation", "unnamed", "unknown", "none", "null", "nii", "gz", "nrrd",
        "mha", "dcm",
    }
)  # fmt: skip
#: Words of formats that every zarr store writes and no source of ours does.
_OF_FORMATS = frozenset({"regular", "default", "little", "bytes", "blosc", "shuffle", "noshuffle", "bitshuffle"})
_SEPARATORS = (" ", ", ", ",", "_", "-", ".", "^")


@dataclass(frozen=True, slots=True)
class Term:
    """Something that must not be found.

    Parameters
    ----------
    kind : {"name", "id", "date", "uid", "accession", "place", "path"}
    text : str
        As the archive writes it: a person name with ``^`` between its components, a date as YYYYMMDD or YYYY-MM-DD.
    """

    kind: Kind
    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DatasetError(f"a term's kind is one of {', '.join(KINDS)}, not {self.kind!r}")

    @property
    def masked(self) -> str:
        """First character and length: enough to find the term in one's own list, too little to learn it."""
        text = self.text.strip()
        return f"{text[:1]}\N{HORIZONTAL ELLIPSIS} ({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a term may be written.

    Parameters
    ----------
    text : str
        Lower and upper case count as equal.
    where : {"anywhere", "named", "whole"}
        ``"anywhere"``; ``"named"``, after a word such as "patient"; ``"whole"``, as a whole value, and if it is a
        number, one whose column, key or tag speaks of a person, series or name.
    """

    text: str
    where: Literal["anywhere", "named", "whole"] = "anywhere"


def known_terms(table: Path | None, extra: Iterable[Term] = ()) -> list[Term]:
    """Collect the terms that a workspace must not hold.

    Parameters
    ----------
    table : Path, optional
        The table of pseudonyms, :func:`lungpipe.dicom.pseudonymise.table_path`. A missing file adds nothing.
    extra : iterable of Term
        Names, dates, accession numbers and the like, which have no pseudonym.

    Returns
    -------
    list of Term
        Each once. Instances and nodules that are called like any other ("nodule 3") are left out.

    Raises
    ------
    DatasetError
        If the table has a row that is not ``kind, original, pseudonym``.
    """
    terms = dict.fromkeys(extra)
    if table is not None and table.is_file():
        with table.open(newline="", encoding="utf-8") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                if len(row) != 3:
                    raise DatasetError(f"line {number} of the table of pseudonyms has {len(row)} columns, not three")
                terms.update(dict.fromkeys(_of_row(row[0], row[1])))
    return list(terms)


def _of_row(kind: str, original: str) -> Iterator[Term]:
    text = re.sub(r"#\d+$", "", original.strip())  # a stack's number within its series
    if re.fullmatch(r"\d+(\.\d+)+", text):
        if not text.startswith(_STANDARD):
            yield Term("uid", text)
        return
    if kind == "patient":
        yield Term("id", text)
        if "^" in text or "," in text:
            yield Term("name", text)
        return
    if kind == "file" and "/" in text:
        yield Term("path", text)
    own = text.rpartition("/")[2]  # a nodule's original is "patient/nodule"
    words = [w for w in re.findall(r"[^\W\d_]+", own.lower()) if w not in _GENERIC]
    if len(own) >= SHORTEST_UID and sum(map(len, words)) >= SHORTEST:
        yield Term("id", own)


def forms(term: Term) -> list[Form]:
    """Every way in which a term is looked for; none for a term that is an ordinary word."""
    text = unicodedata.normalize("NFC", term.text.strip().strip("^=\0"))[:LONGEST]
    if not text:
        return []
    if term.kind == "name":
        return _name_forms(text)
    if term.kind == "date":
        return [Form(t) for t in _date_forms(text)]
    if term.kind == "path":
        return [Form(t, _where(t)) for t in dict.fromkeys((text, text.replace("\\", "/"), text.replace("/", "\\")))]
    if term.kind == "uid":
        return [Form(text, "anywhere" if len(text) >= SHORTEST_UID else "whole")]
    if text.isalpha() and text.lower() in ordinary_words():
        return []
    if text.isascii() and text.isdigit() and SHORTEST <= len(text) < SHORTEST_NUMBER and text[0] != "0":
        return [Form(text, "named"), Form(text, "whole")]
    return [Form(text, _where(text))]


def _where(text: str) -> Literal["anywhere", "whole"]:
    return "anywhere" if len(text) >= SHORTEST else "whole"


def _date_forms(text: str) -> list[str]:
    match = re.match(r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})", text)
    if match is None:
        return [text]
    year, month, day = match.groups()
    return [f"{year}{month}{day}", f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}"]


def _name_forms(text: str) -> list[Form]:
    """Forms of a person name (PS3.5 section 6.2.1.1): whole, in both orders, and each longer word of it alone."""
    found: dict[str, None] = {text: None}
    alone: dict[str, None] = {}
    for group in text.split("="):
        parts = [part.strip() for part in group.split("^")]
        if len(parts) == 1:
            parts = _spoken(group)
        words = [word for part in parts[:3] for word in re.split(r"[\s,;]+", part)]
        alone.update(dict.fromkeys(w for w in words if sum(map(str.isalpha, w)) >= SHORTEST))
        family, given, middle = [*parts[:3], "", ""][:3]
        if not family or not given:
            found.update(dict.fromkeys(p for p in (family, given) if p))
            continue
        for first in dict.fromkeys((given, f"{given} {middle}".strip())):
            for one, two in ((family, first), (first, family)):
                found.update(dict.fromkeys(f"{one}{s}{two}" for s in _SEPARATORS))
                if len(one) + len(two) > SHORTEST + 1:
                    found[one + two] = None
    spellings = dict.fromkeys(s for t in found for s in _spellings(t))
    result = [Form(t, _where(t)) for t in spellings if t.lower() not in ordinary_words()]
    single = dict.fromkeys(s for t in alone for s in _spellings(t))
    return result + [Form(t) for t in single if t.lower() not in ordinary_words() and t not in spellings]


def _spoken(text: str) -> list[str]:
    """Family and given names of ``"Doe, Jane"`` or ``"Jane Doe"``."""
    if "," in text:
        return [part.strip() for part in text.split(",", 1)]
    *given, family = text.split()
    return [family, " ".join(given)]


def _spellings(text: str) -> Iterator[str]:
    """As it is, and as systems without accents write it: "Müller", "Mueller", "Muller"."""
    yield text
    if text.isascii():
        return
    wide = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})
    for one in (text.translate(wide), text):
        plain = unicodedata.normalize("NFKD", one)
        yield "".join(c for c in plain if not unicodedata.combining(c))
    yield unicodedata.normalize("NFD", text)


@cache
def ordinary_words() -> frozenset[str]:
    """Lower-case words of the program's own texts and names: they are in every workspace, whoever the patients are.

    A patient called "Gray" or "Page" cannot be told from the colour or the page by that word alone; the whole name is
    looked for all the same. Comments and documentation do not count.
    """
    written: list[str] = []
    texts = {"lungpipe": (".py", ".j2"), "tasks": (".py",), "flows": (".py",), "data_catalog": (".toml",)}
    for package, suffixes in texts.items():
        for path in Path(str(resources.files(package))).rglob("*"):
            if path.suffix in suffixes:
                text = path.read_text(encoding="utf-8")
                written += _names_and_strings(text) if path.suffix == ".py" else [text]
    return _OF_FORMATS.union(re.findall(r"[a-z]+", " ".join(written).lower()))


def _names_and_strings(source: str) -> list[str]:
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documentation = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documentation:
            found.append(node.value)
        found += [str(getattr(node, field)) for field in ("id", "arg", "attr", "name") if hasattr(node, field)]
    return found
